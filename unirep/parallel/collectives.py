"""Collectives: all that crosses devices.

Each function is the identity on one device (`axis_name=None`) and an XLA
collective inside `jax.shard_map`. Everything that crosses devices in unirep
goes through this file, so a loss reads the same on one device and many.
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
  """The tree as each device's own copy, whose gradients are summed as it is.

  Without it they are summed where a copy is first used: after a cast to
  bfloat16, say, in bfloat16.
  """
  if axis_name is None:
    return x
  return jax.tree.map(lambda y: jax.lax.pcast(y, axis_name, to="varying"), x)


def winner(value: jax.Array, x, axis_name: str | None):
  """Of one scalar a device, the largest, and the tree `x` that came with it.

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
  """Gives every array of a tree to the next device, and takes the last one's.

  After as many rotations as there are devices everything is home again.
  """
  if axis_name is None:
    return x
  N = devices(axis_name)
  around = [(i, (i + 1) % N) for i in range(N)]
  return jax.tree.map(lambda y: jax.lax.ppermute(y, axis_name, around), x)


def devices(axis_name: str | None) -> int:
  """How many devices share the batch."""
  return 1 if axis_name is None else jax.lax.axis_size(axis_name)


def global_rows(rows_B: int, axis_name: str | None) -> int:
  """Rows of the global batch, of which every device holds `rows_B`."""
  return rows_B * devices(axis_name)


def local_rows(rows_B: int, axis_name: str | None) -> jax.Array:
  """Global batch indices of this device's rows: (B_local,) int32."""
  start = 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows_B
  return start + jnp.arange(rows_B, dtype=jnp.int32)


def gathered_rows(
  x_PxBxF: jax.Array, index_R: jax.Array, axis_name: str | None
) -> jax.Array:
  """Rows `index_R` of the P * G rows of all devices, whose shares are gathered.

  Args:
    x_PxBxF: P parts of B rows, of any trailing shape. The long batch holds the
      first part's rows of all devices first.
    index_R: numbers of rows in the long batch, different on every device.
    axis_name: the device axis over which rows are spread.
  """
  whole = [gather(x_BxF, axis_name) for x_BxF in x_PxBxF]
  return jnp.concatenate(whole)[index_R]


def rotated_rows(
  x_PxBxF: jax.Array, index_R: jax.Array, axis_name: str | None
) -> jax.Array:
  """As `gathered_rows`, with the rows of one device resident at a time."""
  if axis_name is None:
    return gathered_rows(x_PxBxF, index_R, None)
  B = x_PxBxF.shape[1]
  part_R, row_R = jnp.divmod(index_R, global_rows(B, axis_name))
  owner_R, place_R = jnp.divmod(row_R, B)
  tail = (1,) * (x_PxBxF.ndim - 2)

  def step(carry, _):
    block, owner, found = carry
    hit_R = (owner_R == owner).reshape(-1, *tail)
    found = jnp.where(hit_R, block[part_R, place_R], found)
    return (*rotate((block, owner), axis_name), found), None

  start = (
    x_PxBxF,
    jax.lax.axis_index(axis_name),
    jnp.zeros_like(x_PxBxF, shape=(index_R.shape[0], *x_PxBxF.shape[2:])),
  )
  (_, _, found), _ = jax.lax.scan(step, start, length=devices(axis_name))
  return found


def mean(x: jax.Array, weight: jax.Array | None, axis_name: str | None):
  """The global mean, weighted where there are weights, see `masked_mean`."""
  if weight is None:
    return pmean(x.mean(), axis_name)
  return masked_mean(x, weight, axis_name)


def masked_mean(x: jax.Array, weight: jax.Array, axis_name: str | None):
  """Global sum(weight * x) / sum(weight); `weight` broadcasts against x."""
  weight = jnp.broadcast_to(weight, x.shape).astype(x.dtype)
  total = psum((x * weight).sum(), axis_name)
  # Never 0 / 0; weights may be parts of one, so that their sum is below it.
  return total / jnp.maximum(psum(weight.sum(), axis_name), 1e-9)
