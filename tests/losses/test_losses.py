"""The losses' clean keywords against NumPy, and what their gradients reach."""

import functools
import itertools
import math
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import Module

from unirep.losses import club, cmcm, cpc, infonce, reconstruction
from unirep.quantizer import codebook

club, cmcm, cpc, infonce = map(Module, (club, cmcm, cpc, infonce))
reconstruction, codebook = map(Module, (reconstruction, codebook))


def normal(*shape, seed=0, dtype=np.float64):
  return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def log_softmax(x):
  x = x - x.max(-1, keepdims=True)
  return x - np.log(np.exp(x).sum(-1, keepdims=True))


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


# InfoNCE.


def infonce_loops(q, k, temperature, symmetric, same=None):
  def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)

  def one_way(a, b):
    losses = []
    for i in range(len(a)):
      scores = {
        j: a[i] @ b[j] / temperature
        for j in range(len(b))
        if same is None or j == i or not same[i, j]
      }
      normalizer = np.log(sum(np.exp(s) for s in scores.values()))
      losses.append(normalizer - scores[i])
    return np.mean(losses)

  q, k = unit(q), unit(k)
  if not symmetric:
    return one_way(q, k)
  return (one_way(q, k) + one_way(k, q)) / 2


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_infonce_matches_loops(symmetric, masked, x64):
  q, k = normal(6, 4), normal(6, 4, seed=1)
  group = np.array([0, 1, 0, 2, 1, 0])
  same = group[:, None] == group if masked else None
  ours = infonce.infonce(
    q,
    k,
    temperature=0.3,
    symmetric=symmetric,
    group_B=group if masked else None,
  )
  expected = infonce_loops(q, k, 0.3, symmetric, same)
  np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_infonce_defaults(x64):
  q, k = normal(6, 4), normal(6, 4, seed=1)
  loss = infonce.infonce(q, k)
  np.testing.assert_allclose(loss, infonce_loops(q, k, 0.1, True), rtol=1e-12)
  np.testing.assert_allclose(loss, infonce.infonce(k, q), rtol=1e-12)
  np.testing.assert_allclose(loss, infonce.infonce(3 * q, 5 * k), rtol=1e-9)
  other = infonce.infonce(q, k, symmetric=False)
  assert abs(other - infonce.infonce(k, q, symmetric=False)) > 1e-3


def test_infonce_masked_negatives_get_no_gradient():
  q, k = normal(3, 4, dtype=np.float32), normal(3, 4, seed=1, dtype=np.float32)
  q[1:] = 0  # so that key 1 matters only as a negative of row 0
  group = np.array([7, 7, 3])

  def loss(k, group):
    return infonce.infonce(q, k, symmetric=False, group_B=group)

  assert np.abs(jax.grad(loss)(k, None)[1]).max() > 1e-3
  grad = jax.grad(loss)(k, group)
  assert not grad[1].any()
  assert np.abs(grad[2]).max() > 1e-3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_infonce_of_zero_rows_is_log_b_with_finite_gradients(dtype, x64):
  zero = np.zeros((5, 4), dtype)
  loss, grads = jax.value_and_grad(infonce.infonce, (0, 1))(zero, zero)
  np.testing.assert_allclose(loss, math.log(5), rtol=1e-6)
  assert all(np.isfinite(g).all() for g in grads)
  q = normal(5, 4, dtype=dtype)
  q[2] = 0
  loss, grads = jax.value_and_grad(infonce.infonce, (0, 1))(q, q)
  assert np.isfinite(loss)
  assert all(np.isfinite(g).all() for g in grads)
  assert np.abs(grads[0][2]).max() <= 1 / 1e-6


def test_infonce_of_alike_rows_is_log_b():
  one = np.ones((7, 4), np.float32)
  np.testing.assert_allclose(infonce.infonce(one, one), math.log(7), rtol=1e-6)


def test_infonce_of_orthogonal_pairs_vanishes():
  eye = np.eye(5, dtype=np.float32)
  expected = math.log(1 + 4 * math.exp(-10))
  np.testing.assert_allclose(infonce.infonce(eye, eye), expected, rtol=1e-2)


# CMCM.


