import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unirep import codebook as cb

NAMES = ("audio", "image", "text")

# Compiled as one, which is much faster than operation by operation.
restart_compiled = jax.jit(
  cb.restart_from_rows,
  static_argnums=3,
  static_argnames=("limit", "rule", "count", "own_weight", "jitter"),
)
# Plain rows are easier to recognize than mixtures of them.
restart_from_rows = functools.partial(
  restart_compiled, limit=100.0, own_weight=1.0
)
draw_restart = jax.jit(cb.draw_restart, static_argnums=(1, 2, 3))


def make(size=6, dim=4, names=NAMES, seed=0, **options):
  return cb.init(jax.random.key(seed), size, dim, names, **options)


def rows(names=NAMES, batch=5, dim=4, seed=0, dtype=np.float64):
  rng = np.random.default_rng(seed)
  return {m: rng.normal(size=(batch, dim)).astype(dtype) for m in names}


def picks(names=NAMES, batch=5, size=6, seed=0):
  rng = np.random.default_rng(seed)
  return {m: rng.integers(0, size, batch).astype(np.int32) for m in names}


def same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


# Start.


def test_init_is_bounded_and_consistent():
  book = make(400, 32, bound=0.01, count=2.0, age=7.0)
  codes = np.asarray(book.code_KxD)
  assert 0.0098 < codes.max() <= 0.01
  assert -0.01 <= codes.min() < -0.0098
  assert abs(codes.mean()) < 0.0005
  np.testing.assert_allclose(book.sum_KxD, 2 * codes)
  np.testing.assert_array_equal(book.count_K, 2)
  assert list(book.age) == list(NAMES)
  assert all((age == 7).all() for age in book.age.values())
  released = make(count=0.0)  # sums equal codes although counts are zero
  np.testing.assert_array_equal(released.sum_KxD, released.code_KxD)


# Assignment.


def test_distances_match_loops(x64):
  code, x = rows(("c", "x"), batch=7).values()
  expected = [[((c - r) ** 2).sum() for c in code] for r in x]
  np.testing.assert_allclose(cb.distances(code, x), expected, rtol=1e-12)


def test_distances_of_far_rows_in_float32():
  """|c|^2 + |x|^2 - 2cx cancels; the error is eps times the squared norms."""
  rng = np.random.default_rng(0)
  exact_code = rng.normal(size=(50, 16)) + 100
  code = exact_code.astype(np.float32)
  x = np.concatenate([code[:20], code[20:40] + np.float32(1e-3)])
  distance = np.asarray(cb.distances(code, x))
  wide = ((x[:, None].astype(float) - code.astype(float)) ** 2).sum(-1)
  norms = (x.astype(float) ** 2).sum(-1)[:, None] + (code**2).sum(-1)
  assert distance.min() == 0  # rounding would have made some negative
  assert np.abs(distance - wide).max() < 8 * np.finfo(np.float32).eps * (
    norms.max()
  )


def test_distance_is_zero_at_a_code_and_dtype_is_the_codes():
  code = np.eye(3, dtype=np.float32)
  x = jnp.eye(3, dtype=jnp.bfloat16)
  distance = cb.distances(code, x)
  assert distance.dtype == jnp.float32
  np.testing.assert_array_equal(distance, 2 - 2 * np.eye(3))


def test_assign_takes_the_lowest_of_ties():
  code = np.array([[9.0, 9], [1, 0], [0, 1], [1, 0], [-1, 0]], np.float32)
  x = np.array([[1.0, 0], [0, 0], [0, 1], [0.5, 0.5]], np.float32)
  idx = cb.assign(code, x)
  assert idx.dtype == jnp.int32
  np.testing.assert_array_equal(idx, [1, 1, 2, 1])


def test_straight_through_is_the_code_ahead_and_identity_behind():
  x, q, w = rows(("x", "q", "w"), dtype=np.float32).values()
  np.testing.assert_allclose(cb.straight_through(x, q), q, rtol=1e-6)
  to_x, to_q = jax.grad(
    lambda x, q: (w * cb.straight_through(x, q) ** 2).sum(), (0, 1)
  )(x, q)
  np.testing.assert_allclose(to_x, 2 * w * q, rtol=1e-5)
  assert not to_q.any()


def test_usage_counts_any_shape():
  idx = jnp.array([[0, 3, 3], [3, 1, 0]])
  np.testing.assert_array_equal(cb.usage(idx, 5), [2, 1, 0, 3, 0])


# Averages.


