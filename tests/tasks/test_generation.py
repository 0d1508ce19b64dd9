"""Flows, the judge, and scores of generated units."""

import jax
import numpy as np
import pytest

from unirep.runtime.errors import InputError
from unirep.tasks.generation import baseline, flow, judge, table

CODE_KxD = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def trained():
  """A step of code k is near k in its first value and -k in another."""
  rng = np.random.default_rng(1)
  idx_NxT = rng.integers(5, size=(200, 3))
  x = rng.normal(0, 0.1, (200, 3, 2, 1, 1)).astype(np.float32)
  x[:, :, 0, 0, 0] += idx_NxT
  x[:, :, 1, 0, 0] -= idx_NxT
  options = flow.Options(steps=400, width=32, blocks=1, reach=3)
  log = []
  made = flow.train(
    jax.random.key(0),
    x,
    idx_NxT,
    flow.conditions(CODE_KxD),
    options,
    lambda step, loss: log.append((step, loss)),
  )
  return made, log


def test_a_flow_makes_what_codes_say(trained):
  made, log = trained
  assert [step for step, _ in log] == [*range(50, 401, 50)]
  assert log[-1][1] < log[0][1] / 2
  idx_NxT = np.random.default_rng(2).integers(5, size=(40, 3))
  x = flow.sample(made, jax.random.key(1), idx_NxT)
  assert x.shape == (40, 3, 2, 1, 1)
  assert abs(x[..., 0, 0, 0] - idx_NxT).mean() < 0.3
  assert abs(x[..., 1, 0, 0] + idx_NxT).mean() < 0.3


def test_a_sample_does_not_know_the_others(trained):
  idx_NxT = np.random.default_rng(2).integers(5, size=(300, 3))
  key = jax.random.key(1)
  all_of = flow.sample(trained[0], key, idx_NxT, steps=4)
  few = flow.sample(trained[0], key, idx_NxT[:7], steps=4)
  np.testing.assert_allclose(all_of[:7], few, atol=1e-5)
  assert abs(all_of[256] - all_of[0]).max() > 1e-3  # nor do blocks repeat


def test_guidance_is_away_from_what_no_code_says(trained):
  idx_NxT, key = np.full((4, 3), 2), jax.random.key(1)
  one, nothing, more = (
    flow.sample(trained[0], key, idx, guidance=g, steps=1)
    for idx, g in ((idx_NxT, 1.0), (idx_NxT, 0.0), (idx_NxT, 3.0))
  )
  np.testing.assert_allclose(more - nothing, 3 * (one - nothing), atol=1e-4)
  none = flow.sample(trained[0], key, np.full((4, 3), -1), steps=1)
  np.testing.assert_allclose(none, nothing, atol=1e-5)


def test_conditions_are_scaled_and_keep_dimensions():
  keep_D = np.arange(8) % 2 == 0
  condition = flow.conditions(3 * CODE_KxD, keep_D)
  assert condition.shape == (6, 4)
  assert not condition[-1].any()
  np.testing.assert_allclose((condition[:-1] ** 2).mean(), 1, rtol=1e-5)
  assert np.isfinite(flow.conditions(np.zeros((2, 3)))).all()


@pytest.mark.parametrize(("shape", "several"), [((1, 1), 1), ((2, 1), 3)])
def test_things_are_moved_along_axes_that_they_have(shape, several):
  x_HxWxC = np.arange(np.prod(shape), dtype=np.float32).reshape(*shape, 1)
  keys = jax.random.split(jax.random.key(0), 64)
  moved = jax.vmap(judge._move, (None, 0))(x_HxWxC, keys)
  assert len(np.unique(moved.reshape(64, -1), axis=0)) == several


