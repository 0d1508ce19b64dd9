"""CMCM: cross-modal code matching.

Two modalities of one sample should have similar distributions over the codes.
Liu et al. 2021, "Cross-Modal Discrete Representation Learning".

Dimensions: B samples of this device, G of all devices, T time, R clips or steps
(B, or B * T), K codes.
"""

import itertools

import jax
import jax.numpy as jnp

from unirep.losses import contrast as contrasts
from unirep.losses.base import Loss, LossInputs, together
from unirep.parallel import collectives


def code_distribution(
  distance_BxK: jax.Array, dim: int = 0, *, floor: float = 0.0
) -> jax.Array:
  """Softmax over codes of minus the distance, as released: (B, K) -> (B, K).

  Args:
    distance_BxK: squared distances.
    dim: width D, not used; the signature is that of `cosine_distribution`.
    floor: least squared distance. The slope of a square root is infinite at 0,
      so that a vector equal to its code would get a NaN gradient. The released
      code does not clamp; in float64 no distance is exactly 0.
  """
  del dim
  if floor:
    distance_BxK = jnp.maximum(distance_BxK, floor)
  return jax.nn.softmax(-jnp.sqrt(distance_BxK))


def cosine_distribution(
  distance_BxK: jax.Array, dim: int, *, temperature: float = 0.1
) -> jax.Array:
  """Softmax over codes of the cosine over a temperature: (B, K) -> (B, K).

  On the sphere that is the softmax of minus the scaled squared distance. It has
  a clear peak where one code is nearer than the others. `code_distribution` is
  nearly flat at the distances that occur, whichever code is nearest.

  Args:
    distance_BxK: squared distances between vectors and codes of squared length
      `dim`.
    dim: width D.
    temperature: divides the cosines, as in InfoNCE.
  """
  return jax.nn.softmax(cosine_logits(distance_BxK, dim, temperature))


def cosine_logits(
  distance_BxK: jax.Array, dim: int, temperature: float
) -> jax.Array:
  """Cosines over a temperature, minus the row's largest: (B, K) -> (B, K)."""
  # A softmax subtracts the largest logit itself, but after the scale, and a
  # compiler may fuse both into one operation that rounds once. Where all codes
  # are asleep, at a distance of 1e30, that misses zero by 1e22. The stop is as
  # in a softmax: a constant shift has no gradient.
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
    paired: False is the released code: the second term is q_i log p_j, only one
      direction is contrasted, exp is shifted by the global minimum, 1e-5 is
      added to the denominator, and `valid_B` and `contrast` are ignored.
    epsilon: added inside the logarithms.
    valid_B: False for samples to leave out; None for none.
    contrast: how rows are compared, one of `unirep.losses.contrast`.
    axis_name: the device axis over which the batch is spread.

  Returns:
    A scalar; log G if the distributions say nothing about the pairing.
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


def pairs(inputs: LossInputs, **keywords) -> Loss:
  """Half the sum of `cmcm` over pairs of modalities, as the method has it.

  Distributions are those of the first assignment. If it is of steps, a sample's
  distribution is the mean over its steps.
  """
  assignment = next(iter(inputs.assignments.values()))
  samples = next(iter(inputs.outputs.general.values())).shape[0]
  p_BxK = {m: _of_samples(inputs, assignment, m, samples) for m in inputs.order}
  options = {"contrast": inputs.contrast, "axis_name": inputs.axis_name}
  return Loss(
    {
      f"{m}-{n}": 0.5
      * cmcm(
        p_BxK[m],
        p_BxK[n],
        valid_B=together(inputs.present, (m, n)),
        **options,
        **keywords,
      )
      for m, n in itertools.combinations(inputs.order, 2)
    }
  )


def trust(inputs: LossInputs) -> jax.Array:
  """How well codes tell samples apart: from 0, not at all, to 1, perfectly.

  1 - CMCM / log G, with CMCM and log G averaged over pairs of modalities; log G
  is the CMCM of codes that say nothing.
  """
  # Without keywords, this is the CMCM of the clean preset, and XLA computes the
  # common part once if CMCM is a loss too.
  parts = pairs(inputs).parts
  mean = 2 * sum(parts.values(), jnp.zeros(())) / len(parts)
  # A scale, not a loss: minimizing through it would make codes tell less.
  mean, ignorance = jax.lax.stop_gradient(mean), _ignorance(inputs)
  # 0 where no sample has two modalities, and both are 0.
  gain = (ignorance - mean) / jnp.maximum(ignorance, 1e-9)
  return jnp.clip(gain, 0, 1)


def _ignorance(inputs):
  """The mean over pairs of log G, with G the samples that have both."""
  each = []
  for pair in itertools.combinations(inputs.order, 2):
    valid_B = together(inputs.present, pair)
    count = collectives.psum(valid_B.sum(), inputs.axis_name)
    each.append(jnp.log(jnp.maximum(count, 1)))
  return jnp.asarray(sum(each)) / len(each)


def _of_samples(inputs, assignment, m, samples):
  p_RxK = inputs.distribution(assignment.distance[m], assignment.x[m].shape[-1])
  if p_RxK.shape[0] == samples:
    return p_RxK
  p_BxTxK = p_RxK.reshape(samples, -1, p_RxK.shape[-1])
  # The weights of a padded sample do not add up to 1, so they are divided by
  # their sum.
  weight_BxTx1 = assignment.weight_B.reshape(*p_BxTxK.shape[:2], 1)
  total_Bx1 = jnp.maximum(weight_BxTx1.sum(1), 1e-9)
  return (p_BxTxK * weight_BxTx1).sum(1) / total_Bx1
