"""Recurrent layers.

Dimensions: B batch, T time, D features in, H state width.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from unirep.nn.blocks import Dtype, product, uniform


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
    # Time first, before the product: gates are four times as wide.
    x_TxBxD = x_BxTxD.swapaxes(0, 1)
    gates_TxBx4H = product(x_TxBxD, w_in) + b_in + b_state

    def step(carry, gates_Bx4H):
      h_BxH, c_BxH = carry
      i, f, g, o = jnp.split(gates_Bx4H + h_BxH @ w_state, 4, -1)
      c_BxH = jax.nn.sigmoid(f) * c_BxH + jax.nn.sigmoid(i) * jnp.tanh(g)
      h_BxH = jax.nn.sigmoid(o) * jnp.tanh(c_BxH)
      return (h_BxH, c_BxH), h_BxH

    # zeros_like of an input: a constant would not vary over devices.
    zero_BxH = jnp.zeros_like(gates_TxBx4H[0, :, :H])
    _, h_TxBxH = jax.lax.scan(step, (zero_BxH, zero_BxH), gates_TxBx4H)
    return h_TxBxH.swapaxes(0, 1)


class BiLSTM(nn.Module):
  """Layers that read both ways: (B, T, F) -> (B, T, 2 * width)."""

  width: int = 128
  layers: int = 2
  dtype: Dtype = None

  @nn.compact
  def __call__(self, x_BxTxF):
    x = x_BxTxF
    for i in range(self.layers):
      ahead = LSTM(self.width, name=f"lstm{i}")(x)
      back = LSTM(self.width, name=f"lstm{i}_back")(x[:, ::-1])[:, ::-1]
      x = jnp.concatenate([ahead, back], -1).astype(x_BxTxF.dtype)
    return x
