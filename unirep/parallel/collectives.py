"""Collectives between devices.

Each function is the identity on one device (`axis_name=None`) and an XLA
collective inside `jax.shard_map`. All communication of unirep goes through this
module, so the code of a loss is the same for one device and many.
"""

import jax
import jax.numpy as jnp


def gather(x_BxF: jax.Array, axis_name: str | None) -> jax.Array:
  """Concatenates the devices' leading axes: (B_local, ...) -> (B, ...)."""
  if axis_name is None:
    return x_BxF
  return jax.lax.all_gather(x_BxF, axis_name, tiled=True)


def psum(x: jax.Array, axis_name: str | None) -> jax.Array:
  """Sums over devices; the result is equal on all of them."""
  return x if axis_name is None else jax.lax.psum(x, axis_name)


def pmean(x: jax.Array, axis_name: str | None) -> jax.Array:
  """Averages over devices; the result is equal on all of them."""
  return x if axis_name is None else jax.lax.pmean(x, axis_name)


def varying(x, axis_name: str | None):
  """Marks a tree as each device's own copy.

  Gradients are then summed over devices in the type of the tree. Otherwise they
  are summed where it is first used, such as in bfloat16 after a cast.
  """
  if axis_name is None:
    return x
  return jax.tree.map(lambda y: jax.lax.pcast(y, axis_name, to="varying"), x)


def winner(value: jax.Array, x, axis_name: str | None):
  """The largest of the devices' scalars, and the tree `x` of its device.

  On a tie the first device wins. The results are equal on all devices.
  """
  if axis_name is None:
    return value, x
  best = jax.lax.pmax(value, axis_name)
  own, N = jax.lax.axis_index(axis_name), devices(axis_name)
  first = -jax.lax.pmax(jnp.where(value == best, -own, -N), axis_name)
  won = own == first
  return best, jax.tree.map(lambda y: psum(jnp.where(won, y, 0), axis_name), x)


def rotate(x, axis_name: str | None):
  """Sends every array of a tree to the next device of a ring.

  After as many rotations as there are devices each array is back again.
  """
  if axis_name is None:
    return x
  N = devices(axis_name)
  ring = [(i, (i + 1) % N) for i in range(N)]
  return jax.tree.map(lambda y: jax.lax.ppermute(y, axis_name, ring), x)


def devices(axis_name: str | None) -> int:
  """Number of devices that share the batch."""
  return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def global_rows(rows_B: int, axis_name: str | None) -> int:
  """Rows of the global batch, when each device holds `rows_B`."""
  return rows_B * devices(axis_name)


def local_rows(rows_B: int, axis_name: str | None) -> jax.Array:
  """Global batch indices of this device's rows: (B_local,) int32."""
  start = 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows_B
  return start + jnp.arange(rows_B, dtype=jnp.int32)


def gathered_rows(
  x_PxBxF: jax.Array, index_R: jax.Array, axis_name: str | None
) -> jax.Array:
  """Rows of other devices by number; all P * G rows are gathered for it.

  Args:
    x_PxBxF: P parts of B rows, of any trailing shape. All devices' rows of a
      part are G rows; parts follow each other.
    index_R: numbers among the P * G rows, different on every device.
    axis_name: the device axis over which rows are spread.

  Returns:
    (R, F), the rows `index_R`.
  """
  parts = [gather(x_BxF, axis_name) for x_BxF in x_PxBxF]
  return jnp.concatenate(parts)[index_R]


def rotated_rows(
  x_PxBxF: jax.Array, index_R: jax.Array, axis_name: str | None
) -> jax.Array:
  """As `gathered_rows`, but holds the rows of one device at a time."""
  if axis_name is None:
    return gathered_rows(x_PxBxF, index_R, None)
  B = x_PxBxF.shape[1]
  part_R, row_R = jnp.divmod(index_R, global_rows(B, axis_name))
  owner_R, place_R = jnp.divmod(row_R, B)
  tail = (1,) * (x_PxBxF.ndim - 2)

  def step(carry, _):
    block, owner, x_RxF = carry
    here_R = (owner_R == owner).reshape(-1, *tail)
    x_RxF = jnp.where(here_R, block[part_R, place_R], x_RxF)
    return (*rotate((block, owner), axis_name), x_RxF), None

  start = (
    x_PxBxF,
    jax.lax.axis_index(axis_name),
    jnp.zeros_like(x_PxBxF, shape=(index_R.shape[0], *x_PxBxF.shape[2:])),
  )
  (_, _, x_RxF), _ = jax.lax.scan(step, start, length=devices(axis_name))
  return x_RxF


def mean(x: jax.Array, weight: jax.Array | None, axis_name: str | None):
  """The global mean; with weights, see `masked_mean`."""
  if weight is None:
    return pmean(x.mean(), axis_name)
  return masked_mean(x, weight, axis_name)


def masked_mean(x: jax.Array, weight: jax.Array, axis_name: str | None):
  """Global sum(weight * x) / sum(weight); `weight` broadcasts against x."""
  weight = jnp.broadcast_to(weight, x.shape).astype(x.dtype)
  total = psum((x * weight).sum(), axis_name)
  # Never 0 / 0. Weights may be fractions, so that their sum is below one.
  return total / jnp.maximum(psum(weight.sum(), axis_name), 1e-9)