def cmcm_loops(p, q, epsilon):
  B = len(p)
  S = np.zeros((B, B))
  for i, j in itertools.product(range(B), range(B)):
    S[i, j] = sum(
      p[i, k] * np.log(q[j, k] + epsilon) + q[j, k] * np.log(p[i, k] + epsilon)
      for k in range(p.shape[1])
    )
  forward, backward = log_softmax(S), log_softmax(S.T)
  return -(np.diag(forward).mean() + np.diag(backward).mean()) / 2


def distribution(seed, batch=5, codes=7, scale=3.0):
  return np.exp(log_softmax(scale * normal(batch, codes, seed=seed)))


def test_cmcm_matches_loops_and_is_symmetric(x64):
  p, q = distribution(0), distribution(1)
  loss = cmcm.cmcm(p, q)
  np.testing.assert_allclose(loss, cmcm_loops(p, q, 1e-10), rtol=1e-12)
  np.testing.assert_allclose(cmcm.cmcm(q, p), loss, rtol=1e-13)
  assert abs(cmcm.cmcm(p, q, paired=False) - loss) > 1e-4


def test_cmcm_is_log_b_at_ignorance_and_small_when_matched():
  uniform = np.full((6, 9), 1 / 9, np.float32)
  np.testing.assert_allclose(
    cmcm.cmcm(uniform, uniform), math.log(6), rtol=1e-6
  )
  sure = np.eye(6, dtype=np.float32)
  assert 0 <= cmcm.cmcm(sure, sure) < 1e-6


def test_code_distribution_matches_numpy(x64):
  d = normal(4, 6) ** 2
  expected = np.exp(log_softmax(-np.sqrt(d)))
  np.testing.assert_allclose(cmcm.code_distribution(d), expected, rtol=1e-12)
  d[0, 0] = 0
  floored = np.exp(log_softmax(-np.sqrt(np.maximum(d, 0.5))))
  np.testing.assert_allclose(
    cmcm.code_distribution(d, floor=0.5), floored, rtol=1e-12
  )


def test_cmcm_of_a_clip_is_the_mean_over_its_own_seconds():
  """Seconds of weight 1 / T each: in a short clip they do not add up to 1."""
  p_BxTxK = np.exp(log_softmax(normal(2, 4, 3)))
  weight_BxT = np.array([[1, 1, 1, 1], [1, 0, 0, 0]]) / 4
  rows = types.SimpleNamespace(
    x={"a": np.zeros((8, 5))},
    distance={"a": p_BxTxK.reshape(8, 3)},
    weight_B=weight_BxT.reshape(-1),
  )
  inputs = types.SimpleNamespace(distribution=lambda distance, dim: distance)
  ours = cmcm._of_samples.__wrapped__(inputs, rows, "a", 2)
  expected = [p_BxTxK[0].mean(0), p_BxTxK[1, 0]]
  np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_cmcm_gradient_is_finite_on_a_code_with_the_floor():
  code = normal(6, 4, dtype=np.float32)
  x = {"a": code[:3], "b": normal(3, 4, seed=2, dtype=np.float32)}

  def loss(x, floor):
    p = {
      m: cmcm.code_distribution(codebook.distances(code, v), floor=floor)
      for m, v in x.items()
    }
    return cmcm.cmcm(p["a"], p["b"])

  grads = jax.grad(loss)(x, 1e-6)
  assert all(np.isfinite(g).all() for g in grads.values())
  assert all(np.abs(g).max() > 1e-4 for g in grads.values())
  released = jax.grad(loss)(x, 0.0)  # the defect that the floor mends
  assert not np.isfinite(released["a"]).all()


# CLUB.


@pytest.fixture(scope="module")
def nets():
  """x (., 3) explains y (., 5)."""
  pair = club.whole((jnp.zeros((2, 3)),), (jnp.zeros((2, 5)),))
  made = jax.jit(lambda k: club.init(k, {"a": pair}, hidden=8))
  params = made(jax.random.key(0))["a"]
  return jax.tree.map(lambda w: np.asarray(w) * 2, params)  # away from linear


def gaussian(params, x):
  def mlp(name):
    y = x
    for i in range(4):
      layer = params[f"{name}{i}"]
      y = y @ np.asarray(layer["kernel"], float) + np.asarray(layer["bias"])
      y = np.maximum(y, 0) if i < 3 else y
    return y

  return mlp("mean"), np.tanh(mlp("log_variance"))


