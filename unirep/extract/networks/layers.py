"""Convolutions that run fast on CPUs too.

Dimensions: N samples, H/W rows and columns, C channels.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class Depthwise(nn.Module):
  """A convolution of each channel by itself, (N, H, W, C), padded to "SAME".

  Attributes:
    size: rows and columns of the kernel.
    stride: of both axes.
  """

  size: int
  stride: int = 1

  @nn.compact
  def __call__(self, x_NxHxWxC):
    n, s, width = self.size, self.stride, x_NxHxWxC.shape[-1]
    kernel = self.param("kernel", nn.initializers.zeros, (n, n, 1, width))
    bias = self.param("bias", nn.initializers.zeros, (width,))
    rows, columns = ((size - 1) // s + 1 for size in x_NxHxWxC.shape[1:3])
    pads = [
      (total // 2, total - total // 2)
      for count, size in zip((rows, columns), x_NxHxWxC.shape[1:3], strict=True)
      for total in [max(0, (count - 1) * s + n - size)]
    ]
    x = jnp.pad(x_NxHxWxC, ((0, 0), *pads, (0, 0)))
    # A sum of shifted images, which XLA makes one loop of; its grouped
    # convolution takes 2 to 20 times as long on a CPU.
    return bias + sum(
      x[:, i : i + (rows - 1) * s + 1 : s, j : j + (columns - 1) * s + 1 : s]
      * kernel[i, j, 0]
      for i in range(n)
      for j in range(n)
    )


def conv(width: int, size: int, name: str, stride: int = 1) -> nn.Module:
  """A convolution with a bias, padded as TensorFlow pads "SAME"."""
  return nn.Conv(width, (size, size), stride, padding="SAME", name=name)


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
