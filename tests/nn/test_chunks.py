import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unirep.nn import blocks, chunks


def start(conv, *given):
  init = jax.jit(lambda key: blocks.draw(key, conv.init(key, *given)))
  return init(jax.random.key(0))["params"]


def run(conv, params, *given):
  """Compiled anew, so that it sees what was patched."""
  return jax.jit(lambda *x: conv.apply({"params": params}, *x))(*given)


def grad_of(conv, params, given, cotangent):
  def loss(params, given):
    return (conv.apply({"params": params}, *given) * cotangent).sum()

  return jax.jit(jax.grad(loss, (0, 1)))(params, given)


@pytest.mark.parametrize(
  ("transposed", "lead"),
  [(False, (2, 3)), (False, (7,)), (True, (4, 2, 3))],
)
def test_chunks_change_neither_values_nor_gradients(
  transposed, lead, monkeypatch, x64
):
  rng = np.random.default_rng(0)
  conv = blocks.Conv(4, 3, padding=not transposed, transposed=transposed)
  given = (jnp.asarray(rng.standard_normal((*lead, 3, 4, 5))),)
  params = start(conv, *given)
  whole = run(conv, params, *given)
  cotangent = jnp.asarray(rng.standard_normal(whole.shape))
  expected = grad_of(conv, params, given, cotangent)
  numbers = 9 * 3 * 4 * (4 if transposed else 5)  # of one row
  monkeypatch.setattr(chunks, "_NUMBERS", 2 * numbers)
  assert "scan" in str(
    jax.make_jaxpr(lambda x: conv.apply({"params": params}, x))(*given)
  )
  np.testing.assert_allclose(run(conv, params, *given), whole, rtol=1e-12)
  found = grad_of(conv, params, given, cotangent)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13),
    found,
    expected,
  )


@pytest.mark.parametrize("transposed", [False, True])
def test_a_kernel_that_fits_no_cache_is_read_once(transposed, monkeypatch):
  conv = blocks.Conv(16, 3, transposed=transposed)
  x = jnp.ones((8, 3, 4, 16))
  params = start(conv, x)

  def program():
    return str(jax.make_jaxpr(lambda x: conv.apply({"params": params}, x))(x))

  monkeypatch.setattr(chunks, "_NUMBERS", params["kernel"].size)
  assert "scan" in program()
  monkeypatch.setattr(chunks, "_NUMBERS", params["kernel"].size - 1)
  assert "scan" not in program()


def test_what_is_equal_everywhere_is_a_broadcast_feature(x64):
  rng = np.random.default_rng(1)
  conv = blocks.Conv(4, 3, transposed=True)
  x = jnp.asarray(rng.standard_normal((2, 3, 3, 4, 5)))
  everywhere = jnp.asarray(rng.standard_normal((2, 3, 6)))
  params = start(conv, x, everywhere)
  assert params["kernel"].shape == (3, 3, 11, 4)
  spread = jnp.broadcast_to(everywhere[:, :, None, None], (2, 3, 3, 4, 6))
  np.testing.assert_allclose(
    run(conv, params, x, everywhere),
    run(conv, params, jnp.concatenate([spread, x], -1)),
    rtol=1e-12,
  )


@pytest.mark.parametrize(
  ("rows", "numbers", "parts"),
  [
    (800, 800 * 14_400, 8),  # 5.5 would do; 8 divides
    (80, 1000, 1),
    (797, 797 * 14_400, 1),  # a prime: as a whole
    (1, 1 << 30, 1),
  ],
)
def test_chunks_are_equal_and_fit(rows, numbers, parts):
  assert chunks._parts(rows, numbers) == parts