@pytest.mark.parametrize("across", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_the_judge_tells_real_things_apart(across):
  rng = np.random.default_rng(0)
  label_U = rng.integers(3, size=300)
  x = rng.normal(0, 0.05, (300, 9, across, 2))
  x[np.arange(300), 1 + 3 * label_U] += 0.2  # training moves by one
  x = x.astype(np.float32)
  made = judge.train(jax.random.key(0), x[:200], label_U[:200], steps=300)
  assert made.spread == pytest.approx((x[:200] - x[:200].mean(0)).std())
  class_U, feature_UxF = judge.classify(made, x[200:])
  assert (class_U == label_U[200:]).mean() > 0.95
  assert feature_UxF.shape == (100, made.network.width)


def test_frechet_distance_of_normal_sets():
  rng = np.random.default_rng(0)
  one = rng.standard_normal((500, 4)) @ rng.standard_normal((4, 4))
  other = rng.standard_normal((400, 4)) @ rng.standard_normal((4, 4)) + 1
  covariance = [np.cov(x, rowvar=False) for x in (one, other)]
  # The root of a product that is not symmetric, by its eigenvalues.
  root = np.sqrt(np.linalg.eigvals(covariance[0] @ covariance[1])).real.sum()
  apart = ((one.mean(0) - other.mean(0)) ** 2).sum()
  expected = apart + sum(np.trace(c) for c in covariance) - 2 * root
  assert judge.frechet(one, other) == pytest.approx(expected, rel=1e-9)
  assert judge.frechet(one, one) == pytest.approx(0, abs=1e-6)
  assert np.isnan(judge.frechet(one[:1], one))


def test_diversity_is_the_mean_distance_within_classes():
  rng = np.random.default_rng(0)
  x, label_U = rng.standard_normal((20, 3)), np.repeat([0, 1, 2], [12, 7, 1])
  means = []
  for c in (0, 1):
    part = x[label_U == c]
    pairs = [
      np.linalg.norm(a - b)
      for i, a in enumerate(part)
      for j, b in enumerate(part)
      if i != j
    ]
    means.append(np.mean(pairs))
  assert judge.diversity(x, label_U) == pytest.approx(np.mean(means))
  assert judge.diversity(x[:1], label_U[:1]) == 0


def test_what_is_found_counts_ties_by_expectation():
  made = np.array([[0.0], [0.0], [5.0], [9.0]])
  real = np.array([[0.0], [0.0], [5.0], [0.0]])
  number = np.arange(4)
  found = table.recall(made, number, real, number, (1, 2, 4))
  # The first two tie with two others; the third is right; the last is behind
  # the one at 5, and ties with two.
  assert found["r@1"] == pytest.approx((1 / 3 + 1 / 3 + 1 + 0) / 4)
  assert found["r@2"] == pytest.approx((2 / 3 + 2 / 3 + 1 + 1 / 3) / 4)
  assert found["r@4"] == 1
  label = np.array([0, 0, 1, 0])
  by_class = table.recall(made, label, real, label, (1,))
  assert by_class["r@1"] == pytest.approx((1 + 1 + 1 + 0) / 4)
  # Three of them have no hit in the gallery, and are left out.
  some = table.recall(made, number, real[:1], number[:1], (1,))
  assert some["r@1"] == 1


def test_the_gallery_has_each_unit_once():
  x = np.array([1, 2, 1, 1, 2], np.float32).reshape(5, 1, 1, 1)
  label = np.array([0, 0, 0, 1, 0])
  found = table.distinct(table.Units(x, label, label, False), 0)
  assert found.x_UxHxWxC.reshape(-1).tolist() == [1, 2, 1]
  assert found.label_U.tolist() == [0, 0, 1]
  each = table.distinct(table.Units(x, label, np.arange(5), True), 0)
  assert each.key_U.tolist() == [*range(5)]


def test_units_are_steps_with_an_event_or_whole_samples():
  x = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 2, 2, 1)
  label_NxT = np.array([[0, 2, 1], [2, -1, 0]])
  steps = table.units(x, label_NxT, 2)
  assert steps.label_U.tolist() == steps.key_U.tolist() == [0, 1, 0]
  np.testing.assert_array_equal(steps.x_UxHxWxC, x[[0, 0, 1], [0, 2, 2]])
  whole = table.units(x, np.array([1, 0]), 2)
  assert whole.x_UxHxWxC.shape == (2, 6, 2, 1)
  assert whole.key_U.tolist() == [0, 1]
  with pytest.raises(InputError, match="no sample has a label"):
    table.units(x, np.array([-1, 2]), 2)


def test_every_score_of_every_generator_is_a_row():
  rng = np.random.default_rng(0)
  label_U = np.arange(40) % 2
  x = rng.standard_normal((40, 4, 4, 1)).astype(np.float32)
  x[label_U == 1] += 3
  real = table.Units(x, label_U, label_U, False)
  judged = judge.train(jax.random.key(0), x, label_U, steps=60)
  wrong = real._replace(x_UxHxWxC=x[::-1])
  made = {("flow", "b"): real, ("flow", "a"): wrong, ("real", "b"): real}
  rows = [*table.rows("b", made, real, wrong, judged, at=(1,), seed=0)]
  assert len(rows) == 3 * 4
  cell = {(r.representation, r.source, r.metric): r for r in rows}
  assert cell["flow", "b", "accuracy"].value == 1
  assert cell["flow", "a", "accuracy"].value == 0
  assert cell["flow", "a", "accuracy"].ceiling == 1
  assert cell["flow", "a", "accuracy"].chance == 0.5
  assert cell["flow", "a", "r@1"].gallery == 40
  assert cell["flow", "a", "accuracy"].gallery is None
  assert cell["real", "b", "diversity"].value == pytest.approx(1)
  assert cell["real", "b", "frechet"].value == pytest.approx(0, abs=1e-4)


def test_the_baseline_is_a_ridge_regression_from_features():
  rng = np.random.default_rng(0)
  like = rng.standard_normal((30, 3, 5)).astype(np.float32)
  weight = rng.standard_normal((5, 4))
  x = (like @ weight + 2).reshape(30, 3, 2, 2, 1)
  decoder = baseline.fit(lambda idx: like[: len(idx)], like, x)
  made = decoder(np.zeros((10, 3), int))
  np.testing.assert_allclose(made, x[:10], atol=0.02)
  none = decoder(np.full((10, 3), -1))
  np.testing.assert_allclose(
    none, np.broadcast_to(x.mean((0, 1)), x[:10].shape), atol=1e-5
  )