def club_loops(params, x, y, permutation, weight=None):
  """Mean over rows, steps and features of log q(y|x) - log q(y'|x)."""
  mean, log_variance = gaussian(params, x)
  total, count = 0.0, 0.0
  for b, t in itertools.product(range(x.shape[0]), range(x.shape[1])):
    other = permutation[b]
    w = 1.0 if weight is None else float(weight[b, t] and weight[other, t])
    var = np.exp(log_variance[b, t])
    own = -((y[b, t] - mean[b, t]) ** 2) / (2 * var)
    negative = -((y[other, t] - mean[b, t]) ** 2) / (2 * var)
    total += w * (own - negative).mean()
    count += w
  return total / count


MASK = np.arange(6) < np.array([6, 2, 4, 1, 3])[:, None]
CYCLE = np.array([2, 0, 4, 1, 3])


@pytest.mark.parametrize("masked", [False, True])
def test_club_per_step_matches_loops(nets, masked, x64):
  x, y = normal(5, 6, 3), normal(5, 6, 5, seed=1)
  pair = club.whole((x,), (y,))
  if masked:
    pair = pair._replace(mask=(MASK,))
  ours = club.estimate(nets, pair, CYCLE, bounded=False)
  expected = club_loops(nets, x, y, CYCLE, MASK if masked else None)
  np.testing.assert_allclose(ours, expected, rtol=1e-10)


def test_club_of_vectors_is_one_step_of_sequences(nets, x64):
  x, y = normal(5, 3), normal(5, 5, seed=1)
  flat = club.estimate(nets, club.whole((x,), (y,)), CYCLE, bounded=False)
  expected = club_loops(nets, x[:, None], y[:, None], CYCLE)
  np.testing.assert_allclose(flat, expected, rtol=1e-10)


def test_club_parts_are_one_long_batch(nets, x64):
  x, y = normal(6, 3), normal(6, 5, seed=1)
  permutation = np.array([4, 0, 5, 2, 1, 3])
  whole = club.whole((x,), (y,))
  parts = club.whole((x[:3], x[3:]), (y[:3], y[3:]))
  bound = functools.partial(
    club.estimate, nets, permutation_R=permutation, bounded=False
  )
  np.testing.assert_allclose(bound(parts), bound(whole), rtol=1e-12)


def test_club_is_never_negative_and_then_pays_nothing(nets):
  x, seen = normal(5, 6, 3, dtype=np.float32), set()
  for seed in range(8):
    pair = club.whole((x,), (normal(5, 6, 5, seed=seed, dtype=np.float32),))
    raw = float(club.estimate(nets, pair, CYCLE, bounded=False))
    assert float(club.estimate(nets, pair, CYCLE)) == max(raw, 0)
    seen.add(raw > 0)
    if raw < 0:
      grad = jax.grad(
        lambda y: club.estimate(nets, club.whole((x,), (y,)), CYCLE)
      )
      assert not grad(pair.y[0]).any()
  assert seen == {True, False}


def test_club_gradient_reaches_features_and_never_the_network(nets):
  x, y = normal(5, 6, 3), normal(5, 6, 5, seed=1)

  def bound(params, x, y):
    return club.estimate(params, club.whole((x,), (y,)), CYCLE, bounded=False)

  to_params, to_x, to_y = jax.grad(bound, (0, 1, 2))(nets, x, y)
  assert all(not g.any() for g in jax.tree.leaves(to_params))
  assert np.abs(to_x).max() > 1e-5
  assert np.abs(to_y).max() > 1e-5


def test_club_padding_gets_no_gradient(nets):
  x, y = normal(5, 6, 3), normal(5, 6, 5, seed=1)

  def bound(x, y):
    pair = club.Pair((x,), (y,), (MASK,))
    return club.estimate(nets, pair, CYCLE, bounded=False)

  for grad in jax.grad(bound, (0, 1))(x, y):
    assert not np.asarray(grad)[~MASK].any()
    assert np.asarray(grad)[MASK].any()


