"""Rows that a CPU works on a few at a time.

What a layer holds between its input and its output may be many times as large
as both. An array that outgrows the caches is mapped anew in every step of a
CPU, which takes longer than what the layer computes.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax

_NUMBERS = 1 << 21  # that a chunk may hold; as float32 they fit the caches


def rows_on_cpu(
  function: Callable[..., jax.Array],
  kernel: jax.Array,
  given: Sequence[jax.Array],
  numbers: int,
) -> jax.Array:
  """`function(kernel, *given)`; on a CPU in chunks, which keep only inputs.

  As a whole where the kernel alone outgrows the caches: every chunk, and every
  chunk's gradient, would bring it anew.

  Args:
    function: (kernel, *rows) -> rows (B, T, ...), each from its own alone.
    kernel: what all rows share.
    given: arrays (B, T, ...), the last of them grids (B, T, H, W, F).
    numbers: that `function` holds at each place of the grid.
  """
  lead, grid = given[-1].shape[:-3], given[-1].shape[-3:-1]
  rows = math.prod(lead)
  parts = _parts(rows, rows * math.prod(grid) * numbers)
  if parts == 1 or kernel.size > _NUMBERS:
    return function(kernel, *given)
  one = jax.checkpoint(lambda kernel, chunk: function(kernel, *chunk))

  def chunked(kernel, *given):
    split = [x.reshape(parts, -1, *x.shape[len(lead) :]) for x in given]
    y = jax.lax.map(functools.partial(one, kernel), split)
    return y.reshape(*lead, *y.shape[2:])

  return jax.lax.platform_dependent(
    kernel, *given, cpu=chunked, default=function
  )


def _parts(rows: int, numbers: int) -> int:
  """Number of equal chunks that fit, or 1 where no such number divides rows."""
  least = -(-numbers // _NUMBERS)
  return next((n for n in range(least, 4 * least) if rows % n == 0), 1)
