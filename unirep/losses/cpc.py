"""Cross-CPC: the past of one modality predicts the future of another.

Contrastive predictive coding across time-aligned modalities ("Achieving Cross
Modal Generalization with Multimodal Unified Representation", NeurIPS 2023,
Eq. 6), one step ahead.

Dimensions: B batch rows of this device, G rows of all devices, T time, D token
width, H state width.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from unirep import collectives
from unirep.losses import contrast as contrast_lib
from unirep.nn.blocks import Linear, draw, uniform

Params = Mapping[str, Any]


class Predictor(nn.Module):
  """LSTM layers over the tokens, then a linear prediction of the next one.

  Returns the prediction after every step: (B, T, D) -> (B, T, D).
  """

  width: int = 256
  layers: int = 2

  @nn.compact
  def __call__(self, z_BxTxD):
    x = z_BxTxD
    for i in range(self.layers):
      x = LSTM(self.width, name=f"lstm{i}")(x)
    return Linear(z_BxTxD.shape[-1], name="predict")(x)


class LSTM(nn.Module):
  """One layer, gates i, f, g, o, with two biases as PyTorch has them.

  Two biases are one in the forward pass, but under Adam their sum moves twice
  as far as one would.
  """

  width: int

  @nn.compact
  def __call__(self, x_BxTxD):
    H, D = self.width, x_BxTxD.shape[-1]
    dtype = jnp.result_type(float)
    init = uniform(1 / math.sqrt(H))
    w_in = self.param("in_kernel", init, (D, 4 * H), dtype)
    w_state = self.param("state_kernel", init, (H, 4 * H), dtype)
    b_in = self.param("in_bias", init, (4 * H,), dtype)
    b_state = self.param("state_bias", init, (4 * H,), dtype)
    gates_BxTx4H = x_BxTxD @ w_in + b_in + b_state

    def step(carry, gates_Bx4H):
      h_BxH, c_BxH = carry
      i, f, g, o = jnp.split(gates_Bx4H + h_BxH @ w_state, 4, -1)
      c_BxH = jax.nn.sigmoid(f) * c_BxH + jax.nn.sigmoid(i) * jnp.tanh(g)
      h_BxH = jax.nn.sigmoid(o) * jnp.tanh(c_BxH)
      return (h_BxH, c_BxH), h_BxH

    # zeros_like of an input: a constant would not vary over devices.
    zero_BxH = jnp.zeros_like(gates_BxTx4H[:, 0, :H])
    gates = gates_BxTx4H.swapaxes(0, 1)
    _, h_TxBxH = jax.lax.scan(step, (zero_BxH, zero_BxH), gates)
    return h_TxBxH.swapaxes(0, 1)


def init(
  key: jax.Array,
  modalities: Sequence[str],
  dim: int = 256,
  width: int = 256,
  layers: int = 2,
) -> dict[str, Params]:
  """One predictor a modality for tokens of width `dim`."""
  net = Predictor(width, layers)
  z = jnp.zeros((1, 2, dim))
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
  mask: Mapping[str, jax.Array] | None = None,
  contrast: contrast_lib.Contrast = contrast_lib.dense,
  axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Contrasts predictions over the batch, for every ordered pair.

  A context of tokens 0..start predicts token start + 1; the softmax runs over
  contexts for a fixed future, on plain inner products.

  Args:
    params: modality -> predictor, see `init`.
    z: modality -> tokens (B, T, D) with T >= start + 2.
    start: scalar index, the last token of the context.
    modalities: the time-aligned modalities.
    self_weight: weight of a modality's prediction of itself; those of others
      weigh 1.
    normalize: divides by the sum of the weights, so that log G means that
      nothing is known, however many modalities there are.
    mask: modality -> (B, T) bool; samples whose future is padding take no part.
    contrast: how the rows are compared, one of `unirep.losses.contrast`.
    axis_name: the device axis over which the batch is spread.

  Returns:
    The loss and, for each "context->future" pair, the share of rows whose
    highest score is the right one.
  """
  steps = max(z[m].shape[1] for m in modalities) - 1
  guess, future = {}, {}
  for m in modalities:
    guess[m] = predict(params[m], z[m][:, :steps])[:, start]
    future[m] = z[m][:, start + 1]
  valid_B = jnp.ones_like(future[modalities[0]][:, 0], bool)
  for m in modalities:
    if mask and m in mask:
      valid_B &= mask[m][:, start + 1]
  total, weights, accuracy = jnp.zeros(()), 0.0, {}
  for source, target in itertools.product(modalities, modalities):
    loss_B, right_B = contrast(
      future[target], guess[source], valid_B=valid_B, axis_name=axis_name
    )
    weight = self_weight if source == target else 1.0
    total += weight * collectives.masked_mean(loss_B, valid_B, axis_name)
    weights += weight
    accuracy[f"{source}->{target}"] = collectives.masked_mean(
      right_B.astype(loss_B.dtype), valid_B, axis_name
    )
  return (total / weights if normalize else total), accuracy
