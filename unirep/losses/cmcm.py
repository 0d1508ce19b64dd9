"""CMCM: cross-modal code matching.

Two modalities of one sample should spread over the codes alike. Liu et al.
2021, "Cross-Modal Discrete Representation Learning".

Dimensions: B batch rows of this device, G rows of all devices, K codes.
"""

import itertools
import math

import jax
import jax.numpy as jnp

from unirep.losses import contrast as contrasts
from unirep.losses.base import Loss, View, together
from unirep.parallel import collectives


def code_distribution(
  distance_BxK: jax.Array, dim: int = 0, *, floor: float = 0.0
) -> jax.Array:
  """Softmax over codes of minus the distance: (B, K) squared -> (B, K).

  Args:
    distance_BxK: squared distances.
    dim: width D, which changes nothing here.
    floor: clamps them. A square root has an infinite slope at 0, which a row
      that sits on its code would turn into NaN; the released code does not
      clamp and escapes by float64.
  """
  del dim
  if floor:
    distance_BxK = jnp.maximum(distance_BxK, floor)
  return jax.nn.softmax(-jnp.sqrt(distance_BxK))


def cosine_distribution(
  distance_BxK: jax.Array, dim: int, *, temperature: float = 0.1
) -> jax.Array:
  """Softmax over codes of the cosine over a temperature: (B, K) -> (B, K).

  On the sphere that is the softmax of minus the squared distance, and close to
  one code only where others are farther away. The released distribution is
  nearly flat at the distances that occur, so that it says little of which code
  is chosen.

  Args:
    distance_BxK: squared distances of rows and codes of squared length `dim`.
    dim: width D.
    temperature: as that of InfoNCE.
  """
  return jax.nn.softmax(cosine_logits(distance_BxK, dim, temperature))


def cosine_logits(
  distance_BxK: jax.Array, dim: int, temperature: float
) -> jax.Array:
  """Cosines over a temperature, less the largest of a row: (B, K) -> (B, K).

  The difference to the least distance comes before the scale. A softmax takes
  it afterwards, and a compiler may do both in one operation that rounds once:
  where all codes are asleep, 1e30 away, that misses zero by 1e22.
  """
  least_Bx1 = jax.lax.stop_gradient(distance_BxK.min(-1, keepdims=True))
  return (least_Bx1 - distance_BxK) / (2 * dim * temperature)


DISTRIBUTIONS = {"cosine": cosine_distribution, "root": code_distribution}


def cmcm(
  p_BxK: jax.Array,
  q_BxK: jax.Array,
  *,
  paired: bool = True,
  epsilon: float = 1e-10,
  valid_B: jax.Array | None = None,
  contrast: contrasts.Contrast = contrasts.dense,
  axis_name: str | None = None,
) -> jax.Array:
  """Contrasts the code distributions of two modalities over the batch.

  S_ij = sum_k p_i log q_j + q_j log p_i is the negative symmetric
  cross-entropy of the pair (i, j), and the loss is -mean_i log softmax_j(S)_ii,
  averaged over both directions.

  Args:
    p_BxK: code distribution of one modality.
    q_BxK: that of the other.
    paired: False computes what the released code does: the second term is
      q_i log p_j, only rows are contrasted, exp is shifted by the global
      minimum and 1e-5 is added to the denominator.
    epsilon: added inside the logarithms.
    valid_B: False for rows that take no part; None if all do. Only if `paired`.
    contrast: how the rows are compared, one of `unirep.losses.contrast`; only
      if `paired`.
    axis_name: the device axis over which the batch is spread.

  Returns:
    A scalar, log G when nothing is known.
  """
  log_p_BxK, log_q_BxK = jnp.log(p_BxK + epsilon), jnp.log(q_BxK + epsilon)
  if not paired:
    row_B = collectives.local_rows(p_BxK.shape[0], axis_name)
    p_logq_BxG = _cross(p_BxK, log_q_BxK, axis_name)
    S_BxG = p_logq_BxG + _cross(q_BxK, log_p_BxK, axis_name)
    return collectives.pmean(_released(S_BxG, row_B, axis_name), axis_name)
  # S_ij is one inner product of rows twice as long, and S_ji the other way.
  p_Bx2K = jnp.concatenate([p_BxK, log_p_BxK], 1)
  q_Bx2K = jnp.concatenate([log_q_BxK, q_BxK], 1)
  options = {"valid_B": valid_B, "axis_name": axis_name}
  loss_B, _ = contrast(p_Bx2K, q_Bx2K, **options)
  back_B, _ = contrast(q_Bx2K, p_Bx2K, **options)
  return collectives.mean(loss_B + back_B, valid_B, axis_name) / 2


