"""The released averages, ages and restarts, quirk by quirk, against loops."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unirep.quantizer import codebook as cb
from unirep.quantizer import mm_ema

NAMES = ("video", "audio", "text")  # not in alphabetical order, which JAX loves


def make(size=6, dim=4, names=NAMES, seed=0, **options):
  return cb.init(jax.random.key(seed), size, dim, names, **options)


def rows(names=NAMES, batch=5, dim=4, seed=0, dtype=np.float64):
  rng = np.random.default_rng(seed)
  return {m: rng.normal(size=(batch, dim)).astype(dtype) for m in names}


def picks(names=NAMES, batch=5, size=6, seed=0):
  rng = np.random.default_rng(seed)
  return {m: rng.integers(0, size, batch).astype(np.int32) for m in names}


def same(a, b):
  chex.assert_trees_all_equal(a, b)


# Averages.


def loop(book, x, idx, names, decay, own, epsilon):
  """One round a modality, in order; counts are smoothed and stored."""
  code, count, total = (np.array(part, float) for part in book[:3])
  size = len(count)
  for m in names:
    others = [n for n in names if n != m]
    hit, pull = np.zeros_like(count), np.zeros_like(total)
    for b, k in enumerate(idx[m]):
      hit[k] += 1
      pull[k] += (own if others else 1) * x[m][b]
      for n in others:
        pull[k] += (1 - own) / len(others) * x[n][b]
    count = decay * count + (1 - decay) * hit
    total = decay * total + (1 - decay) * pull
    mass = count.sum()
    count = (count + epsilon) / (mass + size * epsilon) * mass
    code = total / count[:, None]
  return code, count, total


@pytest.mark.parametrize("members", [1, 2, 3, 5])
def test_ema_update_matches_loops(members, x64):
  names = tuple("edcba"[:members])
  book = make(names=names, count=1.5)
  for step in range(3):
    x, idx = rows(names, seed=step), picks(names, seed=step)
    options = {"decay": 0.9, "own_weight": 0.7, "epsilon": 1e-3}
    expected = loop(book, x, idx, names, 0.9, 0.7, 1e-3)
    after = mm_ema.ema_update(book, x, idx, names, **options)
    for ours, theirs in zip(after[:3], expected, strict=True):
      np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)
    same(after.age, book.age)
    same(after.tenure_K, book.tenure_K)
    book = after


def test_defaults_are_as_released(x64):
  book, x, idx = make(count=1.0), rows(), picks()
  expected = loop(book, x, idx, NAMES, 0.99, 0.5, 1e-5)
  after = mm_ema.ema_update(book, x, idx, NAMES)
  np.testing.assert_allclose(after.code_KxD, expected[0], rtol=1e-12)


def test_order_matters(x64):
  book, x, idx = make(count=1.0), rows(), picks()
  codes = [
    np.asarray(mm_ema.ema_update(book, x, idx, order).code_KxD)
    for order in itertools.permutations(NAMES)
  ]
  assert min(np.abs(c - codes[0]).max() for c in codes[1:]) > 1e-6


def test_codes_move_without_gradient_of_assignment():
  """A code pulled by one row for ever becomes the mixture of its rows."""
  names = ("a", "b")
  book = make(4, 3, names, count=1.0)
  x = {"a": np.full((1, 3), 1.0, np.float32), "b": np.full((1, 3), 3.0)}
  idx = {"a": np.array([2]), "b": np.array([2])}
  update = jax.jit(
    lambda book: mm_ema.ema_update(
      book, x, idx, names, decay=0.5, own_weight=0.5, epsilon=0.0
    )
  )
  for _ in range(60):
    book = update(book)
  np.testing.assert_allclose(book.code_KxD[2], 2.0, rtol=1e-6)
  np.testing.assert_allclose(book.count_K[2], 1.0, rtol=1e-6)


def unused(count, steps=2000):
  """A codebook whose first code takes all rows, and norms along the way."""
  book = make(3, 4, ("a",), count=count)
  x = {"a": np.ones((8, 4), np.float32)}
  idx = {"a": np.zeros(8, np.int32)}

  def one(book, _):
    book = mm_ema.ema_update(book, x, idx, ("a",))
    return book, jnp.linalg.norm(book.code_KxD, axis=1)

  run = jax.jit(lambda book: jax.lax.scan(one, book, length=steps))
  after, norm = run(book)
  return book, after, np.asarray(norm)


def test_unused_codes_explode_and_vanish():
  before, _, norm = unused(count=0.0)
  start = np.linalg.norm(before.code_KxD[1:], axis=1)
  assert (norm[0, 1:] > 1e4 * start).all()
  assert (norm[-1, 1:] < 1e-3 * start).all()


def test_a_vanished_code_stays_at_the_origin_and_can_be_chosen():
  """Nothing sleeps in the released code, see `codebook.awake`."""
  _, after, _ = unused(count=0.0, steps=10_000)
  assert np.abs(after.sum_KxD[1:]).max() == 0
  assert cb.awake(after.code_KxD).all()
  x = np.array([[0.01, 0, 0, 0.02], [1, 1, 1, 1], [0, 0, 0, 0]], np.float32)
  distance = cb.distances(after.code_KxD, x)
  norms = (x**2).sum(-1)  # as from a code of zeros, to the last bit
  np.testing.assert_array_equal(distance[:, 1:], np.stack([norms, norms], 1))
  np.testing.assert_array_equal(cb.assign(after.code_KxD, x), [1, 0, 1])


# Ages.


def test_grow_older():
  book = make(4, 2, ("a", "b"), age=-1.0)
  for _ in range(2):
    book = mm_ema.grow_older(
      book, {"a": jnp.array([0, 0, 1]), "b": jnp.array([1, 2, 2])}
    )
    if book.age["a"].max() == 0:  # all were -1
      same(book.age, {"a": np.zeros(4), "b": np.zeros(4)})
  np.testing.assert_array_equal(book.age["a"], [0, 0, 1, 1])
  np.testing.assert_array_equal(book.age["b"], [1, 0, 0, 1])
  np.testing.assert_array_equal(cb.idle(book), [0, 0, 0, 1])
  assert book.age["a"].dtype == book.code_KxD.dtype
  later = mm_ema.grow_older(
    book._replace(tenure_K=jnp.arange(4.0)), picks(("a", "b"), size=4)
  )
  np.testing.assert_array_equal(later.tenure_K, [1, 2, 3, 4])


# Restarts.


def aged(ages, size=4, dim=3, **options):
  """A codebook whose modalities have these ages."""
  book = make(size, dim, tuple(ages), count=1.0, **options)
  return book._replace(age={m: jnp.array(a, float) for m, a in ages.items()})


def draw(*uniform):
  return jnp.array(uniform, float)


def test_dead_codes_become_shifted_copies_of_active_ones():
  book = aged({"a": [12, 3, 11, 0, 20, 4]}, size=6)
  book = book._replace(tenure_K=jnp.full(6, 50.0))
  # Active are 1, 3 and 5: a third of the draws each.
  after = mm_ema.restart_from_codes(
    book, draw(0.99, 0, 0.32, 0, 0.34, 0), limit=10.0, active=5.0, offset=0.25
  )
  parents = np.array([5, 1, 1, 3, 3, 5])
  dead = np.array([True, False, True, False, True, False])
  np.testing.assert_array_equal(
    after.code_KxD[dead], book.code_KxD[parents[dead]] + 0.25
  )
  np.testing.assert_array_equal(after.code_KxD[~dead], book.code_KxD[~dead])
  np.testing.assert_array_equal(after.count_K, book.count_K)
  np.testing.assert_array_equal(after.sum_KxD, book.sum_KxD)
  np.testing.assert_array_equal(after.age["a"], [0, 3, 0, 0, 0, 4])
  np.testing.assert_array_equal(after.tenure_K, np.where(dead, 0, 50))


def test_a_code_lives_while_any_modality_chooses_it():
  ages = {"a": [9, 9, 0, 0], "b": [9, 0, 9, 0]}
  book = aged(ages)
  after = mm_ema.restart_from_codes(book, draw(0, 0, 0, 0), limit=5.0)
  moved = (np.asarray(after.code_KxD) != book.code_KxD).any(1)
  np.testing.assert_array_equal(moved, [True, False, False, False])
  for m, age in ages.items():
    np.testing.assert_array_equal(after.age[m], [0, *age[1:]])


def test_nothing_restarts_at_the_limit_or_without_an_active_code():
  book = aged({"a": [300.0, 0, 1, 2], "b": [300.0] * 4})
  same(mm_ema.restart_from_codes(book, draw(0, 0, 0, 0)), book)
  book = aged({"a": [301.0, 301, 100, 200]})  # 100 is no longer active
  after = mm_ema.restart_from_codes(book, draw(0, 0, 0, 0))
  same(after._replace(age=book.age), book)
  np.testing.assert_array_equal(after.age["a"], [0, 0, 100, 200])


def test_the_restart_is_undone_by_the_next_update():
  book = aged({"a": [301, 0, 0, 0]})
  x = rows(("a",), batch=3, dim=3, dtype=np.float32)
  after = mm_ema.restart_from_codes(book, draw(0, 0, 0, 0))
  assert np.abs(after.code_KxD[0] - book.code_KxD[0]).max() > 1e-4
  np.testing.assert_array_equal(after.sum_KxD, book.sum_KxD)
  nobody = {"a": np.ones(3, np.int32)}
  later = mm_ema.ema_update(after, x, nobody, ("a",))
  np.testing.assert_allclose(later.code_KxD[0], book.code_KxD[0], rtol=1e-5)


# All of it.


def test_update_averages_ages_and_restarts_by_clips_in_order(x64):
  book = aged({m: [9, 0, 9, 0, 0, 9] for m in NAMES}, size=6, dim=4)
  x, idx = rows(), {m: np.array([0, 1, 3, 3, 4]) for m in NAMES}
  distance = {m: cb.distances(book.code_KxD, v) for m, v in x.items()}
  clips = cb.Assignment(
    x, distance, idx, np.ones(5), dict.fromkeys(NAMES, np.ones(5, bool))
  )
  steps = clips._replace(x=rows(batch=7, seed=5), idx=picks(batch=7))
  key = jax.random.key(3)
  ema = {"decay": 0.9, "own_weight": 0.6, "epsilon": 1e-4}
  restart = {"limit": 9.0, "active": 5.0, "offset": -0.5}
  run = jax.jit(  # where mappings come out sorted
    lambda assignments, order: mm_ema.update(
      book, assignments, key, 0.0, modalities=order, ema=ema, restart=restart
    ),
    static_argnums=1,
  )
  after = run([clips, steps], NAMES)
  code, count, total = loop(book, x, idx, NAMES, 0.9, 0.6, 1e-4)
  # Ages are 0 at 0, 1, 3, 4 and 10 at 2 and 5, which copy two of those.
  parents = np.array([0, 1, 3, 4])[
    (4 * np.asarray(jax.random.uniform(key, (6,)))).astype(int)
  ]
  assert parents[2] != parents[5]
  code[[2, 5]] = code[parents[[2, 5]]] - 0.5
  np.testing.assert_allclose(after.code_KxD, code, rtol=1e-12)
  np.testing.assert_allclose(after.count_K, count, rtol=1e-12)
  np.testing.assert_allclose(after.sum_KxD, total, rtol=1e-12)
  assert not any(age.any() for age in after.age.values())
  same(run([clips], NAMES), after)
  other = run([clips], NAMES[::-1])
  assert np.abs(other.code_KxD - after.code_KxD).max() > 1e-6
