"""Resampling of modalities to a common number of time steps.

Dimensions: T time steps before, S after; L valid ones of T.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from unirep.data.sample import Sample, Source
from unirep.runtime.errors import InputError, pick


class Resampled:
  """A source whose `fine` modalities have the same number of time steps.

  Step s of S stands for the time from s * T / S to (s + 1) * T / S. Only the
  valid ones of T steps count. ceil(length * S / T) new steps are valid, and the
  rest are zero. Labels do not change.

  Args:
    source: samples.
    fine: modalities that shall share a time axis; others do not change.
    rule: "nearest", "mean" or "linear".
    steps: S, or 0 for the smallest T among them.

  Raises:
    InputError: for an unknown rule, or steps below zero.
  """

  def __init__(
    self, source: Source, fine: Iterable[str], *, rule: str, steps: int = 0
  ):
    pick(RULES, "data.resample", rule)
    if steps < 0:
      raise InputError(f"data.steps={steps} must not be negative")
    features = source[0]["features"]
    times = {m: len(features[m]) for m in fine if m in features}
    self._source, self._rule = source, rule
    self._steps = steps or min(times.values(), default=0)
    self._change = [m for m, time in times.items() if time != self._steps]

  def __len__(self) -> int:
    return len(self._source)

  @property
  def concurrent(self) -> bool:
    """As of the source, see `data.sample.Source`."""
    return getattr(self._source, "concurrent", False)

  def files(self) -> list[str]:
    """The files of the source, see `data.identity`."""
    return getattr(self._source, "files", list)()

  @property
  def labels(self) -> Any:
    """All labels of the source, if it has them."""
    return getattr(self._source, "labels", None)

  def __getitem__(self, index: int, /) -> Sample:
    sample = self._source[index]
    features, lengths = dict(sample["features"]), dict(sample["lengths"])
    for m in self._change:
      x, steps = features[m], self._steps
      length = int(lengths[m]) if m in lengths else len(x)
      features[m] = resample(x, steps, self._rule, length)
      if m in lengths:
        lengths[m] = np.array(_scaled(length, len(x), steps), np.int32)
    return {**sample, "features": features, "lengths": lengths}


def resample(x: np.ndarray, steps: int, rule: str, length: int) -> np.ndarray:
  """Resamples the first `length` steps of (T, ...) to (S, ...) float32."""
  weight_SxT = _weights(rule, len(x), steps, length)
  flat = weight_SxT[:, :length] @ x[:length].reshape(length, -1)
  return flat.reshape(steps, *x.shape[1:])


def _scaled(length: int, time: int, steps: int) -> int:
  """ceil(length * steps / time)."""
  return -(-length * steps // time)


@functools.lru_cache(maxsize=1024)
def _weights(rule: str, time: int, steps: int, length: int) -> np.ndarray:
  """The weight of each old step in each new one, float32 (S, T)."""
  weight_SxT = np.zeros((steps, time), np.float32)
  valid = _scaled(length, time, steps)
  weight_SxT[:valid] = RULES[rule](time, steps, length)[:valid]
  return weight_SxT


def _nearest(time: int, steps: int, length: int) -> np.ndarray:
  """The old step in which the middle of the new one lies."""
  at_S = (2 * np.arange(steps) + 1) * time // (2 * steps)
  return np.eye(time)[np.minimum(at_S, length - 1)]


def _linear(time: int, steps: int, length: int) -> np.ndarray:
  """Between the two old steps whose middles are next to the new one."""
  at_S = (np.arange(steps) + 0.5) * time / steps - 0.5
  at_S = at_S.clip(0, length - 1)
  return np.maximum(1 - abs(at_S[:, None] - np.arange(time)), 0)


def _mean(time: int, steps: int, length: int) -> np.ndarray:
  """All old steps that the new one overlaps, weighted by the overlap."""
  edge_S = np.arange(steps + 1) * time / steps
  step_T = np.arange(time)
  low = np.maximum(edge_S[:-1, None], step_T)
  high = np.minimum(edge_S[1:, None], np.minimum(step_T + 1, length))
  weight_SxT = np.maximum(high - low, 0)
  return weight_SxT / np.maximum(weight_SxT.sum(1, keepdims=True), 1e-9)


RULES: Mapping[str, Callable[[int, int, int], np.ndarray]] = {
  "nearest": _nearest,
  "mean": _mean,
  "linear": _linear,
}
