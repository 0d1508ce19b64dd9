"""Protocols: which numbers of a sweep's history are reported.

Two ways to read the same history, always named in the output:

  heldout   validation samples of the modality that was trained on choose the
            evaluation, other samples report it; nothing of the target modality
            is looked at before.
  released  the best evaluation on the reported numbers themselves, for each
            target on its own, as the published scripts do. Optimistic.

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
    mean: of the seeds.
    std: their standard deviation (n - 1).
    low: lower end of the interval of the mean; NaN for a single seed.
    high: upper end.
    seeds: how many.
  """

  mean: float
  std: float
  low: float
  high: float
  seeds: int


def estimate(value_R: Any) -> Estimate:
  """Mean, spread and interval of independent seeds."""
  value_R = np.asarray(value_R, np.float64)
  n, mean = value_R.size, float(value_R.mean())
  if n < 2:
    return Estimate(mean, math.nan, math.nan, math.nan, n)
  std = float(value_R.std(ddof=1))
  half = float(special.stdtrit(n - 1, 0.975)) * std / math.sqrt(n)
  return Estimate(mean, std, mean - half, mean + half, n)


def paired(value_R: Any, baseline_R: Any) -> Estimate:
  """The difference seed by seed, which spares it what seeds share."""
  return estimate(np.asarray(value_R) - np.asarray(baseline_R))


def verdict(difference: Estimate) -> str:
  """What the interval allows to say: better, worse, or unclear."""
  if difference.low > 0:
    return "better"
  return "worse" if difference.high < 0 else "unclear"


def heldout(
  history: Mapping[str, Mapping[str, np.ndarray]],
  validation: str,
  reported: str,
  primary: str,
) -> dict[str, np.ndarray]:
  """Scores (M, S, R) on `reported` where `validation` was best, latest on ties.

  Args:
    history: see `probe.sweep`, arrays (M, S, R, E).
    validation: name of the split that chooses.
    reported: name of the split that is reported.
    primary: the score that chooses.
  """
  return _at(history[reported], _latest_best(history[validation][primary]))


def released(
  history: Mapping[str, Mapping[str, np.ndarray]], reported: str, primary: str
) -> dict[str, np.ndarray]:
  """Scores (M, S, R) on `reported` where these were best themselves."""
  return _at(history[reported], _latest_best(history[reported][primary]))


def _latest_best(score):
  score = np.asarray(score)
  return score.shape[-1] - 1 - np.argmax(score[..., ::-1], axis=-1)


def _at(scores, best):
  return {
    name: np.take_along_axis(np.asarray(x), best[..., None], -1)[..., 0]
    for name, x in scores.items()
  }
