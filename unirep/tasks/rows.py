"""Settings and results of downstream tasks.

Dimensions: K codes, D code width, M TOC masks, N samples.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.inference.codes import Codes


class Row(NamedTuple):
  """One score of one direction: tables and figures are made of rows alone.

  Attributes:
    task: title of the task.
    source: modality of training, of the queries, or of the codes that a
      modality is generated from.
    target: modality of the test, of the gallery, or that is generated.
    representation: the part of the codes that was used, such as "vector"; in
      generation, the generator.
    metric: name of the score. Scores are shares of 1, except for ranks and
      those of `generation`.
    leads: whether tables of the task show this score.
    keep: number of dimensions that TOC kept; None where TOC does not apply.
    value: the score, a mean over seeds.
    std: standard deviation over seeds; NaN for a single seed.
    low: lower end of the 95 % interval; NaN where there is none.
    high: upper end of the interval; NaN where there is none.
    seeds: number of seeds.
    chance: the score of the best constant guess, if known.
    baseline: the score of a better guess, if the task has one.
    ceiling: the score with the target as its own source, if measured.
    difference: of this score from the one with all dimensions, paired by seed:
      mean, std, low, high, seeds and verdict.
    note: a remark that is printed with the results, or "".
    queries: number of queries, in retrieval and generation.
    gallery: number of samples that are searched, in retrieval and generation.
  """

  task: str
  source: str
  target: str
  representation: str
  metric: str
  leads: bool
  keep: int | None
  value: float
  std: float
  low: float
  high: float
  seeds: int
  chance: float | None = None
  baseline: float | None = None
  ceiling: float | None = None
  difference: Mapping[str, Any] | None = None
  note: str = ""
  queries: int | None = None
  gallery: int | None = None


class Setting(NamedTuple):
  """Inputs of a task.

  Attributes:
    title: title of the task.
    code_KxD: the codebook.
    codes: (kind of data, split) -> Codes, see `data.sources`.
    keep_M: numbers of dimensions that TOC keeps; the last is all of them.
    masks: training codes -> (M, D) bool, the dimensions that each mask keeps.
    sources: modalities to train on.
    targets: modalities to test on.
    protocol: one of `probing.protocol.PROTOCOLS`.
    seed: seed of all random draws.
    seeds: number of repetitions.
    options: of the probes: an optax optimizer, steps, evaluations, batch_size.
  """

  title: str
  code_KxD: np.ndarray
  codes: Callable[[str, str], Codes]
  keep_M: Sequence[int]
  masks: Callable[[Codes], np.ndarray]
  sources: Sequence[str]
  targets: Sequence[str]
  protocol: str
  seed: int
  seeds: int
  options: Mapping[str, Any]
