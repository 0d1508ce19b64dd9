"""Shapes that a frozen model is compiled for, few whatever comes.

Dimensions: B samples, T time.
"""

import numpy as np

ROWS = (1, 8, 64)  # samples a call
SMALL = 16  # up to here each number of time steps has a program of its own


def rows(samples: int) -> int:
  """Samples of the next call: the smallest bucket that holds them, or all."""
  return next((n for n in ROWS if samples <= n), ROWS[-1])


def time(steps: int) -> int:
  """Time steps of a call: `steps` where few, else the next power of two."""
  return steps if steps <= SMALL else 1 << (steps - 1).bit_length()


def fill(x: np.ndarray, count: int, steps: int) -> np.ndarray:
  """(B, T, ...) -> (count, steps, ...): the last sample again, and zeros."""
  missing = count - len(x)
  if missing:
    x = np.concatenate([x, np.repeat(x[-1:], missing, 0)])
  if steps > x.shape[1]:
    edge = [(0, 0), (0, steps - x.shape[1]), *[(0, 0)] * (x.ndim - 2)]
    x = np.pad(x, edge)
  return x


def stack(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Samples (T, ...) that differ in T -> (B, T, ...) with zeros, and each T."""
  length_B = np.array([len(part) for part in parts])
  shape = (len(parts), length_B.max(), *parts[0].shape[1:])
  out = np.zeros(shape, parts[0].dtype)
  for row, part in zip(out, parts, strict=True):
    row[: len(part)] = part
  return out, length_B
