"""Recurrent layers.

Dimensions: B samples, T time, D features in, H state width.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from unirep.nn.blocks import Dtype, product, uniform


class LSTM(nn.Module):
  """One LSTM layer: (B, T, D) -> (B, T, H).

  Hochreiter & Schmidhuber 1997, "Long Short-Term Memory", with the gates in the
  order i, f, g, o and two biases, as in PyTorch.
  """

  width: int

  @nn.compact
  def __call__(self, x_BxTxD):
    H, D = self.width, x_BxTxD.shape[-1]
    dtype = jnp.result_type(float)
    init = uniform(1 / math.sqrt(H))
    w_in = self.param("in_kernel", init, (D, 4 * H), dtype)
    w_state = self.param("state_kernel", init, (H, 4 * H), dtype)
    # Their sum is all that the forward pass sees, but under Adam it moves twice
    # as far as a single bias would.
    b_in = self.param("in_bias", init, (4 * H,), dtype)
    b_state = self.param("state_bias", init, (4 * H,), dtype)
    # Time first, before the product: gates are four times as wide.
    x_TxBxD = x_BxTxD.swapaxes(0, 1)
    gates_TxBx4H = product(x_TxBxD, w_in) + b_in + b_state

    return recur(w_state, gates_TxBx4H).swapaxes(0, 1)


@jax.custom_vjp
def recur(w_Hx4H: jax.Array, gates_TxBx4H: jax.Array) -> jax.Array:
  """States (T, B, H), from the inputs' part of the gates (T, B, 4 H).

  With z_t = gates_t + h_(t-1) w, split into i, f, g and o:

      c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g)
      h_t = sigmoid(o) tanh(c_t).
  """
  # The gradient is written out: that of `scan` keeps each gate of each step in
  # an array of its own, and sums the kernel's gradient step by step.
  return _forward(w_Hx4H, gates_TxBx4H)[0]


def _forward(w_Hx4H, gates_TxBx4H):
  def step(carry, gates_Bx4H):
    h_BxH, c_BxH = carry
    z_Bx4H = gates_Bx4H + h_BxH @ w_Hx4H
    i, f, g, o = _gates(z_Bx4H)
    c_BxH = f * c_BxH + i * g
    h_BxH = o * jnp.tanh(c_BxH)
    return (h_BxH, c_BxH), (h_BxH, c_BxH, z_Bx4H)

  # zeros_like of an input: a plain constant does not vary over devices, and the
  # carry of a scan must keep its type.
  zero_BxH = jnp.zeros_like(gates_TxBx4H[0, :, : w_Hx4H.shape[0]])
  _, (h, c, z) = jax.lax.scan(step, (zero_BxH, zero_BxH), gates_TxBx4H)
  return h, (w_Hx4H, h, c, z)


def _gates(z):
  i, f, g, o = jnp.split(z, 4, -1)
  sigmoid = jax.nn.sigmoid
  return sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)


def _backward(kept, dh_TxBxH):
  # All local slopes are computed at once, before the scan. Each step of it is
  # then only multiplications and one product.
  w_Hx4H, h, c, z = kept
  i, f, g, o = _gates(z)
  tanh_c, before = jnp.tanh(c), functools.partial(_shifted, h[:1] * 0)
  slopes = (
    *(g * i * (1 - i), before(c) * f * (1 - f), i * (1 - g**2)),
    tanh_c * o * (1 - o),
  )
  slope_TxBx4H, slope_c = jnp.concatenate(slopes, -1), o * (1 - tanh_c**2)

  def step(carry, given):
    dh_BxH, dc_BxH = carry
    dh_own, slope_Bx4H, slope_c, f = given
    dh_BxH = dh_own + dh_BxH
    dc_BxH = dc_BxH + dh_BxH * slope_c
    d_Bx4H = jnp.concatenate([dc_BxH, dc_BxH, dc_BxH, dh_BxH], -1) * slope_Bx4H
    return (d_Bx4H @ w_Hx4H.T, dc_BxH * f), d_Bx4H

  zero_BxH = jnp.zeros_like(h[0])
  given = dh_TxBxH, slope_TxBx4H, slope_c, f
  _, d = jax.lax.scan(step, (zero_BxH, zero_BxH), given, reverse=True)
  # The kernel's gradient is one product over all steps and samples.
  rows = [x.reshape(-1, x.shape[-1]) for x in (before(h), d)]
  return rows[0].T @ rows[1], d


def _shifted(first, x):
  """The step before each step."""
  return jnp.concatenate([first, x[:-1]])


recur.defvjp(_forward, _backward)


class BiLSTM(nn.Module):
  """Bidirectional LSTM layers: (B, T, F) -> (B, T, 2 * width)."""

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
