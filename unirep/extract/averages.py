"""Time in equal parts.

Dimensions: N segments, S samples of a segment, F width.
"""

import itertools

import numpy as np

from unirep.errors import InputError


def means(x_NxSxF: np.ndarray, parts: int, what: str) -> np.ndarray:
  """The mean of each of `parts` equal parts of time: (N, parts * F).

  Raises:
    InputError: for fewer samples than parts.
  """
  N, S, _ = x_NxSxF.shape
  if parts > S:
    raise InputError(f"{what}: a segment has {S} of them for parts={parts}")
  edges = np.arange(parts + 1) * S // parts
  cut = [x_NxSxF[:, a:b].mean(1) for a, b in itertools.pairwise(edges)]
  return np.stack(cut, 1).reshape(N, -1)