@pytest.mark.parametrize("masked", [False, True])
def test_log_likelihood_matches_numpy(nets, masked, x64):
  x, y = normal(5, 6, 3), normal(5, 6, 5, seed=1)
  mean, log_variance = gaussian(nets, x)
  row = (-((mean - y) ** 2) / np.exp(log_variance) - log_variance).sum(-1) / 2
  expected = row[MASK].mean() if masked else row.mean()
  pair = club.whole((x,), (y,))
  if masked:
    pair = pair._replace(mask=(MASK,))
  np.testing.assert_allclose(
    club.log_likelihood(nets, pair), expected, rtol=1e-10
  )


def test_log_likelihood_has_a_ceiling(nets):
  """A network that is as sure as it can be and right: Y/2, no more."""
  params = jax.tree.map(np.zeros_like, nets)
  params["log_variance3"]["bias"] = np.full(5, -100.0, np.float32)
  pair = club.whole((normal(4, 3),), (np.zeros((4, 5), np.float32),))
  np.testing.assert_allclose(club.log_likelihood(params, pair), 2.5, rtol=1e-6)


def test_fit_learns_a_dependence_and_leaves_features_alone(nets):
  x = normal(64, 3, dtype=np.float32)
  y = np.tanh(x @ normal(3, 5, seed=3, dtype=np.float32))
  pairs = {"a": club.whole((x,), (y,))}
  optimizer = optax.adam(1e-2)

  def fit(params, x, rounds):
    pairs = {"a": club.whole((x,), (y,))}
    return club.fit(
      params, optimizer.init(params), pairs, optimizer, rounds=rounds
    )

  params, _, gains = jax.jit(functools.partial(fit, rounds=200))({"a": nets}, x)
  gain = np.asarray(gains["a"])
  assert gain.shape == (200,)
  np.testing.assert_allclose(
    gain[0], club.log_likelihood(nets, pairs["a"]), rtol=1e-5
  )
  assert gain[-1] > gain[0] + 0.5
  assert club.log_likelihood(params["a"], pairs["a"]) > gain[-1] - 0.05
  assert gain.max() <= 2.5
  # What was fitted now tells apart: the bound is clearly above zero.
  cycle = np.roll(np.arange(64), 1)
  assert club.estimate(params["a"], pairs["a"], cycle) > 0.1

  def through(x):
    params, _, gains = fit({"a": nets}, x, 2)
    return jnp.sum(gains["a"]) + sum(
      leaf.sum() for leaf in jax.tree.leaves(params)
    )

  assert not jax.jit(jax.grad(through))(x).any()


@pytest.mark.parametrize("rows", [2, 3, 4, 7, 16, 160])
def test_derangement(rows):
  draw = jax.jit(jax.vmap(lambda k: club.derangement(k, rows)))(
    jax.random.split(jax.random.key(rows), 20)
  )
  for permutation in np.asarray(draw):
    assert sorted(permutation) == list(range(rows))
    assert (permutation != np.arange(rows)).all()
  if rows > 3:
    assert len({tuple(p) for p in np.asarray(draw)}) > 3


# CPC.

PAIR = ("a", "b")
compiled_cpc = jax.jit(
  cpc.cpc, static_argnums=3, static_argnames=("self_weight", "normalize")
)


@pytest.fixture(scope="module")
def predictors():
  made = jax.jit(lambda k: cpc.init(k, PAIR, dim=4, width=3, layers=2))
  return jax.tree.map(np.asarray, made(jax.random.key(0)))


def lstm(params, x_TxD):
  """The textbook recurrence, one sample, gate by gate."""
  H = params["state_kernel"].shape[0]
  w = np.asarray(params["in_kernel"], float)
  u = np.asarray(params["state_kernel"], float)
  b = np.asarray(params["in_bias"], float) + params["state_bias"]
  h, c, out = np.zeros(H), np.zeros(H), []
  for x in x_TxD:
    gate = [
      x @ w[:, g * H : (g + 1) * H]
      + h @ u[:, g * H : (g + 1) * H]
      + b[g * H : (g + 1) * H]
      for g in range(4)
    ]
    i, f, o = sigmoid(gate[0]), sigmoid(gate[1]), sigmoid(gate[3])
    c = f * c + i * np.tanh(gate[2])
    h = o * np.tanh(c)
    out.append(h)
  return np.array(out)


