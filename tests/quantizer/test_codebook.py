import jax
import jax.numpy as jnp
import numpy as np

from unirep.quantizer import codebook as cb

NAMES = ("audio", "image", "text")


def make(size=6, dim=4, names=NAMES, seed=0, **options):
  return cb.init(jax.random.key(seed), size, dim, names, **options)


def rows(names=NAMES, batch=5, dim=4, seed=0, dtype=np.float64):
  rng = np.random.default_rng(seed)
  return {m: rng.normal(size=(batch, dim)).astype(dtype) for m in names}


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
  released = make(400, 256)
  assert 0.9999 < 400 * abs(released.code_KxD).max() <= 1
  released = make(count=0.0)  # sums equal codes although counts are zero
  np.testing.assert_array_equal(released.sum_KxD, released.code_KxD)
  assert (book.tenure_K > 1e6).all()  # no code was placed lately


def test_all_codes_begin_asleep():
  book = cb.asleep(jax.random.key(0), 7, 4, NAMES)
  assert not cb.awake(book.code_KxD).any()
  for part in (book.code_KxD, book.count_K, book.sum_KxD):
    assert not part.any()
  assert book.code_KxD.shape == (7, 4)
  assert (book.tenure_K > 1e6).all()


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


def test_what_is_asleep_is_far_from_everything():
  code = np.array([[0.0, 0], [3, 4], [0, 0], [0, -1e-30]], np.float32)
  np.testing.assert_array_equal(cb.awake(code), [False, True, False, True])
  x = np.array([[0.0, 0], [0, 0.1], [3, 4]], np.float32)
  distance = cb.distances(code, x)
  np.testing.assert_array_equal(distance[:, [0, 2]], np.float32(cb.FAR))
  np.testing.assert_array_equal(cb.assign(code, x), [3, 3, 1])
  np.testing.assert_array_equal(cb.assign(0 * code, x), 0)
  slope = jax.grad(lambda code: cb.distances(code, x).sum())(code)
  assert not slope[::2].any()
  assert slope[1].any()


def test_nearest_each_is_the_code_that_assign_gives():
  code = rows(batch=6, seed=1, dtype=np.float32)["text"]
  x = rows(batch=9, dtype=np.float32)
  found = cb.nearest_each({m: cb.distances(code, v) for m, v in x.items()})
  assert found.keys() == x.keys()
  for m, v in x.items():
    np.testing.assert_array_equal(found[m], cb.assign(code, v))
    assert found[m].dtype == jnp.int32
  assert any((found[m] != found["text"]).any() for m in NAMES)


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


def test_idle_is_what_no_modality_chose():
  book = make(4, 2, ("a", "b"))
  book = book._replace(
    age={"a": jnp.array([0, 9.0, 3, 4]), "b": jnp.array([7, 8.0, 0, 4])}
  )
  np.testing.assert_array_equal(cb.idle(book), [0, 8, 0, 4])
