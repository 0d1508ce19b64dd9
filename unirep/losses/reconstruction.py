"""Losses between a tensor and what should be equal to it.

Dimensions: B batch rows of this device, D code width; `...` any axes.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from unirep.losses.base import Arrays, Loss, View, counted
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
    normalize: divides by the variance of the global batch of targets (without
      gradient), which makes the loss 1 for whoever predicts the mean and 0 for
      a perfect decoder, whatever the features' scale.
    stop_target: no gradient into the target, which would otherwise learn to be
      easy to predict.
    mask_BxT: False at padding; needs a time axis in the second place. Or (B,),
      False for samples that do not count.
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
  """Pulls each row towards its own code and towards the others' codes.

  Args:
    x: modality -> rows (B, D) before quantization.
    code: modality -> (B, D) chosen codes; they get no gradient.
    modalities: the order of the modalities.
    own_weight: weight of the squared distance to the own code.
    other_weight: weight that the other modalities' codes share equally.
    present: see `View`. Where a sample lacks some, those that it has share.
    axis_name: the device axis over which the batch is spread.
  """
  fixed = {m: jax.lax.stop_gradient(code[m]) for m in modalities}
  loss, present = {}, present or {}
  for m in modalities:
    others = [n for n in modalities if n != m]
    if present:
      gap = {n: _by_sample((x[m] - fixed[n]) ** 2) for n in modalities}
      error_B = own_weight * gap[m]
      error_B += other_weight * _mean_of_present(gap, others, present)
      loss[m] = collectives.mean(error_B, present.get(m), axis_name)
      continue
    error = own_weight * ((x[m] - fixed[m]) ** 2).mean()
    for n in others:
      error += other_weight / len(others) * ((x[m] - fixed[n]) ** 2).mean()
    loss[m] = collectives.pmean(error, axis_name)
  return loss


def _by_sample(x):
  return x.mean(tuple(range(1, x.ndim)))


def _mean_of_present(gap, names, present):
  """Over those of `names` that a sample has; 0 if it has none."""
  total_B = count_B = jnp.zeros_like(next(iter(gap.values())))
  for n in names:
    here_B = present.get(n, jnp.ones_like(total_B, bool))
    total_B += jnp.where(here_B, gap[n], 0)
    count_B += here_B
  return total_B / jnp.maximum(count_B, 1)


def fine(view: View, **keywords) -> Loss:
  """Raw features from tokens and specific features, see `reconstruction`."""
  outputs, parts = view.outputs, {}
  for m, prediction in outputs.fine_reconstruction.items():
    parts[m] = reconstruction(
      prediction,
      outputs.fine_target[m].astype(prediction.dtype),
      mask_BxT=counted(view.mask.get(m), view.present.get(m)),
      axis_name=view.axis_name,
      **keywords,
    )
  return Loss(parts)


def coarse(view: View, **keywords) -> Loss:
  """Coarse features from codes and what codes leave out."""
  outputs = view.outputs
  return Loss(
    {
      m: reconstruction(
        prediction,
        outputs.coarse[m],
        mask_BxT=view.present.get(m),
        axis_name=view.axis_name,
        **keywords,
      )
      for m, prediction in outputs.coarse_reconstruction.items()
    }
  )


def commit(view: View, **keywords) -> Loss:
  """Every modality to the codes of all, see `commitment`."""
  outputs = view.outputs
  return Loss(
    commitment(
      outputs.general,
      outputs.code,
      view.order,
      present=view.present,
      axis_name=view.axis_name,
      **keywords,
    )
  )