def cpc_loops(params, z, start, self_weight, normalize, valid):
  guess = {}
  for m in PAIR:
    guess[m] = []
    for sample in z[m]:
      h = sample[: start + 1]
      for i in range(2):
        h = lstm(params[m][f"lstm{i}"], h)
      out = params[m]["predict"]
      guess[m].append(h[-1] @ np.asarray(out["kernel"], float) + out["bias"])
  total, weights, accuracy = 0.0, 0.0, {}
  rows = np.flatnonzero(valid)
  for source, target in itertools.product(PAIR, PAIR):
    future = z[target][rows, start + 1]
    score = future @ np.array(guess[source])[rows].T
    weight = self_weight if source == target else 1.0
    total -= weight * np.diag(log_softmax(score)).mean()
    weights += weight
    right = score.argmax(1) == np.arange(len(rows))
    accuracy[f"{source}->{target}"] = right.mean()
  return total / (weights if normalize else 1), accuracy


def sequences(seed=0):
  return {m: 2 * normal(5, 6, 4, seed=seed + i) for i, m in enumerate(PAIR)}


@pytest.mark.parametrize("start", [1, 4])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_cpc_matches_an_independent_lstm(
  predictors, start, normalize, masked, x64
):
  z, valid, mask = sequences(), np.ones(5, bool), None
  if masked:  # sample 1 lacks the future of a, sample 3 that of b
    mask = {m: np.ones((5, 6), bool) for m in PAIR}
    mask["a"][1, start + 1 :] = False
    mask["b"][3, start + 1 :] = False
    valid[[1, 3]] = False
  ours, accuracy = compiled_cpc(
    predictors, z, start, PAIR, self_weight=0.3, normalize=normalize, mask=mask
  )
  expected, shares = cpc_loops(predictors, z, start, 0.3, normalize, valid)
  np.testing.assert_allclose(ours, expected, rtol=1e-10)
  assert accuracy.keys() == shares.keys()
  for name, share in shares.items():
    np.testing.assert_allclose(accuracy[name], share, err_msg=name)


def test_cpc_is_causal(predictors):
  start = 2

  def loss(z):
    return cpc.cpc(predictors, z, start, PAIR)[0]

  for grad in jax.jit(jax.grad(loss))(sequences()).values():
    reached = np.abs(grad).max((0, 2)) > 0
    np.testing.assert_array_equal(reached, np.arange(6) <= start + 1)


def test_cpc_predictions_are_causal(predictors):
  z = sequences()["a"]
  jacobian = jax.jacrev(lambda z: cpc.predict(predictors["a"], z[None])[0])(
    z[0]
  )
  reached = np.abs(jacobian).max((1, 3)) > 0
  np.testing.assert_array_equal(reached, np.tril(np.ones((6, 6), bool)))


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_cpc_normalized_is_log_b_at_ignorance(predictors, modalities):
  names = tuple("abc"[:modalities])
  params = {m: jax.tree.map(np.zeros_like, predictors["a"]) for m in names}
  z = {m: normal(5, 6, 4, dtype=np.float32) for m in names}
  loss, _ = cpc.cpc(params, z, 1, names)
  np.testing.assert_allclose(loss, math.log(5), rtol=1e-6)
  raw, _ = cpc.cpc(params, z, 1, names, normalize=False)
  weights = 0.1 * modalities + modalities * (modalities - 1)
  np.testing.assert_allclose(raw, weights * math.log(5), rtol=1e-6)


def test_cpc_of_a_pair_that_no_sample_has_is_no_term(predictors):
  z = {m: normal(6, 4, 4, seed=i) for i, m in enumerate(PAIR)}
  first = np.arange(6) < 3
  present = dict(zip(PAIR, (first, ~first), strict=True))

  def loss(*names):
    return cpc.cpc(predictors, z, 1, names, present=present)[0]

  alone = [loss(m) for m in PAIR]
  np.testing.assert_allclose(loss(*PAIR), np.mean(alone), rtol=1e-6)


def test_cpc_padded_samples_get_no_gradient(predictors):
  mask = {"a": np.arange(6) < np.array([6, 3, 6, 6, 6])[:, None]}

  def loss(z):
    return cpc.cpc(predictors, z, 2, PAIR, mask=mask)[0]

  grads = jax.jit(jax.grad(loss))(sequences())
  for grad in grads.values():
    assert not grad[1].any()
    assert grad[0].any()


# Reconstruction.


