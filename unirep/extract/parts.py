"""Time in equal parts.

Dimensions: N segments, S samples of a segment, F width.
"""

import numpy as np

from unirep.errors import InputError


def means(x_NxSxF: np.ndarray, parts: int, what: str) -> np.ndarray:
  """The mean of each of `parts` equal parts of time: (N, parts * F).

  Raises:
    InputError: for fewer samples than parts.
  """
  N, S, _ = x_NxSxF.shape
  if S < parts:
    raise InputError(f"{what}: a segment has {S} of them for parts={parts}")
  edges = np.arange(parts + 1) * S // parts
  cut = [
    x_NxSxF[:, a:b].mean(1) for a, b in zip(edges, edges[1:], strict=False)
  ]
  return np.stack(cut, 1).reshape(N, -1)
