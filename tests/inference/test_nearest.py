"""Search of a gallery against NumPy, ties, chunks, devices and memory."""

import jax
import numpy as np
import pytest

from unirep.inference import nearest, search_programs
from unirep.inference.nearest import Items
from unirep.runtime.errors import InputError


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
  """Several chunks a device, the last of them short, and several blocks."""
  monkeypatch.setattr(nearest, "BLOCK", 16)
  monkeypatch.setattr(nearest, "ITEMS", 64)


def whole(rng, shape, dtype):
  return rng.integers(-2, 3, shape).astype(dtype)


def case(dtype, cosine, Q=37, M=777, W=6):
  """Items with many ties, and all scores in float64."""
  rng = np.random.default_rng(W)
  query, gallery = whole(rng, (Q, W), dtype), whole(rng, (M, W), dtype)
  score_QxM = query.astype(np.float64) @ gallery.T.astype(np.float64)
  if not cosine:
    return Items(query), Items(gallery), score_QxM
  squares = [(x.astype(np.float64) ** 2).sum(1) for x in (query, gallery)]
  score_QxM = score_QxM * np.abs(score_QxM) / np.maximum(squares[1], 1)
  return Items(query, squares[0]), Items(gallery, squares[1]), score_QxM


DEVICES = (1, 8)


@pytest.mark.parametrize("k", [1, 10, 100, 777])
@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_best_are_found_and_the_first_of_those_that_tie(dtype, cosine, k):
  query, gallery, score_QxM = case(dtype, cosine)
  wanted = np.argsort(-score_QxM, 1, kind="stable")[:, :k]
  similar = nearest.similarity(query, gallery)
  for count in DEVICES:
    score, idx = nearest.search(query, gallery, k, jax.devices()[:count])
    np.testing.assert_array_equal(idx, wanted)
    assert (score.dtype, idx.dtype) == (dtype, np.int32)
    wanted_score = np.take_along_axis(similar, wanted, 1)
    np.testing.assert_allclose(score, wanted_score, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("cosine", [False, True])
def test_counts_are_exact_on_any_number_of_devices(cosine):
  query, gallery, score_QxM = case(np.float64, cosine)
  rng = np.random.default_rng(1)
  positive = rng.integers(-1, score_QxM.shape[1], (len(score_QxM), 5))
  own = np.take_along_axis(score_QxM, np.maximum(positive, 0), 1)[..., None]
  for count in DEVICES:
    better, tied = nearest.counts(
      query, gallery, positive, jax.devices()[:count]
    )
    known = positive >= 0
    wanted = (score_QxM[:, None] > own).sum(-1)
    np.testing.assert_array_equal(better[known], wanted[known])
    wanted = (score_QxM[:, None] == own).sum(-1)
    np.testing.assert_array_equal(tied[known], wanted[known])
    assert tied[known].min() >= 1
    assert tied[known].max() > 20


def test_chunks_of_real_numbers_do_not_depend_on_devices():
  rng = np.random.default_rng(0)
  query = rng.normal(size=(20, 33)).astype(np.float32)
  gallery = rng.normal(size=(700, 33)).astype(np.float32)
  pairs = Items(query), Items(gallery)
  one, many = (
    nearest.search(*pairs, 20, jax.devices()[:count]) for count in DEVICES
  )
  for x, y in zip(one, many, strict=True):
    np.testing.assert_array_equal(x, y)
  wanted = np.argsort(-(query.astype(float) @ gallery.T.astype(float)), 1)
  np.testing.assert_array_equal(one[1], wanted[:, :20])


def test_a_gallery_is_read_from_its_file_by_chunks(tmp_path, monkeypatch):
  query, gallery, score_QxM = case(np.float32, False)
  np.save(tmp_path / "gallery.npy", gallery.x_MxW.astype(np.float16))
  on_disk = np.load(tmp_path / "gallery.npy", mmap_mode="r")
  asked = []

  class Watched:
    shape, dtype = on_disk.shape, on_disk.dtype

    def __len__(self):
      return len(on_disk)

    def __getitem__(self, part):
      asked.append(part.stop - part.start)
      return on_disk[part]

  found = nearest.search(query, Items(Watched()), 3, jax.devices()[:1])[1]
  wanted = np.argsort(-score_QxM, 1, kind="stable")[:, :3]
  np.testing.assert_array_equal(found, wanted)
  assert asked == [64] * 12 + [9]


def test_zero_has_no_sign():
  """-0 and 0 are one score: the first item is found."""
  query = Items(np.array([[-1.0], [1]], np.float32))
  gallery = Items(np.array([[0.0], [-0.0], [0.0], [-0.0]], np.float32))
  for k in (1, 2, 3, 4):
    idx = nearest.search(query, gallery, k)[1]
    np.testing.assert_array_equal(idx, [[*range(k)]] * 2)


def test_one_program_serves_all_chunks():
  query, gallery, _ = case(np.float32, False, M=64 * 5 + 3)
  search_programs.best.clear_cache()
  nearest.search(query, gallery, 4, jax.devices()[:2])
  assert search_programs.best._cache_size() == 1


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"k": 0}, "k=0 must lie in 1..777"),
    ({"k": 778}, "k=778 must lie in 1..777, the size of the gallery"),
    ({"gallery": np.zeros((0, 6), np.float32)}, r"gallery: \(0, 6\)"),
    ({"query": np.zeros((0, 6), np.float32)}, r"query: \(0, 6\)"),
    ({"query": np.zeros(6, np.float32)}, r"query: \(6,\)"),
    ({"query": np.zeros((2, 5), np.float32)}, "width 5, a gallery of 6"),
    ({"query": np.full((2, 6), np.nan)}, "query holds NaN"),
    ({"query": np.array([["a"] * 6])}, "query must hold numbers"),
    ({"gallery": np.full((9, 6), np.inf)}, "gallery: items 0 to 8 hold"),
  ],
)
def test_what_can_not_be_searched_is_said(change, words):
  query, gallery, _ = case(np.float32, False)
  given = {"query": query.x_MxW, "gallery": gallery.x_MxW, "k": 1} | change
  with pytest.raises(InputError, match=words) as error:
    nearest.search(
      Items(given["query"]),
      Items(given["gallery"]),
      given["k"],
      jax.devices()[:1],
    )
  assert "\n" not in str(error.value)
