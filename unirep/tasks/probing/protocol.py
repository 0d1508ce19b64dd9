"""Evaluation protocols: the scores of a sweep that are reported.

Probes are scored several times in training. A protocol chooses the evaluation
that is reported, and every result names its protocol:

  heldout   the evaluation that is best on validation samples of the source
            modality. Test samples and the target modality choose nothing.
  released  the evaluation that is best on the reported samples themselves,
            for each target on its own, as in the released scripts. Optimistic.

Dimensions: M masks, S sources, R seeds, E evaluations.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import special

PROTOCOLS = ("heldout", "released")


class Estimate(NamedTuple):
  """A mean over seeds with its 95 % interval (Student's t).

  Attributes:
    mean: mean over seeds.
    std: standard deviation over seeds (n - 1); NaN for a single seed.
    low: lower end of the mean's interval; NaN for a single seed.
    high: upper end of the interval; NaN for a single seed.
    seeds: number of seeds.
  """

  mean: float
  std: float
  low: float
  high: float
  seeds: int


def estimate(value_R: Any) -> Estimate:
  """Mean, standard deviation and interval of a score of R seeds."""
  value_R = np.asarray(value_R, np.float64)
  n, mean = value_R.size, float(value_R.mean())
  if n < 2:
    return Estimate(mean, math.nan, math.nan, math.nan, n)
  std = float(value_R.std(ddof=1))
  half = float(special.stdtrit(n - 1, 0.975)) * std / math.sqrt(n)
  return Estimate(mean, std, mean - half, mean + half, n)


def paired(value_R: Any, baseline_R: Any) -> Estimate:
  """`estimate` of the differences of two scores (R,) with the same seeds."""
  return estimate(np.asarray(value_R) - np.asarray(baseline_R))


def verdict(difference: Estimate) -> str:
  """The words better or worse if the interval excludes 0, else unclear."""
  if difference.low > 0:
    return "better"
  return "worse" if difference.high < 0 else "unclear"


def heldout(
  history: Mapping[str, Mapping[str, np.ndarray]],
  validation: str,
  reported: str,
  primary: str,
) -> dict[str, np.ndarray]:
  """Scores of `reported` at the best evaluation on `validation`.

  The latest one is taken on ties.

  Args:
    history: split -> score -> (M, S, R, E), as `probe.sweep` returns it.
    validation: name of the split that chooses.
    reported: name of the split that is reported.
    primary: name of the score that chooses.

  Returns:
    Score -> (M, S, R).
  """
  return _at(history[reported], _latest_best(history[validation][primary]))


def released(
  history: Mapping[str, Mapping[str, np.ndarray]], reported: str, primary: str
) -> dict[str, np.ndarray]:
  """As `heldout`, with `reported` itself as the split that chooses."""
  return _at(history[reported], _latest_best(history[reported][primary]))


def _latest_best(score):
  score = np.asarray(score)
  return score.shape[-1] - 1 - np.argmax(score[..., ::-1], axis=-1)


def _at(scores, best):
  return {
    name: np.take_along_axis(np.asarray(x), best[..., None], -1)[..., 0]
    for name, x in scores.items()
  }