def _cross(a_BxK, b_BxK, axis_name):
  b_GxK = collectives.gather(b_BxK, axis_name)
  return jnp.matmul(a_BxK, b_GxK.T, precision="highest")


def _released(S_BxG, row_B, axis_name):
  shift = jnp.max(collectives.gather(jnp.max(-S_BxG)[None], axis_name))
  G_BxG = jnp.exp(S_BxG + shift)
  own_B = jnp.take_along_axis(G_BxG, row_B[:, None], 1)[:, 0]
  return -jnp.log(own_B / (G_BxG.sum(1) + 1e-5)).mean()


def pairs(view: View, **keywords) -> Loss:
  """Half the sum over pairs of modalities, as the method has it.

  Of the first level; where it is of time steps, a sample's distribution is the
  mean of theirs.
  """
  rows = next(iter(view.places.values()))
  samples = next(iter(view.outputs.general.values())).shape[0]
  p_BxK = {m: _of_samples(view, rows, m, samples) for m in view.order}
  options = {"contrast": view.contrast, "axis_name": view.axis_name}
  return Loss(
    {
      f"{m}-{n}": 0.5
      * cmcm(
        p_BxK[m],
        p_BxK[n],
        valid_B=together(view.present, (m, n)),
        **options,
        **keywords,
      )
      for m, n in itertools.combinations(view.order, 2)
    }
  )


def trust(view: View) -> jax.Array:
  """How far codes tell samples apart: 0 for not at all, 1 for each from all.

  The share of log G, the loss of ignorance, that CMCM has come down.
  """
  # Where CMCM counts as well XLA finds that this is the same, and does it once.
  parts = pairs(view).parts
  mean = 2 * sum(parts.values(), jnp.zeros(())) / len(parts)
  mean, ignorance = jax.lax.stop_gradient(mean), _ignorance(view)
  if view.present:  # no trust where no sample has two modalities
    gain = (ignorance - mean) / jnp.maximum(ignorance, 1e-9)
    return jnp.clip(gain, 0, 1)
  return jnp.clip(1 - mean / ignorance, 0, 1)


def _ignorance(view):
  """The mean over pairs of log G, where G are the samples that have both."""
  samples = next(iter(view.outputs.general.values())).shape[0]
  log_G = math.log(max(collectives.global_rows(samples, view.axis_name), 2))
  if not view.present:
    return log_G
  each = []
  for pair in itertools.combinations(view.order, 2):
    valid_B = together(view.present, pair)
    if valid_B is None:
      each.append(log_G)
    else:
      count = collectives.psum(valid_B.sum(), view.axis_name)
      each.append(jnp.log(jnp.maximum(count, 1)))
  return jnp.asarray(sum(each)) / len(each)


def _of_samples(view, rows, m, samples):
  p_RxK = view.distribution(rows.distance[m], rows.x[m].shape[-1])
  if p_RxK.shape[0] == samples:
    return p_RxK
  p_BxTxK = p_RxK.reshape(samples, -1, p_RxK.shape[-1])
  weight_BxTx1 = rows.weight_B.reshape(*p_BxTxK.shape[:2], 1)
  total_Bx1 = jnp.maximum(weight_BxTx1.sum(1), 1e-9)
  return (p_BxTxK * weight_BxTx1).sum(1) / total_Bx1