def joint_loop(book, x, idx, names, decay, own, epsilon):
  count = np.array(book.count_K, float)
  total = np.array(book.sum_KxD, float)
  code = np.array(book.code_KxD, float)
  hit, pull = np.zeros_like(count), np.zeros_like(total)
  for m in names:
    others = [n for n in names if n != m]
    for b, k in enumerate(idx[m]):
      hit[k] += 1
      if not others:
        pull[k] += x[m][b]
        continue
      pull[k] += own * x[m][b]
      for n in others:
        pull[k] += (1 - own) / len(others) * x[n][b]
  count = decay * count + (1 - decay) * hit
  total = decay * total + (1 - decay) * pull
  for k in range(len(count)):
    if count[k] > epsilon:
      code[k] = total[k] / count[k]
  return code, count, total


@pytest.mark.parametrize("members", [1, 2, 3, 5])
def test_joint_update_matches_loops(members, x64):
  names = tuple("abcde"[:members])
  book = make(names=names, count=1.5)
  for step in range(3):
    x, idx = rows(names, seed=step), picks(names, seed=step)
    options = {"decay": 0.9, "own_weight": 0.7, "epsilon": 1e-5}
    expected = joint_loop(book, x, idx, names, 0.9, 0.7, 1e-5)
    after = cb.ema_update(book, x, idx, names, **options)
    for ours, theirs in zip(after[:3], expected, strict=True):
      np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)
    same(after.age, book.age)
    book = after


def test_defaults_are_the_joint_update(x64):
  book, x, idx = make(count=1.0), rows(), picks()
  expected = joint_loop(book, x, idx, NAMES, 0.99, 0.5, 1e-5)
  after = cb.ema_update(book, x, idx, NAMES)
  np.testing.assert_allclose(after.code_KxD, expected[0], rtol=1e-12)


def test_order_matters_only_as_released(x64):
  book, x, idx = make(count=1.0), rows(), picks()

  def spread(joint):
    codes = [
      np.asarray(cb.ema_update(book, x, idx, order, joint=joint).code_KxD)
      for order in itertools.permutations(NAMES)
    ]
    return max(np.abs(c - codes[0]).max() for c in codes)

  assert spread(joint=True) < 1e-14
  assert spread(joint=False) > 1e-5


def test_codes_move_without_gradient_of_assignment():
  """A code pulled by one row for ever becomes the mixture of its rows."""
  names = ("a", "b")
  book = make(4, 3, names, count=1.0)
  x = {"a": np.full((1, 3), 1.0, np.float32), "b": np.full((1, 3), 3.0)}
  idx = {"a": np.array([2]), "b": np.array([2])}
  update = jax.jit(
    lambda book: cb.ema_update(book, x, idx, names, decay=0.5, own_weight=0.75)
  )
  for _ in range(60):
    book = update(book)
  np.testing.assert_allclose(book.code_KxD[2], 2.0, rtol=1e-6)
  np.testing.assert_allclose(book.count_K[2], 2.0, rtol=1e-6)


def unused(count, joint, steps=2000):
  book = make(3, 4, ("a",), count=count)
  x = {"a": np.ones((8, 4), np.float32)}
  idx = {"a": np.zeros(8, np.int32)}

  def one(book, _):
    book = cb.ema_update(book, x, idx, ("a",), joint=joint)
    return book, jnp.linalg.norm(book.code_KxD, axis=1)

  after, norm = jax.jit(lambda book: jax.lax.scan(one, book, length=steps))(
    book
  )
  return book, after, np.asarray(norm)


def test_unused_codes_neither_explode_nor_vanish():
  before, after, norm = unused(count=1.0, joint=True)
  assert after.code_KxD.dtype == jnp.float32
  np.testing.assert_allclose(after.code_KxD[1:], before.code_KxD[1:], rtol=1e-4)
  start = np.linalg.norm(before.code_KxD[1:], axis=1)
  assert np.abs(norm[:, 1:] / start - 1).max() < 1e-4
  np.testing.assert_allclose(after.code_KxD[0], 1, rtol=1e-5)
  # The count fell through epsilon: the code then stays where it is.
  assert after.count_K[1] < 1e-5 < before.count_K[1]


def test_unused_codes_explode_and_vanish_as_released():
  before, _, norm = unused(count=0.0, joint=False)
  start = np.linalg.norm(before.code_KxD[1:], axis=1)
  assert (norm[0, 1:] > 1e4 * start).all()
  assert (norm[-1, 1:] < 1e-3 * start).all()


