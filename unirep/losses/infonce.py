"""InfoNCE between the rows of two modalities.

Dimensions: B batch rows of this device, G rows of all devices, D width.
"""

import jax
import jax.numpy as jnp

from unirep import collectives


def infonce(
  query_BxD: jax.Array,
  key_BxD: jax.Array,
  *,
  temperature: float = 0.1,
  symmetric: bool = True,
  same_BxG: jax.Array | None = None,
  floor: float = 1e-6,
  axis_name: str | None = None,
) -> jax.Array:
  """Cross-entropy of cosine similarities against the matching row.

  L = -mean_i log softmax_j(cos(q_i, k_j) / temperature)_i, over the global
  batch. Oord et al. 2018, "Representation Learning with Contrastive Predictive
  Coding", with cosine similarities.

  Args:
    query_BxD: rows of one modality.
    key_BxD: the matching rows of the other.
    temperature: divides the similarities.
    symmetric: averages over both directions; False contrasts keys only.
    same_BxG: True where another sample is known to mean the same thing (an
      identical caption); it then is no negative.
    floor: least norm that a row is divided by; it bounds the gradient of a row
      of zeros by 1 / floor.
    axis_name: the device axis over which the batch is spread.

  Returns:
    A scalar, log G when nothing is known.
  """
  row_B = collectives.local_rows(query_BxD.shape[0], axis_name)
  query_BxD, key_BxD = unit(query_BxD, floor), unit(key_BxD, floor)
  loss = _one_way(query_BxD, key_BxD, row_B, temperature, same_BxG, axis_name)
  if symmetric:
    back = _one_way(key_BxD, query_BxD, row_B, temperature, same_BxG, axis_name)
    loss = (loss + back) / 2
  return collectives.pmean(loss.mean(), axis_name)


def _one_way(query_BxD, key_BxD, row_B, temperature, same_BxG, axis_name):
  key_GxD = collectives.gather(key_BxD, axis_name)
  logits_BxG = jnp.matmul(query_BxD, key_GxD.T, precision="highest")
  logits_BxG = logits_BxG / temperature
  if same_BxG is not None:
    own_BxG = row_B[:, None] == jnp.arange(key_GxD.shape[0])
    low = jnp.finfo(logits_BxG.dtype).min
    logits_BxG = jnp.where(same_BxG & ~own_BxG, low, logits_BxG)
  log_p_BxG = jax.nn.log_softmax(logits_BxG)
  return -jnp.take_along_axis(log_p_BxG, row_B[:, None], 1)


def unit(x_BxD: jax.Array, floor: float) -> jax.Array:
  """X / max(|x|, floor), with a finite gradient at zero."""
  square = (x_BxD**2).sum(-1, keepdims=True)
  # The root of a clamped value: at x = 0 its slope is 0, not infinite.
  return x_BxD / jnp.sqrt(jnp.maximum(square, floor**2))
