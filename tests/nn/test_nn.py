"""Layers against JAX's own operations, and what may not influence what."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import compiled

from unirep.nn import blocks, encoders
from unirep.nn.kinds import KINDS

B, T, D = 4, 6, 8


def normal(*shape, seed=0, dtype=np.float32):
  return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def start(module, *inputs, seed=0):
  init = jax.jit(lambda key: blocks.draw(key, module.init(key, *inputs)))
  return init(jax.random.key(seed))["params"]


def apply(module, params, *inputs):
  return compiled(module.apply)({"params": params}, *inputs)


# Convolutions.


def reference_conv(x, kernel, padding, transposed):
  lead = x.shape[:-3]
  x = x.reshape(-1, *x.shape[-3:])
  if transposed:
    # y[p + i, q + j] += x[p, q] k[i, j]: JAX correlates, hence the flip.
    y = jax.lax.conv_transpose(
      x,
      kernel[::-1, ::-1],
      (1, 1),
      "VALID",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
  else:
    y = jax.lax.conv_general_dilated(
      x,
      kernel,
      (1, 1),
      [(padding, padding)] * 2,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
  return y.reshape(*lead, *y.shape[1:])


@pytest.mark.parametrize(
  ("size", "padding", "transposed", "lead"),
  [
    (1, 0, False, (3,)),
    (3, 0, False, (2, 3)),
    (3, 1, False, ()),
    (5, 2, False, (2,)),
    (2, 0, False, (2,)),
    (1, 0, True, (3,)),
    (3, 0, True, (2, 3)),
    (2, 0, True, ()),
    (5, 0, True, (2,)),
  ],
)
def test_conv_is_the_librarys(size, padding, transposed, lead, x64):
  module = blocks.Conv(
    5, size, padding=padding, transposed=transposed, use_bias=False
  )
  x = normal(*lead, 6, 7, 3, dtype=np.float64)  # H is not W
  params = {"kernel": normal(size, size, 3, 5, seed=1, dtype=np.float64)}

  def ours(x, kernel):
    return apply(module, {"kernel": kernel}, x)

  reference = functools.partial(
    reference_conv, padding=padding, transposed=transposed
  )
  shape = jax.eval_shape(ours, x, params["kernel"]).shape
  w = normal(*shape, seed=2, dtype=np.float64)

  @functools.partial(jax.jit, static_argnums=0)
  def pulled(fn, *given):
    y, pull = jax.vjp(fn, *given)
    return y, pull(w)

  y, grads = pulled(ours, x, params["kernel"])
  expected, truths = pulled(reference, x, params["kernel"])
  assert y.shape == expected.shape
  np.testing.assert_allclose(y, expected, atol=1e-12)
  for grad, truth in zip(grads, truths, strict=True):
    np.testing.assert_allclose(grad, truth, atol=1e-11)


def test_transposed_conv_is_the_loop_of_its_docstring(x64):
  x, k = normal(3, 4, 2, dtype=np.float64), normal(3, 3, 2, 5, dtype=np.float64)
  y = np.zeros((5, 6, 5))
  for p, q, i, j in np.ndindex(3, 4, 3, 3):
    y[p + i, q + j] += x[p, q] @ k[i, j]
  module = blocks.Conv(5, 3, transposed=True)
  bias = normal(5, dtype=np.float64)
  ours = apply(module, {"kernel": k, "bias": bias}, x)
  np.testing.assert_allclose(ours, y + bias, atol=1e-12)


def test_residual_block_carries_the_rectified_input():
  block, x = blocks.ResidualBlock(), normal(2, 4, 4, 3)
  params = start(block, x)
  zero = jax.tree.map(np.zeros_like, params)
  np.testing.assert_array_equal(apply(block, zero, x), np.maximum(x, 0))
  np.testing.assert_array_equal(
    apply(block, params, x), apply(block, params, np.maximum(x, 0))
  )


# First distributions.


def check_uniform(w, bound):
  """Within the bound, close to it, and flat: variance bound^2 / 3."""
  w = np.asarray(w, np.float64)
  assert np.abs(w).max() <= bound * (1 + 1e-6)
  assert np.abs(w).max() > 0.9 * bound
  if w.size > 500:
    np.testing.assert_allclose(w.var(), bound**2 / 3, rtol=0.15)
    assert abs(w.mean()) < 0.1 * bound


def test_linear_starts_within_its_bounds():
  params = start(blocks.Linear(64), normal(1, 25))
  check_uniform(params["kernel"], 1 / 5)
  check_uniform(params["bias"], 1 / 5)
  narrow = start(blocks.Linear(64, bound=0.01), normal(1, 25))
  check_uniform(narrow["kernel"], 0.01)


@pytest.mark.parametrize("transposed", [False, True])
def test_conv_starts_within_its_bounds(transposed):
  """PyTorch takes the fan of a transposed convolution from its OUTPUT."""
  module = blocks.Conv(40, 3, transposed=transposed)
  params = start(module, normal(1, 4, 4, 10))
  bound = 1 / math.sqrt((40 if transposed else 10) * 9)
  check_uniform(params["kernel"], bound)
  check_uniform(params["bias"], bound)


def test_attention_starts_within_its_bounds():
  params = start(blocks.SelfAttention(2), normal(1, 3, 32))
  check_uniform(params["in_kernel"], math.sqrt(6 / (4 * 32)))
  check_uniform(params["out"]["kernel"], 1 / math.sqrt(32))
  assert not params["in_bias"].any()
  assert not params["out_bias"].any()


# Attention and transformer.


def attention_loops(params, x, heads, mask=None):
  out = []
  for b in range(len(x)):
    q, k, v = np.split(x[b] @ params["in_kernel"] + params["in_bias"], 3, -1)
    width = x.shape[-1] // heads
    mixed = []
    for h in range(heads):
      part = slice(h * width, (h + 1) * width)
      score = q[:, part] @ k[:, part].T / math.sqrt(width)
      if mask is not None:
        score[:, ~mask[b]] = -np.inf
      weight = np.exp(score - score.max(-1, keepdims=True))
      weight /= weight.sum(-1, keepdims=True)
      mixed.append(weight @ v[:, part])
    out.append(np.concatenate(mixed, -1) @ params["out"]["kernel"])
  return np.array(out) + params["out_bias"]


@pytest.mark.parametrize("masked", [False, True])
def test_attention_matches_loops(masked, x64):
  module, x = blocks.SelfAttention(2), normal(B, T, D, dtype=np.float64)
  params = jax.tree.map(np.array, start(module, x))
  params["in_bias"] = normal(3 * D, seed=3)
  params["out_bias"] = normal(D, seed=4)
  mask = np.arange(T) < np.array([6, 1, 3, 5])[:, None] if masked else None
  ours = apply(module, params, x, mask)
  expected = attention_loops(params, x, 2, mask)
  np.testing.assert_allclose(ours, expected, atol=1e-12)


SHAPES = {"sequence": (7,), "vector": (7,), "grid": (3, 3, 7)}


@functools.cache
def tokens(kind, dtype=None):
  spec = KINDS[kind]
  module = encoders.Tokens(
    spec.pool(dtype=dtype) if spec.pool else None,
    spec.attends,
    dim=D,
    heads=2,
    hidden=16,
    layers=2,
    dtype=dtype,
  )
  return module, start(module, normal(1, T, *SHAPES[kind]))


@pytest.mark.parametrize("kind", list(SHAPES))
def test_tokens_commute_with_permutations_of_time(kind):
  module, params = tokens(kind)
  run = jax.jit(functools.partial(apply, module, params))
  x, order = normal(B, T, *SHAPES[kind]), np.array([3, 0, 5, 1, 4, 2])
  y = run(x)
  assert y.shape == (B, T, D)
  np.testing.assert_allclose(run(x[:, order]), y[:, order], atol=2e-5)
  assert np.abs(y[:, order] - y).max() > 0.1
  changed = x.copy()
  changed[:, 2] += 1
  moved = np.abs(run(changed) - y).max((0, 2)) > 1e-6
  np.testing.assert_array_equal(
    moved, np.arange(T) == 2 if kind == "vector" else np.ones(T, bool)
  )


def test_padding_is_irrelevant_to_valid_steps_and_gets_no_gradient():
  module, params = tokens("sequence")
  mask = np.arange(T) < np.array([6, 1, 3, 5])[:, None]
  x = normal(B, T, 7)
  w = normal(B, D, seed=5)
  other = np.where(mask[:, :, None], x, 50 * normal(B, T, 7, seed=1))

  @jax.jit
  @functools.partial(jax.value_and_grad, argnums=(0, 1))
  def loss(params, x):
    y = encoders.mean_over_time(apply(module, params, x, mask), mask)
    return (w * y).sum()

  (value, grads), (padded, other_grads) = loss(params, x), loss(params, other)
  np.testing.assert_allclose(padded, value, rtol=1e-5)
  for g, h in zip(
    jax.tree.leaves(grads), jax.tree.leaves(other_grads), strict=True
  ):
    np.testing.assert_allclose(h, g, atol=2e-5)
  assert not np.asarray(other_grads[1])[~mask].any()
  assert np.asarray(other_grads[1])[mask].all()
  # A short sample in a padded batch is that sample alone.
  alone = apply(module, params, x[2:3, :3])
  together = apply(module, params, other, mask)
  np.testing.assert_allclose(together[2, :3], alone[0], atol=2e-5)


def test_mean_over_time(x64):
  x = normal(3, T, D, dtype=np.float64)
  mask = np.arange(T) < np.array([6, 2, 0])[:, None]
  mean = encoders.mean_over_time(x, mask)
  np.testing.assert_allclose(mean[0], x[0].mean(0), rtol=1e-12)
  np.testing.assert_allclose(mean[1], x[1, :2].mean(0), rtol=1e-12)
  assert not mean[2].any()  # nothing at all: zero, not NaN
  np.testing.assert_allclose(encoders.mean_over_time(x, None), x.mean(1))


# Dropout.


def sample_keys(count, seed=0):
  fold = jax.vmap(jax.random.fold_in, (None, 0))
  return fold(jax.random.key(seed), jnp.arange(count))


def test_dropout_keeps_the_mean_and_the_share():
  first, second = blocks.dropout(sample_keys(64), 0.3, [(50, 10), (30,)])
  for drop, shape in ((first, (50, 10)), (second, (30,))):
    y = np.asarray(drop(jnp.ones((64, *shape))))
    np.testing.assert_allclose(np.unique(y), [0, 1 / 0.7], rtol=1e-6)
    assert abs((y == 0).mean() - 0.3) < 0.04
  y = np.asarray(first(jnp.ones((64, 50, 10))))
  assert abs(y.mean() - 1) < 0.02
  assert second(jnp.ones((64, 30), jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("count", [529, 530])
def test_dropout_of_two_places_is_independent(count):
  """Also where one draw decides on both."""
  (drop,) = blocks.dropout(sample_keys(400), 0.3, [(count,)])
  gone = np.asarray(drop(jnp.ones((400, count)))) == 0
  for shift in (1, 264, 265, 266):
    both = gone[:, shift:] & gone[:, :-shift]
    assert abs(both.mean() - 0.09) < 0.005
  assert abs(gone.mean(0) - 0.3).max() < 0.1  # at every place


def test_dropout_of_a_sample_ignores_its_neighbours():
  keys, x, shapes = sample_keys(6), jnp.ones((6, 40)), [(3,), (40,), (40,)]
  _, one, two = blocks.dropout(keys, 0.5, shapes)
  whole, order = one(x), np.array([4, 2, 5])
  part = blocks.dropout(keys[order], 0.5, shapes)[1](x[order])
  np.testing.assert_array_equal(part, whole[order])
  assert len({tuple(row) for row in np.asarray(whole).tolist()}) == 6
  assert (np.asarray(two(x)) != whole).any(1).all()  # places differ


def test_transformer_dropout_moves_with_its_sample():
  module, params = tokens("sequence")
  run = jax.jit(lambda x, keys: apply(module, params, x, None, keys))
  x, keys, order = normal(B, T, 7), sample_keys(B), np.array([2, 0, 3, 1])
  y = run(x, keys)
  np.testing.assert_allclose(run(x[order], keys[order]), y[order], atol=1e-5)
  same = jnp.broadcast_to(x[:1], x.shape)
  assert np.abs(run(same, keys)[0] - run(same, keys)[1]).max() > 1e-2
  plain = apply(module, params, x)
  assert np.abs(plain - y).max() > 1e-2
  np.testing.assert_array_equal(apply(module, params, x, None, None), plain)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_layers_draw_their_own_masks(rate):
  """Two layers of equal parameters are one layer twice, but for dropout."""
  _, params = tokens("sequence")
  x, keys = normal(B, T, 7), sample_keys(B)
  one = {name: params[name] for name in ("embed", "layer0")}
  two = {**one, "layer1": params["layer0"]}

  def run(p, layers):
    return apply(
      encoders.Tokens(None, True, D, 2, 16, layers, rate), p, x, None, keys
    )

  @jax.jit
  def gap():
    layer = blocks.TransformerLayer(2, 16, rate)
    again = apply(layer, params["layer0"], run(one, 1), None, keys)
    return jnp.abs(run(two, 2) - again).max()

  assert gap() > 1e-2 if rate else gap() < 1e-6


# Pools.


@functools.cache
def pools():
  pool = encoders.GridPool("attention", reduction=2)
  params = start(pool, normal(1, 2, 3, 4, 6))
  gates = {k: params[k] for k in params if k not in ("query", "key", "score")}
  return pool, params, encoders.GridPool("sum", reduction=2), gates


def test_attention_pool_equals_the_sum_of_constant_grids():
  attention, params, total, gates = pools()
  frame = normal(B, T, 1, 1, 6)
  constant = np.broadcast_to(frame, (B, T, 3, 4, 6))
  np.testing.assert_allclose(
    apply(attention, params, constant),
    apply(total, gates, constant),
    rtol=1e-4,
    atol=1e-5,
  )
  varied = normal(B, T, 3, 4, 6, seed=2)
  ours, theirs = apply(attention, params, varied), apply(total, gates, varied)
  assert ours.shape == theirs.shape == (B, T, 6)
  assert np.abs(ours - theirs).max() > 1e-2


def test_sum_pool_matches_numpy(x64):
  _, _, total, gates = pools()
  x = normal(B, T, 3, 4, 6, dtype=np.float64)
  squeeze, excite = (gates[f"Linear_{i}"]["kernel"] for i in (0, 1))
  gate = np.maximum(x.mean((2, 3)) @ squeeze, 0) @ excite
  expected = x.sum((2, 3)) * (1 + 1 / (1 + np.exp(-gate)))
  np.testing.assert_allclose(apply(total, gates, x), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["sum", "attention"])
def test_pools_do_not_know_positions(kind):
  attention, params, total, gates = pools()
  pool, p = (attention, params) if kind == "attention" else (total, gates)
  x = normal(2, 2, 3, 4, 6)
  shuffled = x.reshape(2, 2, 12, 6)[:, :, ::-1].reshape(x.shape)
  np.testing.assert_allclose(
    apply(pool, p, shuffled), apply(pool, p, x), rtol=1e-4, atol=1e-5
  )


def test_attention_pool_trains_its_attention():
  """The defect of the release: a softmax over one element learns nothing."""
  attention, params, _, _ = pools()
  x = normal(2, 2, 3, 4, 6)
  grads = jax.jit(jax.grad(lambda p: (apply(attention, p, x) ** 2).sum()))(
    params
  )
  for name in ("query", "key", "score"):
    assert np.abs(grads[name]["kernel"]).max() > 1e-6


# Types.


@pytest.mark.parametrize("kind", list(SHAPES))
def test_bfloat16_flows_through_encoders(kind):
  module, params = tokens(kind, jnp.bfloat16)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {
    jnp.dtype("float32")
  }
  x = normal(B, T, *SHAPES[kind])
  y = apply(module, params, x)
  assert y.dtype == jnp.bfloat16
  wide = apply(tokens(kind)[0], params, x)
  assert wide.dtype == jnp.float32
  assert 0 < np.abs(np.asarray(y, np.float32) - wide).max() < 0.2


@pytest.mark.parametrize("kind", ["sequence", "grid"])
def test_specific_features_and_decoders_fit_and_keep_bfloat16(kind):
  shape = (7,) if kind == "sequence" else (6, 5, 7)
  x, z = normal(2, T, *shape), normal(2, T, D)
  for dtype in (None, jnp.bfloat16):
    encoder = KINDS[kind].specific(4, dtype=dtype)
    (features, summary), _ = jax.eval_shape(
      encoder.init_with_output, jax.random.key(0), x
    )
    decoder = KINDS[kind].decoder(7, dtype=dtype)
    y, _ = jax.eval_shape(
      decoder.init_with_output, jax.random.key(0), z, features
    )
    assert y.shape == x.shape
    expected = jnp.dtype(dtype or np.float32)
    assert {features.dtype, summary.dtype, y.dtype} == {expected}
    assert summary.shape[:2] == (2, T)