def test_a_code_that_revives_below_epsilon_takes_its_rows():
  book = make(2, 2, ("a",), count=1.0)._replace(
    count_K=jnp.array([1e-7, 1.0]), sum_KxD=jnp.zeros((2, 2))
  )
  x = {"a": np.full((1, 2), 5.0, np.float32)}
  after = cb.ema_update(book, x, {"a": np.array([0])}, ("a",))
  np.testing.assert_allclose(after.code_KxD[0], 5.0, rtol=1e-4)


# Ages.


def test_grow_older():
  book = make(4, 2, ("a", "b"), age=-1.0)
  book = cb.grow_older(
    book, {"a": jnp.array([0, 0, 1]), "b": jnp.array([1, 2, 2])}
  )
  np.testing.assert_array_equal(book.age["a"], [0, 0, 0, 0])
  book = cb.grow_older(
    book, {"a": jnp.array([0, 0, 1]), "b": jnp.array([1, 2, 2])}
  )
  np.testing.assert_array_equal(book.age["a"], [0, 0, 1, 1])
  np.testing.assert_array_equal(book.age["b"], [1, 0, 0, 1])
  np.testing.assert_array_equal(cb.idle(book, "any"), [0, 0, 0, 1])
  np.testing.assert_array_equal(cb.idle(book, "each"), [1, 0, 1, 1])
  assert book.age["a"].dtype == book.code_KxD.dtype


# Restarts.


def aged(ages, size=4, dim=3, **options):
  """A codebook whose modalities have these ages."""
  book = make(size, dim, tuple(ages), count=1.0, **options)
  return book._replace(age={m: jnp.array(a, float) for m, a in ages.items()})


def draw(size, dim, total, seed=5):
  return draw_restart(jax.random.key(seed), size, dim, total)


def test_restart_writes_code_count_and_sum_and_stays():
  names = ("a", "b")
  book = aged({"a": [101, 0, 500, 100], "b": [101, 500, 101, 100]})
  x = rows(names, batch=3, dim=3, dtype=np.float32)
  after = restart_from_rows(
    book, x, draw(4, 3, 6), names, rule="any", count=2.0
  )
  fresh, kept = np.array([0, 2]), np.array([1, 3])
  np.testing.assert_array_equal(after.count_K[fresh], 2.0)
  np.testing.assert_allclose(
    after.sum_KxD[fresh], 2 * after.code_KxD[fresh], rtol=1e-6
  )
  for old, new in zip(book[:3], after[:3], strict=True):
    np.testing.assert_array_equal(new[kept], old[kept])
  np.testing.assert_array_equal(after.age["a"], [0, 0, 0, 100])
  np.testing.assert_array_equal(after.age["b"], [0, 500, 0, 100])
  nobody = {m: np.ones(3, np.int32) for m in names}
  later = cb.ema_update(after, x, nobody, names)
  np.testing.assert_allclose(
    later.code_KxD[fresh], after.code_KxD[fresh], rtol=1e-5
  )


def test_the_released_restart_is_undone_by_the_next_update():
  book = aged({"a": [301, 0, 0, 0]})
  x = rows(("a",), batch=3, dim=3, dtype=np.float32)
  after = cb.restart_from_codes(book, x, draw(4, 3, 3), ("a",))
  assert np.abs(after.code_KxD[0] - book.code_KxD[0]).max() > 1e-4
  np.testing.assert_array_equal(after.sum_KxD, book.sum_KxD)
  nobody = {"a": np.ones(3, np.int32)}
  later = cb.ema_update(after, x, nobody, ("a",))
  np.testing.assert_allclose(later.code_KxD[0], book.code_KxD[0], rtol=1e-5)


