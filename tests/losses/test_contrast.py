"""Chunks and rings against all logits at once, on one device and on eight."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from unirep.losses import contrast
from unirep.parallel import collectives
from unirep.parallel import mesh as mesh_lib

EIGHT = 8
METHODS = {
  "chunked": functools.partial(contrast.chunked, chunk=24),
  "ring": contrast.ring,
}


def rows(batch, width, dtype=np.float32, seed=0):
  rng = np.random.default_rng(seed)
  query, key = (rng.normal(size=(batch, width)) for _ in range(2))
  return {
    "query": query.astype(dtype),
    "key": (key + 0.3 * query).astype(dtype),
    "valid": rng.random(batch) < 0.8,
    "group": rng.integers(0, batch // 2, batch),
    "weight": rng.random(batch).astype(dtype),
  }


def measure(method, x, devices, masked):
  """Weighted mean loss, right rows, gradients to queries and keys."""
  mesh = mesh_lib.make(len(x["query"]), jax.devices()[:devices])
  axis = mesh_lib.AXIS

  def local(q, k, valid, group, weight):
    options = {"valid_B": valid, "group_B": group} if masked else {}
    loss_B, right_B = method(q, k, axis_name=axis, **options)
    return collectives.pmean((weight * loss_B).mean(), axis), right_B

  spread = PartitionSpec(axis)
  fn = jax.shard_map(
    local, mesh=mesh, in_specs=spread, out_specs=(PartitionSpec(), spread)
  )
  value = jax.jit(jax.value_and_grad(fn, (0, 1), has_aux=True))
  return value(*(x[n] for n in ("query", "key", "valid", "group", "weight")))


def loops(x, masked):
  """NumPy, one row at a time."""
  losses, right = [], []
  for i, (q, k) in enumerate(zip(x["query"], x["key"], strict=True)):
    scores = x["key"] @ q
    out = np.zeros(len(scores), bool)
    if masked:
      out = ~x["valid"] | (x["group"] == x["group"][i])
      out[i] = not x["valid"][i]
    scores = np.where(out, -np.inf, scores)
    right.append(scores.argmax() == i)
    losses.append(np.log(np.exp(scores).sum()) - k @ q)
  return np.array(losses), np.array(right)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("devices", [1, EIGHT])
def test_dense_matches_loops(devices, masked, x64):
  x = rows(32, 5, np.float64)
  (loss, right), _ = measure(contrast.dense, x, devices, masked)
  expected, expected_right = loops(x, masked)
  counted = x["valid"] if masked else slice(None)
  expected = (x["weight"] * expected)[counted].sum() / 32
  np.testing.assert_allclose(loss, expected, rtol=1e-12)
  np.testing.assert_array_equal(right[counted], expected_right[counted])
  assert 0 < np.mean(right) < 1


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("devices", [1, 2, EIGHT])
@pytest.mark.parametrize("name", METHODS)
def test_all_three_are_one(name, devices, masked, x64):
  x = rows(64, 6, np.float64)
  (loss, right), grads = measure(contrast.dense, x, 1, masked)
  (ours, ours_right), ours_grads = measure(METHODS[name], x, devices, masked)
  np.testing.assert_allclose(ours, loss, rtol=1e-12)
  np.testing.assert_array_equal(ours_right, right)
  for a, b in zip(ours_grads, grads, strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)
    assert np.abs(b).max() > 1e-3


@pytest.mark.parametrize(
  "batch", [512, pytest.param(4096, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", METHODS)
def test_large_batches_in_float32(name, batch):
  x = rows(batch, 64)
  x["query"] /= 3
  method = METHODS[name]
  if name == "chunked":
    method = functools.partial(contrast.chunked, chunk=1000)  # leaves a rest
  (loss, right), grads = measure(contrast.dense, x, EIGHT, True)
  (ours, ours_right), ours_grads = measure(method, x, EIGHT, True)
  np.testing.assert_allclose(ours, loss, rtol=1e-6)
  assert np.mean(np.asarray(ours_right) == right) > 0.999  # ties by rounding
  for a, b in zip(ours_grads, grads, strict=True):
    scale = np.abs(b).max()
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", ["dense", *METHODS])
def test_extreme_scores_stay_finite(name):
  method = METHODS.get(name, contrast.dense)
  x = rows(16, 4)
  x["query"] *= 1e4
  x["valid"][:8] = False  # whole blocks without a candidate
  (loss, _), grads = measure(method, x, EIGHT, True)
  assert np.isfinite(loss)
  assert all(np.isfinite(g).all() for g in grads)
  x["query"][:], x["key"][:] = 0, 0
  (loss, right), _ = measure(method, x, EIGHT, False)
  np.testing.assert_allclose(loss, np.log(16) * x["weight"].mean(), rtol=1e-6)
  np.testing.assert_array_equal(right, np.arange(16) == 0)  # lowest on a tie


def temporary_bytes(method, batch):
  """Of one of eight devices, for the loss and its gradient."""
  mesh = mesh_lib.make(batch, jax.devices()[:EIGHT])
  axis, spread = mesh_lib.AXIS, PartitionSpec(mesh_lib.AXIS)

  def local(q, k):
    return collectives.pmean(method(q, k, axis_name=axis)[0].mean(), axis)

  fn = jax.shard_map(
    local, mesh=mesh, in_specs=spread, out_specs=PartitionSpec()
  )
  x = jax.ShapeDtypeStruct((batch, 8), jnp.float32)
  compiled = jax.jit(jax.grad(fn, (0, 1))).lower(x, x).compile()
  return compiled.memory_analysis().temp_size_in_bytes


def test_memory_grows_as_claimed():
  """Logits of a device: B x G, B x chunk and B x B with B = G / 8."""
  small, large = 1024, 4096
  local = large // EIGHT
  need = {
    name: [temporary_bytes(method, b) for b in (small, large)]
    for name, method in {
      "dense": contrast.dense,
      "chunked": functools.partial(contrast.chunked, chunk=64),
      "ring": contrast.ring,
    }.items()
  }
  assert need["dense"][1] > 4 * local * large  # the logits, at least once
  assert 12 < need["dense"][1] / need["dense"][0] < 20  # 4 ** 2
  assert need["chunked"][1] / need["chunked"][0] < 6
  assert need["chunked"][1] < need["dense"][1] / 8
  assert need["ring"][1] < need["dense"][1] / 4
  assert need["ring"][1] < 6 * 4 * local * local


@pytest.mark.parametrize("devices", [1, EIGHT])
def test_rotated_rows_are_gathered_rows(devices):
  rng = np.random.default_rng(0)
  parts, batch = 2, 16
  x = rng.normal(size=(parts, batch, 3, 2)).astype(np.float32)
  index = rng.permutation(parts * batch)
  mesh = mesh_lib.make(batch, jax.devices()[:devices])
  axis = mesh_lib.AXIS

  def local(x, index, how):
    return how(x, index, axis)

  def run(how):
    fn = jax.shard_map(
      functools.partial(local, how=how),
      mesh=mesh,
      in_specs=(PartitionSpec(None, axis), PartitionSpec(axis)),
      out_specs=PartitionSpec(axis),
    )

    def loss(x):
      y = fn(x, index)
      return (y * jnp.arange(y.size).reshape(y.shape)).sum(), y

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(x)

  (_, rotated), grad = run(collectives.rotated_rows)
  (_, gathered), expected = run(collectives.gathered_rows)
  np.testing.assert_array_equal(rotated, gathered)
  np.testing.assert_array_equal(rotated, x.reshape(-1, 3, 2)[index])
  np.testing.assert_allclose(grad, expected, rtol=1e-6)
