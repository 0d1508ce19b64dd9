"""Layers in chunks of rows, for CPUs.

The arrays inside a layer may be many times as large as its input and output. On
a CPU, arrays that are larger than the caches take longer to allocate, in every
step anew, than the layer takes to compute.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax

_NUMBERS = 1 << 21  # in a chunk; as float32 they fit the caches


def rows_on_cpu(
  function: Callable[..., jax.Array],
  kernel: jax.Array,
  given: Sequence[jax.Array],
  numbers: int,
) -> jax.Array:
  """Returns `function(kernel, *given)`, computed in chunks on a CPU.

  Args:
    function: (kernel, *rows) -> rows (B, T, ...), each made of its own inputs.
    kernel: shared by all rows.
    given: arrays (B, T, ...), the last of them grids (B, T, H, W, F).
    numbers: how many numbers `function` holds at each position of the grid.
  """
  lead, grid = given[-1].shape[:-3], given[-1].shape[-3:-1]
  rows = math.prod(lead)
  parts = _parts(rows, rows * math.prod(grid) * numbers)
  # A kernel larger than the caches would be read anew by every chunk, and by
  # every chunk's gradient.
  if parts == 1 or kernel.size > _NUMBERS:
    return function(kernel, *given)
  # The checkpoint keeps only a chunk's inputs for the gradient; otherwise all
  # inner arrays would be kept, and chunks would save nothing.
  one = jax.checkpoint(lambda kernel, chunk: function(kernel, *chunk))

  def chunked(kernel, *given):
    split = [x.reshape(parts, -1, *x.shape[len(lead) :]) for x in given]
    y = jax.lax.map(functools.partial(one, kernel), split)
    return y.reshape(*lead, *y.shape[2:])

  # Chosen at compile time: a GPU is faster with one large product.
  return jax.lax.platform_dependent(
    kernel, *given, cpu=chunked, default=function
  )


def _parts(rows: int, numbers: int) -> int:
  """Number of equal chunks that fit, or 1 if none near it divides the rows."""
  least = -(-numbers // _NUMBERS)
  return next((n for n in range(least, 4 * least) if rows % n == 0), 1)
