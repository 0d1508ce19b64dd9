"""An LSTM's gradient, which is written out, against the one of a scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unirep.nn import recurrent


def scanned(w_Hx4H, gates_TxBx4H):
  """The definition; its gradient is for JAX to find."""

  def step(carry, gates_Bx4H):
    h_BxH, c_BxH = carry
    i, f, g, o = jnp.split(gates_Bx4H + h_BxH @ w_Hx4H, 4, -1)
    sigmoid = jax.nn.sigmoid
    c_BxH = sigmoid(f) * c_BxH + sigmoid(i) * jnp.tanh(g)
    h_BxH = sigmoid(o) * jnp.tanh(c_BxH)
    return (h_BxH, c_BxH), h_BxH

  zero_BxH = jnp.zeros_like(gates_TxBx4H[0, :, : len(w_Hx4H)])
  return jax.lax.scan(step, (zero_BxH, zero_BxH), gates_TxBx4H)[1]


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_gradients_are_those_of_a_scan(steps):
  keys = jax.random.split(jax.random.key(steps), 3)
  with jax.enable_x64(True):
    w_Hx4H = jax.random.normal(keys[0], (5, 20))
    gates = jax.random.normal(keys[1], (steps, 3, 20))
    weight = jax.random.normal(keys[2], (steps, 3, 5))

    def found(states):
      def loss(*inputs):
        return (states(*inputs) * weight).sum()

      return jax.jit(jax.value_and_grad(loss, (0, 1)))(w_Hx4H, gates)

    (value, given), (expected, wanted) = map(found, (recurrent.recur, scanned))
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    for x, y in zip(given, wanted, strict=True):
      np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14)
