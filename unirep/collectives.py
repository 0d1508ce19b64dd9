"""What a loss may ask of the other devices.

Each function is the identity on one device (`axis_name=None`) and an XLA
collective inside `jax.shard_map`. Everything that crosses devices in unirep
goes through these five lines, so a loss reads the same on one device and many.
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


def global_rows(rows_B: int, axis_name: str | None) -> int:
  """Rows of the global batch, of which every device holds `rows_B`."""
  return rows_B if axis_name is None else rows_B * jax.lax.axis_size(axis_name)


def local_rows(rows_B: int, axis_name: str | None) -> jax.Array:
  """Global batch indices of this device's rows: (B_local,) int32."""
  start = 0 if axis_name is None else jax.lax.axis_index(axis_name) * rows_B
  return start + jnp.arange(rows_B, dtype=jnp.int32)


def masked_mean(x: jax.Array, weight: jax.Array, axis_name: str | None):
  """Global sum(weight * x) / sum(weight); `weight` broadcasts against x."""
  weight = jnp.broadcast_to(weight, x.shape).astype(x.dtype)
  total = psum((x * weight).sum(), axis_name)
  return total / jnp.maximum(psum(weight.sum(), axis_name), 1)
