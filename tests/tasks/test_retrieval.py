"""Retrieval on constructed states, against NumPy and by hand."""

import itertools

import numpy as np
import pytest

from unirep.inference import nearest, similarity
from unirep.inference.similarity import States
from unirep.runtime.errors import InputError
from unirep.tasks import bags
from unirep.tasks.retrieval import ranks, table
from unirep.tasks.retrieval.table import Samples, Setting

K, D, T, N = 6, 8, 5, 40


def code_matrix():
  return np.random.default_rng(0).normal(size=(K, D)).astype(np.float32)


def states(seed, count=N, steps=True, kinds=K):
  """States with random codes, and vectors near them."""
  rng = np.random.default_rng(seed)
  code_KxD = code_matrix()
  idx = rng.integers(0, kinds, (count, T if steps else 1)).astype(np.int32)
  if steps:  # padding, and codes that repeat
    idx[:, 1] = idx[:, 0]
    idx[np.arange(T) >= rng.integers(2, T + 1, (count, 1))] = -1
  here = (idx >= 0)[..., None]
  general = code_KxD[idx] + 0.3 * rng.normal(size=(*idx.shape, D))
  soft = np.where(here, np.eye(K)[idx], 0).sum(1) / here.sum(1)
  clip = idx[:, 0]
  whole = code_KxD[clip] + 0.3 * rng.normal(size=(count, D))
  return States(idx, clip, np.where(here, general, 0), whole, soft, steps)


def unit(x):
  size = np.linalg.norm(x, axis=-1, keepdims=True)
  return x / np.where(size > 0, size, 1)


def by_hand(name, a, b, keep):
  """Similarity of two samples, from its definition."""
  code_KxD = code_matrix() * keep

  def steps_of(s, i, x):
    valid = s.idx_NxT[i] >= 0
    return x(s, i)[valid]

  def over_steps(i, j, x):
    p, q = steps_of(a, i, x), steps_of(b, j, x)
    if a.steps and b.steps:
      n = min(len(p), len(q))
      return (p[:n] * q[:n]).sum() / np.sqrt(len(p) * len(q))
    return (p @ q.T).mean()

  def coded(s, i):
    return unit(code_KxD)[s.idx_NxT[i]]

  def general(s, i):
    return unit(s.general_NxTxD[i] * keep)

  def bag(s, i):
    return np.bincount(s.idx_NxT[i][s.idx_NxT[i] >= 0], minlength=K)

  def clip(i, j):
    return unit(a.whole_NxD[i] * keep) @ unit(b.whole_NxD[j] * keep)

  return {
    "code": lambda i, j: float(a.clip_N[i] == b.clip_N[j]),
    "vector": lambda i, j: (
      unit(code_KxD)[a.clip_N[i]] @ unit(code_KxD)[b.clip_N[j]]
    ),
    "bag": lambda i, j: unit(1.0 * bag(a, i)) @ unit(1.0 * bag(b, j)),
    "steps": lambda i, j: over_steps(i, j, coded),
    "soft": lambda i, j: np.sqrt(a.soft_NxK[i] * b.soft_NxK[j]).sum(),
    "general": lambda i, j: (
      over_steps(i, j, general) if a.steps and b.steps else clip(i, j)
    ),
    "clip": clip,
  }[name]