def test_reconstruction_matches_numpy(x64):
  p, t = normal(4, 6, 3), 2 + normal(4, 6, 3, seed=1)
  ours = reconstruction.reconstruction(p, t)
  np.testing.assert_allclose(ours, ((p - t) ** 2).mean() / t.var(), rtol=1e-12)
  raw = reconstruction.reconstruction(p, t, normalize=False)
  np.testing.assert_allclose(raw, ((p - t) ** 2).mean(), rtol=1e-12)


@pytest.mark.parametrize("shape", [(4, 6, 3), (4, 6, 2, 2, 3)])
def test_reconstruction_leaves_padding_out(shape, x64):
  p, t = normal(*shape), 2 + normal(*shape, seed=1)
  mask = np.arange(6) < np.array([6, 1, 3, 2])[:, None]
  p[~mask], t[~mask] = 1e6, -1e6

  def loss(p, t):
    return reconstruction.reconstruction(p, t, mask_BxT=mask)

  expected = ((p - t)[mask] ** 2).mean() / t[mask].var()
  np.testing.assert_allclose(loss(p, t), expected, rtol=1e-10)
  grad = np.asarray(jax.grad(loss)(p, t))
  assert not grad[~mask].any()
  assert grad[mask].all()


def test_reconstruction_is_one_for_the_mean_and_scale_free(x64):
  t = 5 + 3 * normal(7, 4)
  mean = np.full_like(t, t.mean())
  np.testing.assert_allclose(reconstruction.reconstruction(mean, t), 1)
  assert reconstruction.reconstruction(t, t) == 0
  p = normal(7, 4, seed=1)
  one, many = (
    reconstruction.reconstruction(s * p, s * t) for s in (1.0, 1000.0)
  )
  np.testing.assert_allclose(one, many, rtol=1e-12)


def test_reconstruction_target_gradient(x64):
  p, t = normal(3, 4), normal(3, 4, seed=1)

  def loss(p, t, **options):
    return reconstruction.reconstruction(p, t, **options)

  assert not jax.grad(loss, 1)(p, t).any()
  assert jax.grad(loss, 0)(p, t).all()
  # Released: the target moves as well, but never through its own variance.
  to_p, to_t = jax.grad(functools.partial(loss, stop_target=False), (0, 1))(
    p, t
  )
  np.testing.assert_allclose(to_t, -to_p, rtol=1e-5)


def test_reconstruction_of_a_constant_target_is_finite():
  t = np.ones((3, 4), np.float32)
  loss, grad = jax.value_and_grad(reconstruction.reconstruction)(t + 1, t)
  assert np.isfinite(loss)
  assert np.isfinite(grad).all()


def test_reconstruction_refuses_other_shapes():
  with pytest.raises(ValueError, match=r"\(3, 4\) is compared with \(3, 1\)"):
    reconstruction.reconstruction(np.ones((3, 4)), np.ones((3, 1)))


# Commitment.


@pytest.mark.parametrize("modalities", [1, 2, 3])
def test_commitment_matches_numpy(modalities, x64):
  names = tuple("abc"[:modalities])
  x = {m: normal(5, 4, seed=i) for i, m in enumerate(names)}
  code = {m: normal(5, 4, seed=9 + i) for i, m in enumerate(names)}
  loss = reconstruction.commitment(x, code, names)
  assert tuple(loss) == names
  for m in names:
    others = [((x[m] - code[n]) ** 2).mean() for n in names if n != m]
    expected = 0.5 * ((x[m] - code[m]) ** 2).mean()
    expected += 0.25 * np.mean(others) if others else 0
    np.testing.assert_allclose(loss[m], expected, rtol=1e-12)


def test_commitment_pulls_rows_and_never_codes():
  x = {m: normal(5, 4, seed=i) for i, m in enumerate(PAIR)}
  code = {m: normal(5, 4, seed=9 + i) for i, m in enumerate(PAIR)}

  def total(x, code):
    return sum(reconstruction.commitment(x, code, PAIR).values())

  to_x, to_code = jax.grad(total, (0, 1))(x, code)
  for m, n in (PAIR, PAIR[::-1]):
    expected = (x[m] - code[m]) + 0.5 * (x[m] - code[n])
    np.testing.assert_allclose(to_x[m], expected / 20, rtol=1e-4, atol=1e-6)
    assert not to_code[m].any()
