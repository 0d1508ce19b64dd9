"""InfoNCE between the rows of two modalities.

Dimensions: B batch rows of this device, G rows of all devices, D width.
"""

import itertools

import jax
import jax.numpy as jnp

from unirep.losses import contrast as contrasts
from unirep.losses.base import Loss, View, at, context, together
from unirep.parallel import collectives


def infonce(
  query_BxD: jax.Array,
  key_BxD: jax.Array,
  *,
  temperature: float = 0.1,
  symmetric: bool = True,
  valid_B: jax.Array | None = None,
  group_B: jax.Array | None = None,
  floor: float = 1e-6,
  contrast: contrasts.Contrast = contrasts.dense,
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
    valid_B: False for rows that take no part, such as padding; None if all do.
    group_B: integers; samples that share one are known to mean the same thing
      (an identical caption) and are no negatives of each other.
    floor: least norm that a row is divided by; it bounds the gradient of a row
      of zeros by 1 / floor.
    contrast: how the rows are compared, one of `unirep.losses.contrast`.
    axis_name: the device axis over which the batch is spread.

  Returns:
    A scalar, log G when nothing is known.
  """
  query_BxD, key_BxD = unit(query_BxD, floor), unit(key_BxD, floor)
  options = {"valid_B": valid_B, "group_B": group_B, "axis_name": axis_name}
  pairs = [(query_BxD, key_BxD), (key_BxD, query_BxD)]
  loss = jnp.zeros(())
  for q_BxD, k_BxD in pairs[: 1 + symmetric]:
    loss_B, _ = contrast(q_BxD / temperature, k_BxD, **options)
    loss += collectives.mean(loss_B, valid_B, axis_name)
  return loss / (1 + symmetric)


def unit(x_BxD: jax.Array, floor: float) -> jax.Array:
  """X / max(|x|, floor), with a finite gradient at zero."""
  square = (x_BxD**2).sum(-1, keepdims=True)
  # The root of a clamped value: at x = 0 its slope is 0, not infinite.
  return x_BxD / jnp.sqrt(jnp.maximum(square, floor**2))


def clips(view: View, *, grouped: bool = True, **keywords) -> Loss:
  """Clip against clip, for the pairs that CPC does not align.

  Where there is no time axis to predict along it aligns the others as well, by
  the mean of their tokens.

  Args:
    view: what losses look at.
    grouped: whether samples with the same text, or whatever else is not
      fine-aligned, are no negatives of each other.
    **keywords: of `infonce`.
  """
  general, tokens = view.outputs.general, view.outputs.tokens
  options = {"contrast": view.contrast, "axis_name": view.axis_name}
  parts = {}
  for m, n in itertools.combinations(view.order, 2):
    pair = general[m], general[n]
    groups = [view.groups[x] for x in (m, n) if x in view.groups]
    if not groups:  # both are fine-aligned
      continue
    own = {"valid_B": together(view.present, (m, n))}
    if grouped:
      own["group_B"] = groups[-1]
    parts[f"{m}-{n}"] = infonce(*pair, **own, **options, **keywords)
  if len(view.fine) > 1 and tokens[view.fine[0]].shape[1] < 3:
    mean = {m: _mean(tokens[m], view.mask.get(m)) for m in view.fine}
    for m, n in itertools.combinations(view.fine, 2):
      pair = mean[m], mean[n]
      own = {"valid_B": together(view.present, (m, n))}
      parts[f"fine/{m}-{n}"] = infonce(*pair, **own, **options, **keywords)
  return Loss(parts)


def _mean(z_BxTxD, mask_BxT):
  if mask_BxT is None:
    return z_BxTxD.mean(1)
  weight_BxTx1 = mask_BxT[:, :, None].astype(z_BxTxD.dtype)
  return (z_BxTxD * weight_BxTx1).sum(1) / jnp.maximum(weight_BxTx1.sum(1), 1)


def steps(view: View, *, every: bool = False, **keywords) -> Loss:
  """Step against step.

  CPC aligns tokens, and clips are aligned as wholes. Without this, nothing asks
  what is quantized at a step to tell an event from the background around it,
  and the steps of a clip all take the clip's code.

  Args:
    view: what losses look at.
    every: compares every step with those of all clips; otherwise the one step
      of each clip that CPC predicts.
    **keywords: of `infonce`.
  """
  if not view.outputs.general_steps:
    return Loss({})
  rows = {m: view.outputs.general_steps[m] for m in view.fine}
  B, T, _ = rows[view.fine[0]].shape
  valid_BxT = jnp.ones((B, T), bool)
  for m in rows:
    if m in view.mask:
      valid_BxT &= view.mask[m]
  if every:
    flat = {m: x.reshape(B * T, -1) for m, x in rows.items()}
    valid_R, count = valid_BxT.reshape(-1), T
  else:
    step = jnp.minimum(context(view) + 1, T - 1)
    flat = {m: at(x, step) for m, x in rows.items()}
    valid_R, count = at(valid_BxT, step), 1
  present = {m: jnp.repeat(x, count) for m, x in view.present.items()}
  options = {"contrast": view.contrast, "axis_name": view.axis_name}
  return Loss(
    {
      f"{m}-{n}": infonce(
        flat[m],
        flat[n],
        valid_B=together(present, (m, n), valid_R),
        **options,
        **keywords,
      )
      for m, n in itertools.combinations(rows, 2)
    }
  )
