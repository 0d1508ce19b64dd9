"""Losses of squared distance: reconstruction and commitment.

Dimensions: B samples of this device, T time, D code width; `...` any axes.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from unirep.losses.base import Arrays, Loss, LossInputs, counted, filled
from unirep.parallel import collectives


def reconstruction(
  prediction: jax.Array,
  target: jax.Array,
  *,
  normalize: bool = True,
  stop_target: bool = True,
  mask_BxT: jax.Array | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  """Mean squared error, by default in units of the target's variance.

  Args:
    prediction: (B, ...).
    target: of the same shape.
    normalize: divides by the variance of the targets in the global batch
      (without gradient). The loss is then 1 for a decoder that predicts the
      mean and 0 for a perfect one, whatever the scale of the features.
    stop_target: stops the gradient into the target, which would otherwise
      become easy to predict.
    mask_BxT: False for steps to leave out; (B, T), (B, 1) or (B,), or None for
      none.
    axis_name: the device axis over which the batch is spread.
  """
  if prediction.shape != target.shape:
    raise ValueError(f"{prediction.shape} is compared with {target.shape}")
  if stop_target:
    target = jax.lax.stop_gradient(target)
  weight = jnp.ones((), prediction.dtype)
  if mask_BxT is not None:
    tail = (1,) * (target.ndim - mask_BxT.ndim)
    weight = mask_BxT.reshape(mask_BxT.shape + tail)
  error = collectives.masked_mean((prediction - target) ** 2, weight, axis_name)
  if not normalize:
    return error
  # One mean over all features, not one for each: the variance that a constant
  # prediction leaves.
  center = collectives.masked_mean(target, weight, axis_name)
  spread = collectives.masked_mean((target - center) ** 2, weight, axis_name)
  return error / jax.lax.stop_gradient(jnp.maximum(spread, 1e-6))


def commitment(
  x: Mapping[str, jax.Array],
  code: Mapping[str, jax.Array],
  modalities: Sequence[str],
  *,
  own_weight: float = 0.5,
  other_weight: float = 0.25,
  present: Arrays | None = None,
  axis_name: str | None = None,
) -> dict[str, jax.Array]:
  """Pulls each vector towards its own code and towards the others' codes.

  For modality m of M, the mean over samples and dimensions of

    own_weight (x_m - c_m)^2
    + other_weight / (M - 1) sum over n != m of (x_m - c_n)^2.

  Args:
    x: modality -> (B, D) vectors before quantization.
    code: modality -> (B, D) nearest codes; they get no gradient.
    modalities: the order of the modalities.
    own_weight: weight of the squared distance to the own code.
    other_weight: weight that the codes of the other modalities share equally.
    present: modality -> (B,), see `LossInputs`. Only the modalities that a
      sample has share the weight.
    axis_name: the device axis over which the batch is spread.

  Returns:
    Modality -> scalar.
  """
  fixed = {m: jax.lax.stop_gradient(code[m]) for m in modalities}
  loss, present = {}, filled(present, x)
  for m in modalities:
    gap = {n: _by_sample((x[m] - fixed[n]) ** 2) for n in modalities}
    others = {n: present[n] for n in modalities if n != m}
    error_B = own_weight * gap[m] + other_weight * _mean_of(gap, others)
    loss[m] = collectives.masked_mean(error_B, present[m], axis_name)
  return loss


def _by_sample(x):
  return x.mean(tuple(range(1, x.ndim)))


def _mean_of(gap, present):
  """The mean over the modalities of `present` that a sample has; 0 for none."""
  total_B = count_B = jnp.zeros_like(next(iter(gap.values())))
  for n, present_B in present.items():
    total_B += jnp.where(present_B, gap[n], 0)
    count_B += present_B
  return total_B / jnp.maximum(count_B, 1)


def fine(inputs: LossInputs, **keywords) -> Loss:
  """Raw features, decoded from tokens and specific features."""
  outputs, parts = inputs.outputs, {}
  for m, prediction in outputs.fine_reconstruction.items():
    parts[m] = reconstruction(
      prediction,
      outputs.fine_target[m].astype(prediction.dtype),
      mask_BxT=counted(inputs.mask.get(m), inputs.present[m]),
      axis_name=inputs.axis_name,
      **keywords,
    )
  return Loss(parts)


def coarse(inputs: LossInputs, **keywords) -> Loss:
  """Coarse features, decoded from codes and coarse specific features."""
  outputs = inputs.outputs
  return Loss(
    {
      m: reconstruction(
        prediction,
        outputs.coarse[m],
        mask_BxT=inputs.present[m],
        axis_name=inputs.axis_name,
        **keywords,
      )
      for m, prediction in outputs.coarse_reconstruction.items()
    }
  )


def commit(inputs: LossInputs, **keywords) -> Loss:
  """Commitment of every modality to the codes of all, see `commitment`."""
  outputs = inputs.outputs
  return Loss(
    commitment(
      outputs.general,
      outputs.code,
      inputs.order,
      present=inputs.present,
      axis_name=inputs.axis_name,
      **keywords,
    )
  )
