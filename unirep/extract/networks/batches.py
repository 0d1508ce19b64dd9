"""Networks on any number of inputs, compiled for few.

Dimensions: N samples.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def run(
  apply: Callable[..., Any], params: Any, most: int
) -> Callable[..., np.ndarray]:
  """What computes a network's output of arrays whose first axis is N >= 1.

  It runs at most `most` samples at once, and is compiled for 1, 2, 4,
  8, 12, ... of them, when they come: clips have the same number of segments.

  Args:
    apply: (params, arrays) -> array.
    params: its parameters.
    most: a multiple of 4.
  """
  params = jax.device_put(params)
  compiled = jax.jit(apply)

  def call(*arrays):
    parts = []
    for i in range(0, len(arrays[0]), most):
      some = [x[i : i + most] for x in arrays]
      count = len(some[0])
      size = count if count < 3 else -(-count // 4) * 4
      # The last one again: zeros may be no valid input.
      some = [x[np.minimum(np.arange(size), count - 1)] for x in some]
      # Accelerators would round to 10 bits and fewer.
      with jax.default_matmul_precision("highest"):
        parts.append((compiled(params, *some), count))
    return np.concatenate([np.asarray(x)[:count] for x, count in parts])

  return call
