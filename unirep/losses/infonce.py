"""InfoNCE between the rows of two modalities.

Dimensions: B rows of this device, G of all devices, T time, R steps (B, or
B * T), D width.
"""

import itertools

import jax
import jax.numpy as jnp

from unirep.losses import contrast as contrasts
from unirep.losses.base import Loss, LossInputs, at, context, together
from unirep.nn.encoders import mean_over_time
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
    valid_B: False for rows to leave out, such as padding; None for none.
    group_B: integers. Samples with the same one are known to mean the same (an
      identical caption) and are no negatives of each other.
    floor: least norm that a row is divided by; it bounds the gradient of a row
      of zeros by 1 / floor.
    contrast: how rows are compared, one of `unirep.losses.contrast`.
    axis_name: the device axis over which the batch is spread.

  Returns:
    A scalar; log G if the rows say nothing about the pairing.
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
  """Returns x / max(|x|, floor), with a finite gradient at zero."""
  square = (x_BxD**2).sum(-1, keepdims=True)
  # The root of a clamped value: at x = 0 its slope is 0, not infinite.
  return x_BxD / jnp.sqrt(jnp.maximum(square, floor**2))


def clips(inputs: LossInputs, *, grouped: bool = True, **keywords) -> Loss:
  """InfoNCE between clips, for the pairs of modalities that CPC does not align.

  Fine-aligned modalities join if their time axis is too short for CPC, by the
  mean of their tokens.

  Args:
    inputs: see `LossInputs`.
    grouped: whether samples with equal features of a modality that is not
      fine-aligned, such as the same text, are no negatives of each other.
    **keywords: of `infonce`.
  """
  general, tokens = inputs.outputs.general, inputs.outputs.tokens
  options = {"contrast": inputs.contrast, "axis_name": inputs.axis_name}
  parts = {}
  for m, n in itertools.combinations(inputs.order, 2):
    pair = general[m], general[n]
    groups = [inputs.groups[x] for x in (m, n) if x in inputs.groups]
    if not groups:  # both are fine-aligned
      continue
    own = {"valid_B": together(inputs.present, (m, n))}
    if grouped:
      own["group_B"] = groups[-1]
    parts[f"{m}-{n}"] = infonce(*pair, **own, **options, **keywords)
  if len(inputs.fine) > 1 and tokens[inputs.fine[0]].shape[1] < 3:
    mean = {
      m: mean_over_time(tokens[m], inputs.mask.get(m)) for m in inputs.fine
    }
    for m, n in itertools.combinations(inputs.fine, 2):
      pair = mean[m], mean[n]
      own = {"valid_B": together(inputs.present, (m, n))}
      parts[f"fine/{m}-{n}"] = infonce(*pair, **own, **options, **keywords)
  return Loss(parts)


def steps(inputs: LossInputs, *, every: bool = False, **keywords) -> Loss:
  """InfoNCE between steps, of the vectors before quantization.

  CPC aligns only tokens, and `clips` only whole clips. Without this loss
  nothing makes the vector of a step tell an event from its background, and all
  steps of a clip get the clip's code.

  Args:
    inputs: see `LossInputs`.
    every: compares every step with all steps of all clips; otherwise only the
      one step of each clip that CPC predicts.
    **keywords: of `infonce`.
  """
  if not inputs.outputs.general_steps:
    return Loss({})
  x = {m: inputs.outputs.general_steps[m] for m in inputs.fine}
  B, T, _ = x[inputs.fine[0]].shape
  valid_BxT = jnp.ones((B, T), bool)
  for m in x:
    if m in inputs.mask:
      valid_BxT &= inputs.mask[m]
  if every:
    flat = {m: x_BxTxD.reshape(B * T, -1) for m, x_BxTxD in x.items()}
    valid_R, count = valid_BxT.reshape(-1), T
  else:
    # Without CPC the time axis may be a single step.
    step = jnp.minimum(context(inputs) + 1, T - 1)
    flat = {m: at(x_BxTxD, step) for m, x_BxTxD in x.items()}
    valid_R, count = at(valid_BxT, step), 1
  present = {m: jnp.repeat(x_B, count) for m, x_B in inputs.present.items()}
  options = {"contrast": inputs.contrast, "axis_name": inputs.axis_name}
  return Loss(
    {
      f"{m}-{n}": infonce(
        flat[m],
        flat[n],
        valid_B=together(present, (m, n), valid_R),
        **options,
        **keywords,
      )
      for m, n in itertools.combinations(x, 2)
    }
  )
