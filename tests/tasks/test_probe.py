"""Probes: initial parameters, minibatches, and their independence."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unirep.tasks import classification
from unirep.tasks.probing import probe, suite
from unirep.tasks.probing.probe import Split

CODES, DIM, CLASSES, T = 8, 6, 4, 3
OPTIONS = {
  "task": classification.task(CLASSES),
  "optimizer": probe.optimizer(2e-2, max_norm=0.5),
  "steps": 12,
  "evaluations": 3,
  "batch_size": 8,
}


def code_matrix():
  return np.random.default_rng(0).normal(size=(CODES, DIM)).astype(np.float32)


def samples(count, seed, shift=0):
  """Class c has codes 2c and 2c + 1, shifted for each modality."""
  rng = np.random.default_rng(seed)
  label = rng.permutation(np.arange(count) % CLASSES)
  idx = 2 * label[:, None] + rng.integers(0, 2, (count, T))
  return Split(jnp.asarray((idx + shift) % CODES), jnp.asarray(label))


def stack(*splits):
  return jax.tree.map(lambda *x: jnp.stack(x), *splits)


def test_clip_head_matches_numpy():
  params = jax.tree.map(np.asarray, probe.init(jax.random.key(0), DIM, CLASSES))
  code, (idx, _) = code_matrix(), samples(5, 3)
  hidden, outputs = params["hidden"], params["outputs"]
  y = (code[idx] @ hidden["kernel"] + hidden["bias"]).max(1)
  expected = y @ outputs["kernel"] + outputs["bias"]
  np.testing.assert_allclose(probe.clip(params, code, idx), expected, atol=1e-5)
  steps = code[idx] @ hidden["kernel"] + hidden["bias"]
  np.testing.assert_allclose(
    probe.segment(params, code, idx),
    steps @ outputs["kernel"] + outputs["bias"],
    atol=1e-5,
  )


def test_draws_are_bounded_by_what_is_kept():
  keep = np.array([True, False, True, True, False, True])
  params = probe.init(
    jax.random.key(0), DIM, CLASSES, keep_D=keep, weighted=True
  )
  kernel = np.asarray(params["hidden"]["kernel"])
  assert not kernel[~keep].any()
  assert not kernel[:, ~keep].any()
  assert not np.asarray(params["outputs"]["kernel"])[~keep].any()
  assert (kernel[np.ix_(keep, keep)] != 0).all()
  assert 0.4 < np.abs(kernel).max() <= 0.5
  np.testing.assert_allclose(params["alpha"], 0.1)


def test_a_sweep_is_its_probes_one_by_one():
  train = stack(samples(40, 1), samples(40, 2, 2))
  tests = {"test": stack(samples(24, 3), samples(24, 4))}
  keep_MxD = jnp.asarray([[1, 1, 1, 1, 1, 1], [1, 0, 1, 0, 1, 0]], bool)
  key_R = jax.random.split(jax.random.key(7), 3)
  code = jnp.asarray(code_matrix())
  whole = probe.sweep(key_R, code, keep_MxD, train, tests, chunk=5, **OPTIONS)
  score = np.asarray(whole["test"]["accuracy"])
  assert score.shape == (2, 2, 3, 3)
  for m, s, r in ((0, 0, 0), (1, 0, 2), (0, 1, 1), (1, 1, 0)):
    own = jax.tree.map(lambda x, s=s: x[s], (train, tests))
    _, history = jax.jit(
      lambda key, keep, train, tests: probe.fit(
        key, code, keep, train, tests, **OPTIONS
      )
    )(key_R[r], keep_MxD[m], *own)
    np.testing.assert_allclose(
      score[m, s, r], history["test"]["accuracy"], atol=1e-6
    )
  assert len(np.unique(score)) > 3


def test_a_probe_learns_and_does_not_see_what_is_masked():
  train, test = samples(160, 1), samples(200, 2)
  code = jnp.asarray(code_matrix())
  options = OPTIONS | {"steps": 150}
  keep = jnp.asarray([1, 1, 1, 0, 0, 0], bool)
  fit = jax.jit(
    lambda code: probe.fit(
      jax.random.key(0), code, keep, train, {"test": test}, **options
    )
  )
  params, history = fit(code)
  assert history["test"]["accuracy"][-1] >= 0.9
  assert history["test"]["accuracy"].shape == (3,)
  other, _ = fit(code.at[:, 3:].add(100.0))
  for ours, theirs in zip(
    jax.tree.leaves(params), jax.tree.leaves(other), strict=True
  ):
    np.testing.assert_array_equal(ours, theirs)


def test_the_learning_rate_halves():
  def moves(halve_at):
    optimizer = probe.optimizer(1e-2, halve_at=halve_at)
    params = {"hidden": {"bias": jnp.zeros(())}}
    grads, state, found = {"hidden": {"bias": jnp.ones(())}}, None, []
    state = optimizer.init(params)
    for _ in range(4):
      updates, state = optimizer.update(grads, state, params)
      found.append(float(updates["hidden"]["bias"]))
    return np.array(found)

  np.testing.assert_allclose(moves((2,)) / moves(()), [1, 1, 0.5, 0.5], 1e-3)


def test_unit_variance_counts_the_codes_in_use():
  code, count = code_matrix(), np.array([1, 2, 0, 1])
  used = code[[0, 1, 1, 3]]
  expected = (code - used.mean(0)) / np.sqrt(used.var(0).mean())
  np.testing.assert_allclose(
    suite.unit_variance(code, count), expected, atol=1e-5
  )
  alone = suite.unit_variance(code, np.array([0, 4, 0, 0]))
  assert np.isfinite(alone).all()


@pytest.mark.parametrize("time", [3, 5])
def test_a_maximum_ignores_repetitions(time):
  params = probe.init(jax.random.key(1), DIM, CLASSES)
  code, (idx, _) = code_matrix(), samples(6, 4)
  longer = suite.repeat_to(np.asarray(idx), time)
  assert longer.shape == (6, time)
  np.testing.assert_array_equal(
    probe.clip(params, code, longer), probe.clip(params, code, idx)
  )


def test_padding_is_filled_with_the_last_code():
  idx = np.array([[3, 1, -1, -1], [2, 2, 0, 5], [4, -1, -1, -1]])
  filled = [[3, 1, 1, 1, 1], [2, 2, 0, 5, 5], [4, 4, 4, 4, 4]]
  np.testing.assert_array_equal(suite.repeat_to(idx, 5), filled)


@pytest.mark.parametrize("head", [probe.clip, probe.segment])
def test_many_samples_are_scored_some_at_a_time(head, monkeypatch):
  """Logits are the same, and memory grows less with the samples."""
  task = probe.Task(head, lambda *_: 0.0, lambda *_: {}, "none", 3)
  code_KxD = jax.random.normal(jax.random.key(0), (8, 32))
  params = probe.init(jax.random.key(1), 32, 3)
  idx_NxT = jax.random.randint(jax.random.key(2), (700, 5), 0, 8)
  whole = head(params, code_KxD, idx_NxT)
  monkeypatch.setattr(probe, "SCORED", 64)
  parts = probe.logits(task, params, code_KxD, idx_NxT)
  np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)

  def temporary(score):
    program = jax.jit(score).lower(params, code_KxD, idx_NxT).compile()
    return program.memory_analysis().temp_size_in_bytes

  if head is probe.clip:  # the other one only looks rows of a table up
    bounded = temporary(lambda *x: probe.logits(task, *x))
    assert bounded < temporary(lambda *x: head(*x)) / 4


@pytest.mark.parametrize(("norm", "scale"), [(10.0, 0.2), (1.0, 1.0)])
def test_gradients_are_clipped_by_their_norm(norm, scale):
  grads = {"a": jnp.array([0.6 * norm]), "b": jnp.array([[0.8 * norm]])}
  clip = probe._clip(2.0)
  clipped, _ = clip.update(grads, clip.init(grads))
  chex.assert_trees_all_close(
    clipped, jax.tree.map(lambda g: g * scale, grads), rtol=1e-5
  )
