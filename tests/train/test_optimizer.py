from typing import Any

import jax
import numpy as np
import optax
import pytest

from unirep.train import optimizer


def tree(scale):
  rng = np.random.default_rng(0)

  def draw(*shape):
    return rng.normal(size=shape).astype(np.float32)

  return {
    "encoder": {"w": scale * draw(3, 4), "b": scale * draw(4)},
    "decoder": {"w": 1e-3 * draw(4, 2)},
    "cpc": {"a": {"w": np.zeros((2, 2), np.float32)}},
  }


def norm(*leaves):
  return np.sqrt(sum((np.asarray(x, float) ** 2).sum() for x in leaves))


def test_modules_are_clipped_on_their_own():
  grads = tree(10.0)
  clip = optimizer.clip_by_module_norm(0.5)
  clipped, _ = clip.update(grads, clip.init(grads))
  size = norm(grads["encoder"]["w"], grads["encoder"]["b"])
  assert size > 5
  for name in ("w", "b"):
    np.testing.assert_allclose(
      clipped["encoder"][name],
      grads["encoder"][name] * 0.5 / (size + 1e-6),
      rtol=1e-6,
    )
  # Small modules keep their size next to a large one; zeros stay zeros.
  np.testing.assert_array_equal(clipped["decoder"]["w"], grads["decoder"]["w"])
  assert not clipped["cpc"]["a"]["w"].any()


def test_the_tiny_term_beside_the_norm_is_there():
  """PyTorch's scale at the limit is 0.5 / (0.5 + 1e-6), not 1."""
  grads = {"a": {"w": np.array([0.5], np.float64)}}
  with jax.enable_x64(True):
    clip = optimizer.clip_by_module_norm(0.5)
    clipped, _ = clip.update(grads, clip.init(grads))
    np.testing.assert_allclose(clipped["a"]["w"], 0.25 / 0.500001, rtol=1e-12)


def first_step(per_module):
  """The gradients that Adam sees: its mean after one step is a tenth."""
  grads = tree(10.0)
  rate = optimizer.schedule(1e-3, warmup=0, decay="constant")
  chain: Any = optimizer.adam(rate, clip=0.5, per_module=per_module)
  _, (_, state) = chain.update(grads, chain.init(grads), grads, steps=1)
  return grads, jax.tree.map(lambda m: 10 * m, state[0].mu)


def test_adam_clips_all_together_or_each_alone():
  grads, seen = first_step(per_module=False)
  size = norm(*jax.tree.leaves(grads))
  np.testing.assert_allclose(norm(*jax.tree.leaves(seen)), 0.5, rtol=1e-5)
  for ours, theirs in zip(
    jax.tree.leaves(seen), jax.tree.leaves(grads), strict=True
  ):
    np.testing.assert_allclose(ours, theirs * 0.5 / size, rtol=1e-4)
  grads, seen = first_step(per_module=True)
  np.testing.assert_allclose(seen["decoder"]["w"], grads["decoder"]["w"], 1e-4)


def test_adam_matches_numpy():
  rng = np.random.default_rng(1)
  steps = rng.normal(size=(6, 5)) * 0.01
  rate, eps = 3e-2, 1e-3
  with jax.enable_x64(True):
    flat = optimizer.schedule(rate, warmup=0, decay="constant")
    chain: Any = optimizer.adam(flat, clip=1e9, per_module=True, epsilon=eps)
    x = {"a": np.zeros(5)}
    state = chain.init(x)
    mean, square, expected = np.zeros(5), np.zeros(5), np.zeros(5)
    for t, g in enumerate(steps, 1):
      updates, state = chain.update({"a": g}, state, x, steps=6)
      x = optax.apply_updates(x, updates)
      mean = 0.9 * mean + 0.1 * g
      square = 0.999 * square + 0.001 * g**2
      expected -= (
        rate * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + eps)
      )
      np.testing.assert_allclose(x["a"], expected, rtol=1e-10)


@pytest.mark.parametrize("decay", ["constant", "cosine"])
def test_warm_up_is_linear_and_reaches_the_rate(decay):
  rate = optimizer.schedule(0.8, warmup=3, decay=decay)
  ours = [float(rate(i, 100)) for i in range(4)]
  np.testing.assert_allclose(ours, [0.2, 0.4, 0.6, 0.8], rtol=1e-6)


def test_cosine_ends_at_a_tenth_and_constant_stays():
  rate = optimizer.schedule(0.8, warmup=20, decay="cosine")
  np.testing.assert_allclose(rate(60, 100), 0.8 * (0.9 * 0.5 + 0.1), rtol=1e-6)
  late = [rate(100, 100), rate(5000, 100)]
  np.testing.assert_allclose(late, 0.08, rtol=1e-5)
  flat = optimizer.schedule(0.8, warmup=20, decay="constant")
  late = [flat(i, 100) for i in (20, 99, 5000)]
  np.testing.assert_allclose(late, 0.8, rtol=1e-6)


def test_without_warm_up_the_first_step_has_the_full_rate():
  rate = optimizer.schedule(4e-4, warmup=0, decay="constant")
  np.testing.assert_allclose([rate(0, 10), rate(9, 10)], 4e-4, rtol=1e-6)


def test_a_warm_up_longer_than_the_run_is_finite():
  rate = optimizer.schedule(0.8, warmup=20, decay="cosine")
  values = np.array([float(rate(i, 2)) for i in range(3)])
  np.testing.assert_allclose(values, 0.8 * np.array([1, 2, 3]) / 21, rtol=1e-5)


def test_the_schedule_is_that_of_optax():
  """... for every length of a run, by one program."""
  rate = jax.jit(optimizer.schedule(0.8, warmup=3, decay="cosine"))
  for steps in (10, 50):
    ramp = optax.linear_schedule(0.2, 0.8, 3)
    then = optax.cosine_decay_schedule(0.8, steps - 3, alpha=0.1)
    theirs = optax.join_schedules([ramp, then], [3])
    for i in range(steps + 2):
      np.testing.assert_allclose(rate(i, steps), theirs(i), rtol=1e-6)
  assert rate._cache_size() == 1
