"""Joint codes on the sphere, and where new ones are placed, against NumPy."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import Module

from unirep.losses import cmcm, matching
from unirep.methods import assignment as assignment_lib
from unirep.quantizer import codebook as cb
from unirep.quantizer import growth

cb, cmcm, matching = map(Module, (cb, cmcm, matching))

NAMES = ("video", "audio", "text")
D = 16
AXES = np.sqrt(D) * np.eye(D)  # codes at right angles to each other


def sphere(x):
  return x / np.sqrt((x**2).mean(-1, keepdims=True))


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


def between(a, b, cosine):
  """On the sphere, at this cosine to `a`, in the plane of orthogonal a, b."""
  return cosine * a + np.sqrt(1 - cosine**2) * b


def said(rows, names=NAMES):
  """All modalities say the same."""
  return dict.fromkeys(names, np.asarray(rows, float))


def rows_of(x, code_KxD, weight_B=None):
  """As `methods.assignment` makes it, with nothing missing."""
  distance = {m: cb.distances(code_KxD, v) for m, v in x.items()}
  batch = len(next(iter(x.values())))
  weight_B = np.ones(batch) if weight_B is None else np.asarray(weight_B, float)
  present = dict.fromkeys(x, np.ones(batch, bool))
  return cb.Assignment(
    x, distance, cb.nearest_jointly(distance), weight_B, present
  )


def book_of(code, size=None, names=NAMES):
  """These codes awake, then others asleep, up to `size`."""
  code = np.asarray(code, float).reshape(-1, D)
  size = size or len(code)
  whole = np.zeros((size, D))
  whole[: len(code)] = code
  count = np.zeros(size)
  count[: len(code)] = 2.0
  rng = np.random.default_rng(9)
  return cb.Codebook(
    jnp.asarray(whole),
    jnp.asarray(count),
    jnp.asarray(whole * count[:, None]),
    {m: jnp.asarray(rng.integers(0, 9, size), float) for m in names},
    jnp.full((size,), 100.0),
  )


def noise(*shape, first=()):
  """No noise, and a bonus for the place to be drawn first."""
  x = np.zeros(shape)
  if first:
    x[first] = 1e3
  return jnp.asarray(x)


def awake(book):
  return np.flatnonzero(np.asarray(cb.awake(book.code_KxD)))


def same(a, b):
  chex.assert_trees_all_equal(a, b)


# Assignment.


def test_nearest_jointly_is_nearest_to_the_mean(x64):
  code = normal(7, D)
  code[3] = 0  # asleep, though the mean is near the origin
  x = {m: normal(40, D, seed=i) for i, m in enumerate(NAMES)}
  idx = cb.nearest_jointly({m: cb.distances(code, v) for m, v in x.items()})
  mean = sum(x.values()) / 3
  distance = ((mean[:, None] - code) ** 2).sum(-1)
  assert (distance.argmin(1) == 3).any()
  distance[:, 3] = np.inf
  for m in NAMES:
    np.testing.assert_array_equal(idx[m], distance.argmin(1))
    assert idx[m].dtype == jnp.int32
  alone = cb.nearest_each({m: cb.distances(code, v) for m, v in x.items()})
  assert all((alone[m] != idx[m]).any() for m in NAMES)


def test_nearest_jointly_takes_the_lowest_of_ties():
  code = AXES[[1, 0, 1]]
  x = {"a": AXES[:1], "b": AXES[1:2]}  # as far from one as from the other
  idx = cb.nearest_jointly({m: cb.distances(code, v) for m, v in x.items()})
  np.testing.assert_array_equal(idx["a"], [0])
  np.testing.assert_array_equal(idx["b"], [0])


# The sphere.


def test_on_sphere_scales_and_leaves_zeros(x64):
  x = normal(5, D) * 10.0 ** np.arange(-5, 5, 2)[:, None]
  x[2] = 0
  y = cb.on_sphere(x)
  expected = [v / np.sqrt((v**2).mean()) if v.any() else v for v in x]
  np.testing.assert_allclose(y, expected, rtol=1e-12)
  # Half the squared distance over D is one minus the cosine.
  u, v = y[0], y[1]
  cosine = (u @ v) / np.linalg.norm(u) / np.linalg.norm(v)
  np.testing.assert_allclose(((u - v) ** 2).sum() / 2 / D, 1 - cosine)


def test_on_sphere_has_a_finite_gradient_at_zero_and_none_along_the_row(x64):
  x, w = normal(3, D), normal(3, D, seed=1)
  x[1] = 0
  grad = jax.grad(lambda x: (w * cb.on_sphere(x)).sum())(x)
  assert np.isfinite(grad).all()
  for i in (0, 2):
    root = np.sqrt((x[i] ** 2).mean())
    along = (w[i] @ x[i]) / (x[i] @ x[i]) * x[i]
    np.testing.assert_allclose(grad[i], (w[i] - along) / root, rtol=1e-10)
    assert abs(grad[i] @ x[i]) < 1e-10
  shallow = jax.grad(lambda x: (w[1] * cb.on_sphere(x, 0.1)).sum())(x[1])
  np.testing.assert_allclose(shallow, w[1] / 0.1)


# Averages.


def update_loop(book, assignments, decay):
  count, total = np.array(book.count_K), np.array(book.sum_KxD)
  hit, pull = np.zeros_like(count), np.zeros_like(total)
  chosen = {m: np.zeros(len(count), bool) for m in book.age}
  for rows in assignments:
    for m in rows.x:
      for b, k in enumerate(np.asarray(rows.idx[m])):
        weight = rows.weight_B[b] * rows.present[m][b]
        hit[k] += weight
        pull[k] += weight * rows.x[m][b]
        chosen[m][k] |= weight > 0
  count = decay * count + (1 - decay) * hit
  total = decay * total + (1 - decay) * pull
  code = np.zeros_like(total)
  for k in range(len(count)):
    if not np.asarray(book.code_KxD[k]).any():
      count[k] = total[k] = 0
    else:
      code[k] = total[k] / np.sqrt((total[k] ** 2).mean())
  age = {
    m: np.where(chosen[m], 0, np.asarray(age) + 1)
    for m, age in book.age.items()
  }
  return cb.Codebook(code, count, total, age, np.asarray(book.tenure_K) + 1)


def clips_and_steps(code):
  """Clips of three modalities, steps of two; padding far away."""
  clips = {m: sphere(normal(6, D, seed=i)) for i, m in enumerate(NAMES)}
  steps = {
    m: sphere(normal(12, D, seed=5 + i)) for i, m in enumerate(NAMES[:2])
  }
  weight = np.array([0.25, 0, 0.25, 0.25, 0, 0.25, 0.25, 0, 0.25, 0.25, 0, 0.5])
  for x in steps.values():
    x[weight == 0] = 1e6
  return [rows_of(clips, code), rows_of(steps, code, weight)]


def test_joint_update_matches_loops(x64):
  code = sphere(normal(5, D, seed=20))
  code[2] = 0
  book = book_of(code)._replace(tenure_K=jnp.arange(5.0))
  for decay in (0.99, 0.5, 0.9):
    assignments = clips_and_steps(book.code_KxD)
    # Someone says that a sleeping code was chosen: it sleeps on.
    assignments[0].idx["text"] = assignments[0].idx["text"].at[0].set(2)
    after = cb.joint_update(book, assignments, decay=decay)
    expected = update_loop(book, assignments, decay)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14),
      after,
      expected,
    )
    assert not after.code_KxD[2].any()
    np.testing.assert_array_equal(awake(after), [0, 1, 3, 4])
    square = (np.asarray(after.code_KxD) ** 2).mean(-1)
    np.testing.assert_allclose(square[awake(after)], 1, rtol=1e-12)
    book = after
  # Ages differ between modalities, some are zero and some grew.
  assert not (after.age["video"] == after.age["text"]).all()
  assert all(age.min() == 0 for age in after.age.values())


def test_the_defaults_and_the_order_of_modalities(x64):
  book = book_of(sphere(normal(4, D)))
  assignments = clips_and_steps(book.code_KxD)
  after = cb.joint_update(book, assignments)
  expected = update_loop(book, assignments, 0.99)
  np.testing.assert_allclose(after.code_KxD, expected.code_KxD, rtol=1e-12)
  turned = [
    rows._replace(x=dict(reversed(rows.x.items())))
    for rows in assignments[::-1]
  ]
  other = cb.joint_update(book, turned)
  np.testing.assert_allclose(other.code_KxD, after.code_KxD, rtol=1e-12)


def test_a_code_ends_at_the_direction_of_what_it_is_given(x64):
  book = book_of(AXES[:2])
  target = sphere(normal(3, D))
  assignments = [
    rows_of(dict(zip(NAMES, target[:, None], strict=True)), AXES[:1])
  ]
  update = jax.jit(functools.partial(cb.joint_update, decay=0.5))
  for _ in range(60):
    book = update(book, assignments)
  np.testing.assert_allclose(book.code_KxD[0], sphere(target.sum(0)), rtol=1e-9)
  np.testing.assert_allclose(book.count_K[0], 3, rtol=1e-9)
  np.testing.assert_array_equal(book.code_KxD[1], AXES[1])  # unused


# Scores.


def score_by_residuals(x_MxRxD, code_KxD):
  """The mean over pairs of modalities of (x_m - c)(x_n - c) / D."""
  M, R, _ = x_MxRxD.shape
  scores = []
  for r in range(R):
    x = x_MxRxD[:, r]
    known = code_KxD[code_KxD.any(1)]
    c = np.zeros(D)
    if len(known):
      c = known[((x.sum(0) - M * known) ** 2).sum(1).argmin()]
    pairs = [(m, n) for m in range(M) for n in range(M) if m != n or M == 1]
    scores.append(np.mean([(x[m] - c) @ (x[n] - c) / D for m, n in pairs]))
  return np.array(scores)


@pytest.mark.parametrize("members", [2, 3])
@pytest.mark.parametrize("codes", [0, 4])
def test_score_is_the_mean_product_of_residuals(members, codes, x64):
  code = np.zeros((6, D))
  code[1 : 1 + codes] = sphere(normal(codes, D, seed=3))
  x = {m: sphere(normal(20, D, seed=i)) for i, m in enumerate(NAMES[:members])}
  x = {m: sphere(v + 0.7 * x["video"]) for m, v in x.items()}
  rows = rows_of(x, code)
  ours = growth.score(rows, growth.nearest(rows, D))
  expected = score_by_residuals(np.stack([*x.values()]), code)
  np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12)
  assert members == 1 or np.ptp(expected) > 0.1


def test_marks_of_the_score(x64):
  """0 at a code, 2 at a right angle where all agree, 4 across the sphere."""
  rows = rows_of(said([AXES[0], AXES[1], -AXES[0]]), AXES[:1])
  scores = growth.score(rows, growth.nearest(rows, D))
  np.testing.assert_allclose(scores, [0, 2, 4], atol=1e-12)
  # What one modality says by itself, the others on their code, is nothing.
  x = said([AXES[0]]) | {"text": AXES[1:2]}
  rows = rows_of(x, AXES[:1])
  assert abs(growth.score(rows, growth.nearest(rows, D))[0]) < 1e-12


def test_nearer_is_nearest_with_one_more_code(x64):
  code = np.zeros((4, D))
  x = {m: sphere(normal(20, D, seed=i)) for i, m in enumerate(NAMES)}
  near = growth.nearest(rows_of(x, code), D)
  for k, row in enumerate(sphere(normal(3, D, seed=7))):
    near = growth.nearer(rows_of(x, code), near, row)
    code[k] = row
    expected = growth.nearest(rows_of(x, code), D)
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-10), near, expected
    )


# Placement.

PLACE = {"threshold": 0.2, "agreed": 0.5, "count": 0.1}


@functools.cache
def compiled_place():
  return jax.jit(growth.place)  # keywords are traced, so it compiles once


def place(book, assignments, draw, **changes):
  options = {"open_": True} | PLACE | changes
  return compiled_place()(book, assignments, draw, **options)


def test_what_is_shared_gets_a_code(x64):
  """The first free code, on the sphere, at what all say together."""
  book = book_of(AXES[:2], 5)
  book = book._replace(code_KxD=book.code_KxD.at[0].set(0))  # the lowest sleeps
  x = {m: sphere(normal(4, D, seed=i) + AXES[3]) for i, m in enumerate(NAMES)}
  assignments = [rows_of(x, book.code_KxD)]
  after = place(book, assignments, noise(1, 4, 1, first=(0, 2, 0)))
  np.testing.assert_array_equal(awake(after), [0, 1])
  row = sphere(sum(v[2] for v in x.values()))
  np.testing.assert_allclose(after.code_KxD[0], row, rtol=1e-12)
  np.testing.assert_allclose(after.count_K[0], 0.1)
  np.testing.assert_allclose(after.sum_KxD[0], 0.1 * row, rtol=1e-12)
  assert after.tenure_K[0] == 0
  assert all(age[0] == 0 for age in after.age.values())
  kept = jax.tree.map(lambda leaf: leaf[1:], after)
  same(kept, jax.tree.map(lambda leaf: leaf[1:], book))
  # The next update leaves it where it is unless rows move it.
  nobody = [rows_of(said(AXES[1:2]), book.code_KxD)]
  later = cb.joint_update(after, nobody)
  np.testing.assert_allclose(later.code_KxD[0], row, rtol=1e-12)


def test_what_one_modality_shows_gets_none(x64):
  book = book_of(AXES[:1], 4)
  x = said(np.repeat(AXES[:1], 6, 0)) | {"text": np.repeat(AXES[1:2], 6, 0)}
  assignments = [rows_of(x, book.code_KxD)]
  same(place(book, assignments, noise(3, 6, 1), threshold=1e-6), book)


@pytest.mark.parametrize(
  ("alone", "weight", "agreed", "placed"),
  [
    (0, 1.0, 1.0, True),
    (1, 1.0, 0.5, True),  # half of its use is shared: just enough
    (2, 1.0, 0.5, False),
    (2, 1.0, 0.3, True),
    (2, 0.25, 0.5, True),  # of one and a half places, one is shared
    (5, 0.0, 1.0, True),  # padding has no say
  ],
)
def test_modalities_must_agree_on_the_use(alone, weight, agreed, placed, x64):
  """At one place all say something new, at some the text says it alone."""
  book = book_of(AXES[:1], 4)
  x = said([AXES[1], *[AXES[0]] * 5])
  x["text"] = x["text"].copy()
  x["text"][1 : 1 + alone] = AXES[1]
  assignments = [rows_of(x, book.code_KxD, [1] + 5 * [weight])]
  after = place(book, assignments, noise(1, 6, 1), agreed=agreed)
  assert len(awake(after)) == 1 + placed
  if placed:
    np.testing.assert_allclose(after.code_KxD[1], AXES[1], atol=1e-12)
  else:
    same(after, book)


def test_agreement_counts_all_levels(x64):
  """Steps that the text is no part of, but where audio is alone."""
  book = book_of(AXES[:1], 4)
  clips = rows_of(said(AXES[1:2]), book.code_KxD)
  x = {"video": AXES[[0, 0, 0]], "audio": AXES[[1, 1, 0]]}
  for weight, placed in ((0.4, True), (0.6, False)):
    steps = rows_of(x, book.code_KxD, [weight] * 3)
    after = place(book, [clips, steps], noise(1, 1, 4))
    assert len(awake(after)) == 1 + placed


@pytest.mark.parametrize("cosine", [0.0, 0.6, 0.95])
def test_the_threshold_is_a_score(cosine, x64):
  """All say one thing at this cosine from the code: its score is 2 - 2 cos."""
  book = book_of(AXES[:1], 3)
  assignments = [rows_of(said([between(AXES[0], AXES[1], cosine)]), AXES[:1])]
  for slack, placed in ((-1e-6, True), (1e-6, False)):
    threshold = 2 - 2 * cosine + slack
    after = place(book, assignments, noise(1, 1, 1), threshold=threshold)
    assert len(awake(after)) == 1 + placed


def test_nothing_is_placed_when_closed_or_full_or_in_padding(x64):
  book = book_of(AXES[:1], 3)
  assignments = [rows_of(said(AXES[[0, 1, 2]]), AXES[:1])]
  draw = noise(3, 3, 1, first=(slice(None), 2, 0))
  assert len(awake(place(book, assignments, draw))) == 3
  same(place(book, assignments, draw, open_=False), book)
  same(place(book, assignments, draw, open_=jnp.array(False)), book)
  full = book_of(AXES[:1])
  same(place(full, assignments, draw), full)
  padded = [assignments[0]._replace(weight_B=np.array([1, 1.0, 0]))]
  after = place(book, padded, draw)
  np.testing.assert_array_equal(awake(after), [0, 1])
  np.testing.assert_allclose(after.code_KxD[1], AXES[1], atol=1e-12)


def test_codes_of_one_step_land_on_different_clusters(x64):
  """Four clusters of eight places: four codes, whatever may be placed."""
  center = np.repeat(AXES[:4], 8, 0)
  x = {
    m: sphere(center + 0.2 * normal(32, D, seed=i)) for i, m in enumerate(NAMES)
  }
  for size, P, expected in ((9, 4, 4), (9, 9, 4), (9, 3, 3), (2, 9, 2)):
    book = book_of([], size)
    assignments = [rows_of(x, book.code_KxD)]
    for seed in range(3):
      draw = jax.random.gumbel(jax.random.key(seed), (P, 32, 1))
      after = place(book, assignments, draw, threshold=0.5, agreed=0.0)
      np.testing.assert_array_equal(awake(after), np.arange(expected))
      cosine = np.asarray(after.code_KxD)[:expected] @ AXES[:4].T / D
      assert len({*cosine.argmax(1).tolist()}) == expected
      assert cosine.max(1).min() > 0.8


def test_placement_follows_the_noise_of_level_and_sample(x64):
  """Candidates of a sample are its clip and then its steps."""
  B, T = 3, 2
  book = book_of(AXES[:1], 2)
  clips = rows_of(said(AXES[1 : 1 + B]), AXES[:1])
  steps = rows_of(
    said(AXES[4 : 4 + B * T], NAMES[:2]), AXES[:1], [1 / T] * B * T
  )
  for b in range(B):
    for c in range(1 + T):
      draw = noise(1, B, 1 + T, first=(0, b, c))
      after = place(book, [clips, steps], draw)
      axis = 1 + b if c == 0 else 4 + b * T + c - 1
      np.testing.assert_allclose(after.code_KxD[1], AXES[axis], atol=1e-12)


def test_places_are_drawn_in_proportion_to_their_score():
  """Scores 2, 1 and 0.5 with Gumbel noise: 4 to 2 to 1."""
  book = book_of(AXES[:1], 2)
  x = [between(AXES[0], AXES[i + 1], c) for i, c in enumerate((0, 0.5, 0.75))]
  assignments = [rows_of(said(x), AXES[:1])]

  @jax.jit
  @jax.vmap
  def drawn(key):
    draw = jax.random.gumbel(key, (1, 3, 1))
    return (place(book, assignments, draw).code_KxD[1] @ AXES[1:4].T).argmax()

  runs = 4000
  hits = np.bincount(drawn(jax.random.split(jax.random.key(0), runs)))
  share = np.array([4, 2, 1]) / 7
  sigma = np.sqrt(share * (1 - share) / runs)
  assert (np.abs(hits / runs - share) < 4 * sigma).all()


def test_nothing_is_placed_where_codes_fit(x64):
  code = sphere(normal(5, D))
  book = book_of(code, 9)
  x = {
    m: sphere(np.repeat(code, 4, 0) + 0.1 * normal(20, D, seed=i))
    for i, m in enumerate(NAMES)
  }
  draw = jax.random.gumbel(jax.random.key(0), (4, 20, 1))
  same(place(book, [rows_of(x, book.code_KxD)], draw), book)
  # Nor where each modality goes its own way from the codes.
  x = {
    m: sphere(np.repeat(code, 4, 0) + normal(20, D, seed=i))
    for i, m in enumerate(NAMES)
  }
  rows = rows_of(x, book.code_KxD)
  far = 1 - growth.nearest(rows, D).each_MxR / D
  assert far.mean() > 0.2
  same(place(book, [rows], draw, threshold=0.5), book)


# Sleep.


def test_codes_that_nobody_chooses_fall_asleep(x64):
  book = book_of(AXES[:4], 5)._replace(
    age={
      "a": jnp.array([31.0, 30, 99, 0, 99]),
      "b": jnp.array([31.0, 99, 0, 31, 99]),
    }
  )
  after = growth.fall_asleep(book, limit=30.0)
  np.testing.assert_array_equal(awake(after), [1, 2, 3])
  for part in (after.code_KxD, after.count_K, after.sum_KxD):
    assert not part[jnp.array([0, 4])].any()
  kept = jnp.array([1, 2, 3])
  for new, old in zip(after[:3], book[:3], strict=True):
    np.testing.assert_array_equal(new[kept], old[kept])
  same(after[3:], book[3:])


# Matching.


def matching_loop(x, code, idx, weight, temperature):
  total = 0.0
  for m, rows in x.items():
    loss = 0.0
    for b, row in enumerate(rows):
      cosine = code[code.any(1)] @ row / D
      own = code[idx[m][b]] @ row / D
      normalizer = np.log(np.exp(cosine / temperature).sum())
      loss += weight[b] * (normalizer - own / temperature)
    total += loss / weight.sum()
  return total / len(x)


def matching_inputs(names=NAMES):
  code = sphere(normal(5, D, seed=11))
  code[1] = 0
  x = {m: sphere(normal(6, D, seed=i)) for i, m in enumerate(names)}
  weight = np.array([1, 0.5, 0, 1, 0.25, 0])
  return code, x, weight


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_matching_matches_numpy(temperature, x64):
  code, x, weight = matching_inputs()
  rows = rows_of(x, code, weight)
  ours = matching.matching(
    rows.distance, rows.idx, weight, dim=D, temperature=temperature
  )
  expected = matching_loop(x, code, rows.idx, weight, temperature)
  np.testing.assert_allclose(ours, expected, rtol=1e-12)


def test_the_mean_of_matching_is_over_weights_below_one(x64):
  code, x, weight = matching_inputs()
  rows = rows_of(x, code)
  whole = matching.matching(rows.distance, rows.idx, weight, dim=D)
  tenth = matching.matching(rows.distance, rows.idx, weight / 10, dim=D)
  np.testing.assert_allclose(tenth, whole, rtol=1e-12)
  nobody = matching.matching(rows.distance, rows.idx, 0 * weight, dim=D)
  assert nobody == 0


def test_matching_is_log_k_at_ignorance(x64):
  """All codes as far, or all asleep; nothing where every row has its code."""
  rows = rows_of(said(AXES[5:9]), AXES[:4])
  loss = matching.matching(rows.distance, rows.idx, rows.weight_B, dim=D)
  np.testing.assert_allclose(loss, np.log(4))
  rows = rows_of(said(AXES[5:9]), np.zeros((7, D)))
  loss = matching.matching(rows.distance, rows.idx, rows.weight_B, dim=D)
  np.testing.assert_allclose(loss, np.log(7))
  rows = rows_of(said(AXES[:4]), AXES[:4])
  loss = matching.matching(rows.distance, rows.idx, rows.weight_B, dim=D)
  assert 0 <= loss < 2e-4


def test_matching_moves_rows_to_the_code_of_all_and_away_from_others(x64):
  code, x, weight = matching_inputs(("a", "b"))
  idx = rows_of(x, code).idx

  def loss(x):
    distance = {m: cb.distances(code, v) for m, v in x.items()}
    return matching.matching(distance, idx, weight, dim=D, temperature=0.5)

  slope = jax.jit(jax.grad(loss))
  grad = slope(x)
  known = np.flatnonzero(code.any(1))
  for m, rows in x.items():
    # The gradient of a softmax: the mean code minus the assigned one.
    for b, row in enumerate(rows):
      logits = code[known] @ row / D / 0.5
      p = np.exp(logits) / np.exp(logits).sum()
      pull = p @ code[known] - code[idx[m][b]]
      expected = weight[b] / weight.sum() / 2 * pull / (D * 0.5)
      np.testing.assert_allclose(grad[m][b], expected, rtol=1e-9, atol=1e-15)
    step = rows - 0.1 * grad[m]
    live = weight > 0
    before = code[known] @ rows.T
    own = np.searchsorted(known, np.asarray(idx[m]))
    gain = code[known] @ np.asarray(step).T - before
    gain = gain[:, live]
    assert (gain[own[live], np.arange(live.sum())] > 0).all()
    assert (gain.min(0) < 0).all()  # some other code is left behind
    np.testing.assert_array_equal(grad[m][~live], 0)
  # A row whose modality alone would choose another code comes to choose it.
  alone = cb.nearest_each({m: cb.distances(code, v) for m, v in x.items()})
  assert any((alone[m] != idx[m])[weight > 0].any() for m in x)
  for _ in range(300):
    x = jax.tree.map(lambda v, g: sphere(v - 5 * g), x, slope(x))
  alone = cb.nearest_each({m: cb.distances(code, v) for m, v in x.items()})
  for m in x:
    np.testing.assert_array_equal(
      np.asarray(alone[m])[weight > 0], np.asarray(idx[m])[weight > 0]
    )


@pytest.mark.parametrize("temperature", [0.1, 0.7])
def test_cosine_distribution_is_a_softmax_of_cosines(temperature, x64):
  code, x = sphere(normal(6, D)), sphere(normal(8, D, seed=1))
  code[2] = code[5] = 0
  ours = cmcm.cosine_distribution(
    cb.distances(code, x), dim=D, temperature=temperature
  )
  known = code.any(1)
  cosine = x @ code[known].T / D
  expected = np.zeros((8, 6))
  expected[:, known] = np.exp(cosine / temperature)
  expected /= expected.sum(1, keepdims=True)
  np.testing.assert_allclose(ours, expected, rtol=1e-10)
  assert (np.asarray(ours)[:, ~known] == 0).all()


def test_asleep_codes_have_no_share_and_no_gradient_in_float32():
  code = sphere(normal(4, D)).astype(np.float32)
  code[1:] = 0
  x = sphere(normal(3, D, seed=1)).astype(np.float32)

  def total(x, weight):
    p = cmcm.cosine_distribution(cb.distances(code, x), dim=D)
    return (weight * p).sum(), p

  grad, p = jax.grad(total, has_aux=True)(x, np.arange(4.0))
  np.testing.assert_array_equal(p, [[1, 0, 0, 0]] * 3)
  assert not grad.any()
  code[0] = 0  # and where all sleep nothing is known
  _, p = total(x, np.arange(4.0))
  np.testing.assert_array_equal(p, np.full((3, 4), 0.25))
  distance, idx = cb.distances(code, x), np.zeros(3, int)
  loss = matching.matching({"a": distance}, {"a": idx}, np.ones(3), dim=D)
  np.testing.assert_allclose(loss, np.log(4), rtol=1e-6)


# Growth.

CLUSTERS, BATCH, STEPS = 5, 40, 120
GROWTH = {
  "decay": 0.9,
  "limit": 20.0,
  "threshold": 0.5,
  "agreed": 0.5,
  "until": 0.5,
  "count": 0.1,
}


def events(step, clusters=CLUSTERS):
  """What all modalities share, and what each keeps to itself."""
  rng = np.random.default_rng(step)
  shared = AXES[rng.integers(0, clusters, BATCH)]
  x = {}
  for i, m in enumerate(NAMES):
    own = AXES[10 + i] * rng.choice([-1, 1], (BATCH, 1))
    noise = 0.3 * rng.normal(size=(BATCH, D))
    x[m] = sphere(shared + 0.3 * own + noise).astype(np.float32)
  return x


@functools.cache
def compiled_update():
  @jax.jit
  def step(book, x, key, progress):
    assignments = [rows_of(x, book.code_KxD)]
    return growth.update(book, assignments, key, progress, **GROWTH)

  return step


def grow(size, steps=STEPS, book=None, clusters=CLUSTERS, start=0):
  book = book or cb.asleep(jax.random.key(0), size, D, NAMES)
  history = [book]
  for i in range(start, start + steps):
    book = compiled_update()(
      book, events(i, clusters), jax.random.key(i), i / STEPS
    )
    history.append(book)
  return history


@pytest.mark.parametrize("size", [8, 64])
def test_as_many_codes_wake_as_there_are_clusters(size):
  """Whatever the upper bound, and each cluster has its own."""
  book = grow(size)[-1]
  assert len(awake(book)) == CLUSTERS
  code = np.asarray(book.code_KxD)[awake(book)]
  cosine = code @ AXES[:CLUSTERS].T / D
  assert sorted(cosine.argmax(1)) == [*range(CLUSTERS)]
  assert cosine.max(1).min() > 0.95
  # Each modality by itself mostly chooses the code of all.
  rows = rows_of(events(1000), book.code_KxD)
  for idx in cb.nearest_each(rows.distance).values():
    assert (idx == rows.idx["text"]).mean() > 0.95


def test_more_clusters_than_codes_fill_the_codebook():
  book = grow(3)[-1]
  assert len(awake(book)) == 3


def test_placements_come_to_rest():
  history = grow(8)

  def placed(book):
    clips = rows_of(said(AXES[:4], ["text"]), book.code_KxD)
    health = assignment_lib.health(["text"], book, {"clip": clips}, None)
    return health["codebook/placed"] * 8

  assert placed(history[0]) == 0
  assert placed(history[20]) >= CLUSTERS
  assert placed(history[-1]) == 0
  # New clusters are found before `until`, and no longer from there on.
  rest = history[40]
  before = grow(8, 5, rest, CLUSTERS + 2, start=STEPS // 2 - 5)[-1]
  assert len(awake(before)) == CLUSTERS + 2
  after = grow(8, 5, rest, CLUSTERS + 2, start=STEPS // 2)[-1]
  assert len(awake(after)) == CLUSTERS
  assert np.asarray(after.tenure_K).min() >= 5


def test_codes_of_clusters_that_end_fall_asleep():
  """Others then take their place in the codebook."""
  grown = grow(6, 30)[-1]
  book = grown
  for i in range(25):
    x = {m: sphere(v[:, ::-1] + 0.0) for m, v in events(i, 2).items()}
    book = compiled_update()(book, x, jax.random.key(i), 0.0)
  code = np.asarray(book.code_KxD)[awake(book)]
  assert len(code) == 2
  cosine = code @ AXES[[D - 1, D - 2]].T / D
  assert sorted(cosine.argmax(1)) == [0, 1]


@pytest.mark.parametrize(
  ("counts", "looked_at", "left"),
  [
    ([5.0, 3, 1, 9], [0, 1, 2, 3, 4], [0, 2, 3]),  # 1 beside 0, 2 too far
    ([3.0, 5, 1, 9], [0, 1, 2, 3, 4], [1, 2, 3]),
    ([4.0, 4, 1, 9], [0, 1, 2, 3, 4], [0, 2, 3]),  # a tie: the first one
    ([5.0, 3, 1, 9], [0, 2, 2, 4], [0, 1, 2, 3]),  # nobody asked about 1
  ],
)
def test_of_two_codes_that_are_as_good_as_one_the_lesser_goes(
  x64, counts, looked_at, left
):
  """Closer than a cosine of 0.9, for a threshold of 0.2."""
  near, far = between(*AXES[:2], 0.91), between(AXES[0], AXES[3], 0.89)
  book = book_of(np.stack([AXES[0], near, AXES[2], far]), 5)
  book = book._replace(count_K=jnp.array([*counts, 0.0]))
  after = growth.merge(book, jnp.array(looked_at), threshold=0.2)
  np.testing.assert_array_equal(awake(after), left)
  same(after[3:], book[3:])


def test_update_is_averages_then_sleep_then_placement(x64):
  """Rows keep their distances from the codes before the averages."""
  book = book_of(AXES[:3], 5)
  book = book._replace(age={m: jnp.full(5, 20.0) for m in NAMES})
  x = {m: sphere(v.astype(float)) for m, v in events(0).items()}
  assignments = [rows_of(x, book.code_KxD)]
  key = jax.random.key(0)
  draw = jax.random.gumbel(key, (2, BATCH, 1))
  after = growth.update(book, assignments, key, 0.0, places=2, **GROWTH)
  expected = cb.joint_update(book, assignments, decay=0.9)
  expected = growth.fall_asleep(expected, limit=20.0)
  expected = place(expected, assignments, draw, threshold=0.5)
  jax.tree.map(  # two programs, which may round differently
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14),
    after,
    expected,
  )
  assert len(awake(after)) == 5


# Modalities that are missing at some places.


def with_missing(rows, seed=0, share=0.6):
  """The rows, of which some are far away and there is nothing at them.

  The last modality is always there.
  """
  rng = np.random.default_rng(seed)
  *names, _ = rows.x
  present = {m: rng.random(len(rows.weight_B)) < share for m in names}
  x = {m: np.array(v) for m, v in rows.x.items()}
  for m, here_R in present.items():
    assert 0 < here_R.sum() < len(here_R)
    x[m][~here_R] = 1e3
  return rows._replace(x=x, present=rows.present | present)


def measured_again(rows, code_KxD):
  """Distances and codes of changed rows, as `methods.assignment` has them."""
  assignment = assignment_lib.clips(rows.x, code_KxD, present=rows.present)
  return assignment._replace(weight_B=rows.weight_B)


def test_what_is_missing_pulls_no_code(x64):
  book = book_of(sphere(normal(5, D, seed=20)))
  assignments = [
    measured_again(with_missing(rows, seed), book.code_KxD)
    for seed, rows in enumerate(clips_and_steps(book.code_KxD))
  ]
  after = cb.joint_update(book, assignments, decay=0.9)
  expected = update_loop(book, assignments, 0.9)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-14),
    after,
    expected,
  )


def test_what_is_there_takes_the_nearest_code_of_the_rest(x64):
  code_KxD = sphere(normal(5, D, seed=20))
  x = {m: sphere(normal(40, D, seed=i)) for i, m in enumerate(NAMES)}
  rows = with_missing(rows_of(x, code_KxD))
  assignment = measured_again(rows, code_KxD)
  wrong = 0
  for b in range(40):
    names = [m for m in NAMES if rows.present[m][b]]
    total_K = sum(((rows.x[m][b] - code_KxD) ** 2).sum(-1) for m in names)
    assert {int(assignment.idx[m][b]) for m in names} == {int(total_K.argmin())}
    all_K = sum(((x[m][b] - code_KxD) ** 2).sum(-1) for m in NAMES)
    wrong += total_K.argmin() != all_K.argmin()
  assert wrong > 5


@pytest.mark.parametrize("codes", [0, 3])
def test_the_score_is_of_those_that_are_there(codes, x64):
  code_KxD = np.zeros((4, D))
  code_KxD[:codes] = sphere(normal(codes, D, seed=9))
  x = {m: sphere(normal(30, D, seed=i)) for i, m in enumerate(NAMES)}
  rows = measured_again(with_missing(rows_of(x, code_KxD)), code_KxD)
  near = growth.nearest(rows, D)
  score_R = np.asarray(growth.score(rows, near))
  row_D = sphere(normal(1, D, seed=5))[0]
  more = growth.nearer(rows, near, row_D)
  numbers = set()
  for b in range(30):
    names = [m for m in NAMES if rows.present[m][b]]
    numbers.add(len(names))
    few = {m: rows.x[m][b : b + 1] for m in names}
    alone = rows_of(few, code_KxD)
    if len(names) > 1:
      expected = score_by_residuals(np.stack([*few.values()]), code_KxD)
      np.testing.assert_allclose(score_R[b], expected[0], rtol=1e-9, atol=1e-12)
    one = growth.nearer(alone, growth.nearest(alone, D), row_D)
    np.testing.assert_allclose(more.sum_R[b], one.sum_R[0], rtol=1e-9)
    for m, each_R in zip(rows.x, np.asarray(more.each_MxR), strict=True):
      if m in names:
        expected = one.each_MxR[names.index(m)][0]
        np.testing.assert_allclose(each_R[b], expected, rtol=1e-9)
  assert numbers == {1, 2, 3}


def test_nothing_is_placed_where_one_is_alone(x64):
  """It would agree with itself."""
  book = book_of(AXES[:1], 3)
  rows = rows_of(said(AXES[[0, 1, 2]]), AXES[:1])
  alone = {m: np.array([True, m == "text", True]) for m in NAMES}
  draw = noise(3, 3, 1, first=(slice(None), 1, 0))
  after = place(book, [rows._replace(present=alone)], draw)
  np.testing.assert_array_equal(awake(after), [0, 1])
  np.testing.assert_allclose(after.code_KxD[1], AXES[2], atol=1e-12)
  # Two of three are enough, and the code is where these two say.
  two = {"text": np.array([True, False, True])}
  x = {m: v.copy() for m, v in rows.x.items()}
  x["text"][1] = 99 * AXES[7]
  after = place(book, [rows._replace(x=x, present=rows.present | two)], draw)
  np.testing.assert_allclose(after.code_KxD[1], AXES[1], atol=1e-12)


@pytest.mark.parametrize(("lacking", "placed"), [(2, True), (1, False)])
def test_who_is_missing_does_not_disagree(lacking, placed, x64):
  """Text alone says something new at two places, where others may be missing.

  At the first place all say it: a third of its use is shared, or all of it.
  """
  book = book_of(AXES[:1], 4)
  x = said(AXES[[1, 0, 0]])
  x["text"] = AXES[[1, 1, 1]]
  here = np.arange(3) < 3 - lacking
  present = {"audio": here, "video": here}
  assignment = rows_of(x, book.code_KxD)
  assignment = assignment._replace(present=assignment.present | present)
  after = place(book, [assignment], noise(1, 3, 1, first=(0, 0, 0)), agreed=0.6)
  assert len(awake(after)) == 1 + placed


def test_matching_is_of_what_is_there(x64):
  code, x, weight = matching_inputs()
  rows = rows_of(x, code, weight)
  distance, idx = rows.distance, rows.idx
  rng = np.random.default_rng(2)
  here = {m: rng.random(len(weight)) < 0.6 for m in NAMES[:2]}
  ours = matching.matching(distance, idx, weight, dim=D, present=here)
  each = [
    matching_loop(
      {m: v}, code, idx, weight * here.get(m, np.ones(len(weight))), 0.1
    )
    for m, v in x.items()
  ]
  np.testing.assert_allclose(ours, np.mean(each), rtol=1e-10)
  here[NAMES[0]][:] = False  # there is none: the mean is over the others
  ours = matching.matching(distance, idx, weight, dim=D, present=here)
  np.testing.assert_allclose(ours, np.mean(each[1:]), rtol=1e-10)
