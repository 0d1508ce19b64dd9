"""Cross-CPC: the past of one modality predicts the future of another.

Contrastive predictive coding across time-aligned modalities ("Achieving Cross
Modal Generalization with Multimodal Unified Representation", NeurIPS 2023,
Eq. 6), one step ahead. With g_m the prediction from the tokens 0..t of modality
m and z_n the token t + 1 of modality n, the loss of the pair m -> n is

    -mean_i log softmax_j(z_n^i . g_m^j)_i.

Dimensions: B samples of this device, G of all devices, T time, D token width.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from unirep.losses import contrast as contrasts
from unirep.losses.base import (
  Arrays,
  Loss,
  LossInputs,
  at,
  context,
  filled,
  together,
)
from unirep.nn.blocks import Linear, draw
from unirep.nn.recurrent import LSTM
from unirep.parallel import collectives

Params = Mapping[str, Any]


class Predictor(nn.Module):
  """Predicts the next token after every step: (B, T, D) -> (B, T, D).

  LSTM layers over the tokens, then a linear layer.
  """

  width: int = 256
  layers: int = 2

  @nn.compact
  def __call__(self, z_BxTxD):
    x = z_BxTxD
    for i in range(self.layers):
      x = LSTM(self.width, name=f"lstm{i}")(x)
    return Linear(z_BxTxD.shape[-1], name="predict")(x)


def init(
  key: jax.Array,
  modalities: Sequence[str],
  dim: int = 256,
  width: int = 256,
  layers: int = 2,
) -> dict[str, Params]:
  """Draws one predictor for each modality, for tokens of width `dim`."""
  net = Predictor(width, layers)
  z = jnp.zeros((1, 2, dim))
  # Predictors differ only in their draws, so one declaration serves for all.
  declared = net.init(key, z)["params"]
  return draw(key, dict.fromkeys(modalities, declared))


def predict(params: Params, z_BxTxD: jax.Array) -> jax.Array:
  """Predictions of the next token after each step: (B, T, D)."""
  layers = sum(name.startswith("lstm") for name in params)
  width = params["lstm0"]["state_kernel"].shape[0]
  net: Any = Predictor(width, layers)
  return net.apply({"params": params}, z_BxTxD)


def cpc(
  params: Mapping[str, Params],
  z: Mapping[str, jax.Array],
  start: jax.Array,
  modalities: Sequence[str],
  *,
  self_weight: float = 0.1,
  normalize: bool = True,
  mask: Arrays | None = None,
  present: Arrays | None = None,
  contrast: contrasts.Contrast = contrasts.dense,
  axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Contrasts predictions over the batch, for every ordered pair.

  The tokens 0..start predict the token start + 1. The softmax runs over the
  predictions of all samples for one future token, on plain inner products.

  Args:
    params: modality -> predictor, see `init`.
    z: modality -> tokens (B, T, D) with T >= start + 2.
    start: index of the last token of the context, a scalar or (B,).
    modalities: the time-aligned modalities.
    self_weight: weight of the pairs m -> m; all others weigh 1.
    normalize: divides by the sum of the weights, so that the loss by chance is
      log G, however many modalities there are.
    mask: modality -> (B, T) bool. Samples whose future token is padding in any
      modality are left out.
    present: modality -> (B,) bool. Samples without one of a pair's modalities
      are left out of that pair.
    contrast: how rows are compared, one of `unirep.losses.contrast`.
    axis_name: the device axis over which the batch is spread.

  Returns:
    The loss, and for each pair "context->future" the share of samples whose own
    prediction scores highest.
  """
  # The last token is only ever a future. The LSTM reads all tokens before it,
  # whatever `start` is, so that one compiled program serves for every start.
  steps = max(z[m].shape[1] for m in modalities) - 1
  guess, future = {}, {}
  for m in modalities:
    guess[m] = at(predict(params[m], z[m][:, :steps]), start)
    future[m] = at(z[m], start + 1)
  valid_B = jnp.ones_like(future[modalities[0]][:, 0], bool)
  for mask_BxT in [x for m, x in (mask or {}).items() if m in modalities]:
    valid_B &= at(mask_BxT, start + 1)
  present, accuracy = filled(present, z), {}
  total = weights = jnp.zeros(())
  for source, target in itertools.product(modalities, modalities):
    both_B = together(present, (source, target), valid_B)
    # Predictions are the keys: samples compete to explain one future token.
    loss_B, right_B = contrast(
      future[target], guess[source], valid_B=both_B, axis_name=axis_name
    )
    weight = self_weight if source == target else 1.0
    # Without any sample that has both, a pair does not enter the mean.
    weight *= collectives.psum(both_B.sum(), axis_name) > 0
    total += weight * collectives.masked_mean(loss_B, both_B, axis_name)
    weights += weight
    accuracy[f"{source}->{target}"] = collectives.masked_mean(
      right_B.astype(loss_B.dtype), both_B, axis_name
    )
  weights = jnp.maximum(weights, 1e-9)  # never 0 / 0
  return (total / weights if normalize else total), accuracy


def time_aligned(inputs: LossInputs, **keywords) -> Loss:
  """CPC between the modalities that share a time axis.

  Without parts if the time axis is too short; `infonce.clips` then aligns these
  modalities.
  """
  if "cpc" not in inputs.networks:
    return Loss({})
  loss, accuracy = cpc(
    inputs.networks["cpc"],
    inputs.outputs.tokens,
    context(inputs),
    inputs.fine,
    mask=inputs.mask,
    present=inputs.present,
    contrast=inputs.contrast,
    axis_name=inputs.axis_name,
    **keywords,
  )
  right = {f"cpc_accuracy/{pair}": a for pair, a in accuracy.items()}
  return Loss({"+".join(inputs.fine): loss}, right)
