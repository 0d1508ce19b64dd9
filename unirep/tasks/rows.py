"""Rows: what every downstream task gives back, and what it is given.

Dimensions: K codes, D code width, M TOC masks, N samples.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.inference.codes import Codes


class Row(NamedTuple):
  """One number of one direction; tables and pictures read these alone.

  Attributes:
    task: its title.
    source: modality that was learned from, or asked with.
    target: modality that was tested on, or searched in.
    representation: what of the codes was seen, such as "vector".
    metric: name of the number, a share of 1.
    leads: whether it is the one that a table of the task shows.
    keep: dimensions that TOC kept, or None where it has no say.
    value: mean over seeds.
    std: of the seeds; NaN for one.
    low: lower end of the mean's 95 % interval; NaN for one seed.
    high: its upper end.
    seeds: how many.
    chance: of the best guess that looks at nothing, where it is known.
    baseline: of a better guess, named in the note, if there is one.
    ceiling: the same number with the target as its own source.
    difference: from the row with all dimensions, seed by seed: mean, std, low,
      high, seeds and a verdict.
    note: what a reader of the number must know, or "".
    queries: how many were asked, where something is retrieved.
    gallery: how many were searched, likewise.
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
  """What a task is given.

  Attributes:
    title: of the task.
    code_KxD: the codebook.
    codes: (kind of data, split) -> Codes, see `data.sources`.
    keep_M: numbers of dimensions that TOC keeps, all of them last.
    masks: codes that probes are trained on -> (M, D) bool.
    sources: modalities to learn from.
    targets: modalities to test on.
    protocol: one of `probing.protocol.PROTOCOLS`.
    seed: of all draws.
    seeds: repetitions.
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