@pytest.mark.parametrize("steps", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("name", similarity.REPRESENTATIONS)
def test_similarity_is_what_it_says(name, steps):
  a, b = states(1, 7, steps[0]), states(2, 9, steps[1])
  keep = np.arange(D) % 3 > 0
  masked = similarity.REPRESENTATIONS[name].masked
  keep = keep if masked else np.ones(D, bool)
  pair = similarity.items(a, b, code_matrix(), name, keep if masked else None)
  found = nearest.similarity(*pair)
  one = by_hand(name, a, b, keep)
  wanted = [[one(i, j) for j in range(9)] for i in range(7)]
  np.testing.assert_allclose(found, wanted, atol=3e-6)


def test_the_order_of_steps_breaks_no_tie():
  """Means over the same cosines are equal, in any order of the steps."""
  rng = np.random.default_rng(0)
  row = rng.integers(0, K, T)
  orders = np.array([rng.permutation(row) for _ in range(50)], np.int32)
  gallery = states(0, 50)._replace(idx_NxT=orders)
  query = states(1, 3)._replace(idx_NxT=np.full((3, T), 2, np.int32))
  pair = similarity.items(query, gallery, code_matrix(), "steps")
  better, tied = nearest.counts(*pair, np.array([[0], [7], [49]]))
  np.testing.assert_array_equal(better, 0)
  np.testing.assert_array_equal(tied, 50)


@pytest.mark.parametrize("name", ["vector", "steps", "soft", "general", "clip"])
def test_samples_that_say_the_same_tie(name):
  """Also if they are far apart, in other chunks and on other devices."""
  few = states(3, 10)
  where = np.random.default_rng(0).integers(0, 10, 700)
  gallery = similarity.part(few, where)
  pair = similarity.items(few, gallery, code_matrix(), name)
  positive = [[np.flatnonzero(where == i)[-1]] for i in range(10)]
  better, tied = nearest.counts(*pair, positive)
  score = nearest.similarity(*pair)
  for i in range(10):
    own = score[i, positive[i][0]]
    assert better[i, 0] == (score[i] > own + 1e-9).sum()
    assert tied[i, 0] == (abs(score[i] - own) < 1e-9).sum()


def setting(**changes):
  masks = {3: np.arange(D) < 3, D: np.ones(D, bool)}
  names = tuple(similarity.REPRESENTATIONS)
  made = Setting(code_matrix(), masks, names, "pair", (1, 5, 10), 50, 0)
  return made._replace(**changes)


def samples(label=None, **more):
  """Samples of two modalities that mostly have the same codes."""
  a, b = states(1), states(2)
  same = np.arange(N) % 3 > 0
  b = b._replace(
    idx_NxT=np.where(same[:, None], a.idx_NxT, b.idx_NxT),
    clip_N=np.where(same, a.clip_N, b.clip_N),
  )
  label = np.arange(N) if label is None else label
  return {"a": Samples(a, label), "b": Samples(b, label), **more}


def values(rows, **which):
  return {
    row.metric: row
    for row in rows
    if all(getattr(row, key) == value for key, value in which.items())
  }


def test_rows_are_what_counting_gives():
  given = samples(np.random.default_rng(0).integers(-1, 5, N) % 5)
  rows = [*table.rows(setting(relevance="class"), given)]
  label = given["a"].label_N
  hit_QxM = label[:, None] == label
  for source, target in (("a", "b"), ("b", "a")):
    code_NxN = np.equal.outer(
      *(given[m].states.clip_N for m in (source, target))
    )
    better = (code_NxN[:, None] > code_NxN[:, :, None]).sum(-1)
    tied = (code_NxN[:, None] == code_NxN[:, :, None]).sum(-1)
    wanted = ranks.scores(better, tied, hit_QxM, (1, 5, 10))
    found = values(rows, source=source, target=target, representation="code")
    for name, value_Q in wanted.items():
      assert abs(found[name].value - value_Q.mean()) < 1e-12
      assert found[name].low <= found[name].value <= found[name].high
      assert (found[name].queries, found[name].gallery) == (N, N)
    assert [row.metric for row in found.values() if row.leads] == ["map"]
  for row in rows:
    masked = similarity.REPRESENTATIONS[row.representation].masked
    assert (row.keep in (3, D)) if masked else row.keep is None
  keys = {(*row[1:5], row.keep) for row in rows}
  assert len(keys) == len(rows) == 2 * (3 + 2 * 4) * 7


def test_bags_are_those_of_a_summary():
  given = samples()
  rows = [*table.rows(setting(representations=("bag",)), given)]
  for source, target in itertools.permutations(given, 2):
    wanted = bags.recall(
      given[source].states.idx_NxT, given[target].states.idx_NxT, K
    )
    found = values(rows, source=source, target=target)
    for k in (1, 5):
      assert found[f"r@{k}"].value == pytest.approx(wanted[f"r@{k}"], abs=1e-12)
      assert found[f"r@{k}"].chance == pytest.approx(wanted[f"chance@{k}"])
      assert found[f"r@{k}"].leads == (k == 1)


def test_five_captions_a_photo():
  """Photos search for any of their five captions, captions for one photo."""
  photo = states(1, 8, steps=False)
  repeated = np.repeat(np.arange(8), 5)
  caption = similarity.part(photo, repeated)
  wrong = np.arange(40) % 5 > 0  # four of five say nothing
  caption = caption._replace(
    whole_NxD=np.where(wrong[:, None], -caption.whole_NxD, caption.whole_NxD)
  )
  given = {
    "photo": Samples(photo, np.arange(8)),
    "caption": Samples(caption, repeated),
  }
  made = setting(representations=("clip",), relevance="id", at=(1, 2))
  rows = [*table.rows(made, given)]
  photos = values(rows, source="photo", keep=D)
  captions = values(rows, source="caption", keep=D)
  assert photos["r@1"].value == 1
  assert photos["r@1"].chance == pytest.approx(5 / 40)
  assert photos["map"].value < 0.5
  assert photos["r@1"].queries == captions["r@1"].gallery == 8
  assert captions["r@1"].chance == pytest.approx(1 / 8)
  assert 0.2 <= captions["r@1"].value < 0.5
  assert captions["mrr"].value == pytest.approx(captions["map"].value)


def test_labels_that_are_shuffled_give_chance():
  given = samples(kept := np.arange(N))
  other = Samples(given["b"].states, np.random.default_rng(0).permutation(kept))
  rows = [*table.rows(setting(), {"a": given["a"], "b": other})]
  rows = [row for row in rows if row.metric == "mean_rank"]
  for row in rows:
    assert abs(row.value - row.chance) < 5
    assert row.chance == (N + 1) / 2


def test_positives_have_the_label_of_their_query():
  found = table.positives([3, 1, 9, 3], [1, 3, 3, 2, 3])
  assert found.tolist() == [[1, 2, 4], [0, -1, -1], [-1] * 3, [1, 2, 4]]


@pytest.mark.parametrize(
  ("changes", "label", "words"),
  [
    ({"at": (1, 50)}, None, "at=50: 40 samples of 'b' are all"),
    ({"representations": ("smell",)}, None, "representations='smell' is not"),
    ({"relevance": "id"}, "other", "no sample of 'b' is right .*relevance=id"),
    ({}, "none", "no sample of 'b' to look at"),
  ],
)
def test_what_can_not_be_measured_is_said(changes, label, words):
  given = samples()
  b = given["b"]
  if label == "other":
    given["b"] = b._replace(label_N=b.label_N + N)
  elif label == "none":
    given["b"] = Samples(similarity.part(b.states, []), b.label_N[:0])
  with pytest.raises(InputError, match=words):
    list(table.rows(setting(**changes), given))
