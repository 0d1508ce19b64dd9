"""Seeded draws of the generated sources.

Every sample has its own generator, keyed by (seed, split, index). So a source
has random access, and splits share no draws.
"""

import math

import numpy as np

from unirep.runtime.errors import InputError

_STREAMS = {
  **{"train": 0, "test": 1, "world": 2},
  **{"private/train": 3, "private/test": 4, "private/world": 5},
}


def check_stream(*, size: int, seed: int, split: str) -> None:
  """Raises InputError unless a source can be drawn with these arguments."""
  if size < 1:
    raise InputError(f"size must be at least 1, got {size}")
  if seed < 0:
    raise InputError(f"seed must not be negative, got {seed}")
  if split not in ("train", "test"):
    raise InputError(f"split must be 'train' or 'test', got {split!r}")


def generator(seed: int, split: str, index: int = 0) -> np.random.Generator:
  """The generator of one sample, or of all that splits share ("world").

  With "private/" before the split it is a second, independent generator.
  """
  return np.random.default_rng((seed, _STREAMS[split], index))


def draw_window(
  rng: np.random.Generator, time: int, low: int, high: int
) -> slice:
  """A window of low..high consecutive steps out of `time`."""
  length = int(rng.integers(low, high + 1))
  start = int(rng.integers(time - length + 1))
  return slice(start, start + length)


def draw_windows(
  rng: np.random.Generator, time: int, low: int, high: int, overlap: float
) -> tuple[slice, slice]:
  """Two windows of one length of which at least `overlap` (0..1) is shared.

  Either may come first. The lag is uniform over all values that `overlap` and
  the time leave room for.
  """
  length = int(rng.integers(low, high + 1))
  shared = math.ceil(overlap * length - 1e-9)  # 0.7 * 10 is a hair above 7
  lag = int(rng.integers(min(length - shared, time - length) + 1))
  start = int(rng.integers(time - length - lag + 1))
  early = slice(start, start + length)
  late = slice(start + lag, start + lag + length)
  return (early, late) if rng.random() < 0.5 else (late, early)


def segment_ids(time: int, window: slice, inside: int, outside: int):
  """Labels (T,) int32: `inside` in the window and `outside` elsewhere."""
  ids_T = np.full(time, outside, np.int32)
  ids_T[window] = inside
  return ids_T