def test_restarted_codes_are_distinct_rows():
  names = ("a", "b")
  book = aged({"a": [200] * 8, "b": [200] * 8}, size=8)
  x = rows(names, batch=5, dim=3, dtype=np.float32)
  restart = draw(8, 3, 10)
  after = restart_from_rows(book, x, restart, names, jitter=0.0)
  everything = np.concatenate([x["a"], x["b"]])
  distance = ((after.code_KxD[:, None] - everything) ** 2).sum(-1)
  chosen = distance.argmin(1)
  assert distance.min(1).max() < 1e-12
  assert len(set(chosen.tolist())) == 8
  np.testing.assert_array_equal(chosen, restart.rank_R[:8])
  assert set((chosen // 5).tolist()) == {0, 1}  # rows of both modalities


def test_more_dead_codes_than_rows_reuse_them_with_jitter():
  book = aged({"a": [200] * 5}, size=5)
  x = {"a": np.array([[1.0, 2, 3], [-4, 5, 6]], np.float32)}
  restart = draw(5, 3, 2)
  after = restart_from_rows(book, x, restart, ("a",), jitter=0.5)
  scale = np.sqrt((x["a"] ** 2).mean())
  order = np.asarray(restart.rank_R)[np.arange(5) % 2]
  np.testing.assert_allclose(
    after.code_KxD, x["a"][order] + 0.5 * scale * restart.noise_KxD, rtol=1e-5
  )


def test_the_jth_dead_code_takes_the_jth_rank():
  book = aged({"a": [0, 200, 0, 200]})
  x = rows(("a",), batch=4, dim=3, dtype=np.float32)
  restart = draw(4, 3, 4)
  after = restart_from_rows(book, x, restart, ("a",), jitter=0.0)
  expected = x["a"][np.asarray(restart.rank_R)[:2]]
  np.testing.assert_allclose(after.code_KxD[1::2], expected, rtol=1e-6)


def test_a_restarted_code_is_what_the_update_would_make_of_its_row():
  names = ("a", "b", "c")
  book = aged({m: [200] * 4 for m in names})
  x = rows(names, batch=4, dim=3, dtype=np.float32)
  restart = draw(4, 3, 12)
  after = restart_compiled(book, x, restart, names, jitter=0.0, own_weight=0.5)
  for k, pick in enumerate(np.asarray(restart.rank_R)[:4]):
    own, row = names[pick // 4], pick % 4
    others = sum(x[m][row] for m in names if m != own)
    expected = 0.5 * x[own][row] + 0.25 * others
    np.testing.assert_allclose(after.code_KxD[k], expected, rtol=1e-5)


@pytest.mark.parametrize(("rule", "dead"), [("any", [0]), ("each", [0, 1, 2])])
def test_rules(rule, dead):
  book = aged({"a": [9, 9, 0, 0], "b": [9, 0, 9, 0]})
  x = rows(("a", "b"), batch=4, dim=3, dtype=np.float32)
  after = restart_from_rows(
    book, x, draw(4, 3, 8), ("a", "b"), limit=5.0, rule=rule
  )
  moved = (np.asarray(after.code_KxD) != book.code_KxD).any(1)
  np.testing.assert_array_equal(np.flatnonzero(moved), dead)


@pytest.mark.parametrize("rule", ["any", "each"])
def test_nothing_restarts_at_or_below_the_limit(rule):
  book = aged({"a": [100.0] * 4, "b": [0, 1, 99, 100]})
  x = rows(("a", "b"), batch=4, dim=3, dtype=np.float32)
  after = restart_from_rows(book, x, draw(4, 3, 8), ("a", "b"), rule=rule)
  same(after, book)
  codes = aged({"a": [300.0] * 4})
  same(cb.restart_from_codes(codes, x, draw(4, 3, 8), ("a",)), codes)


def test_an_old_codebook_starts_from_the_data():
  """Age above the limit: whatever step 0 misses becomes one of its rows."""
  names = ("a", "b")
  book = make(6, 3, names, count=1.0, age=1e6)
  x = {m: v + 7 for m, v in rows(names, 5, 3, dtype=np.float32).items()}
  idx = {m: cb.assign(book.code_KxD, v) for m, v in x.items()}
  hit = np.unique(np.concatenate(list(idx.values())))
  assert len(hit) < 6
  after = cb.ema_update(book, x, idx, names)
  after = cb.grow_older(after, idx)
  after = restart_from_rows(after, x, draw(6, 3, 10), names, jitter=0.0)
  missed = np.setdiff1d(np.arange(6), hit)
  everything = np.concatenate(list(x.values()))
  distance = ((after.code_KxD[missed][:, None] - everything) ** 2).sum(-1)
  assert distance.min(1).max() < 1e-10
  assert (cb.idle(after) == 0).all()
  # Without it they stay near zero.
  young = restart_from_rows(
    cb.grow_older(make(6, 3, names, count=1.0, age=0.0), idx),
    x,
    draw(6, 3, 10),
    names,
  )
  assert np.abs(young.code_KxD[missed]).max() <= 1 / 400


def test_draws_are_a_permutation_and_follow_the_key():
  one, two = draw(7, 3, 20), draw(7, 3, 20, seed=6)
  assert sorted(one.rank_R.tolist()) == list(range(20))
  assert one.rank_R.tolist() != two.rank_R.tolist()
  assert one.noise_KxD.shape == (7, 3)
  assert ((one.uniform_K >= 0) & (one.uniform_K < 1)).all()
