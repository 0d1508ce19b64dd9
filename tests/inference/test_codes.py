"""Codes of whole sources: order, padding of batches, passes of dropout."""

import jax
import numpy as np
import pytest

from unirep.inference import codes
from unirep.inference.tokenizer import Tokenizer
from unirep.methods.fcid import FCID
from unirep.methods.network import Modality

K, D, T = 16, 8, 4
MODEL = FCID(
  {"left": Modality("sequence", True, 6), "right": Modality("vector", True, 6)},
  dim=D,
  heads=2,
  hidden=16,
  dropout=0.5,
)


class Samples:
  """Six samples that differ by index."""

  def __len__(self):
    return 6

  def __getitem__(self, index, /):
    rng = np.random.default_rng(index)
    return {
      "features": {
        m: rng.normal(size=(T, 5)).astype(np.float32) for m in MODEL.order
      },
      "lengths": {},
      "labels": {"class": np.array(index, np.int32)},
    }


@pytest.fixture(scope="module")
def parts():
  features = {m: x[None] for m, x in Samples()[0]["features"].items()}
  params = MODEL.init(jax.random.key(0), features)
  code = np.random.default_rng(9).random((K, D), np.float32)
  return params, code


def encoder(parts, rows, mask_padding=True):
  data = {"source": "arrays", "missing": False}
  settings = {"mask_padding": mask_padding, "data": data}
  return Tokenizer(MODEL, *parts, settings, rows).codes


def test_codes_do_not_depend_on_the_size_of_batches(parts):
  whole, split = encoder(parts, 6)(Samples()), encoder(parts, 4)(Samples())
  for m in MODEL.order:
    assert whole.idx[m].shape == (6, T)
    assert whole.idx[m].dtype == np.int32
    np.testing.assert_array_equal(whole.idx[m], split.idx[m])
  np.testing.assert_array_equal(split.labels["class"], np.arange(6))
  direct = MODEL.encode(
    *parts, {m: x[None] for m, x in Samples()[5]["features"].items()}
  )
  np.testing.assert_array_equal(split.idx["left"][5:], direct["left"])
  direct = MODEL.encode(
    *parts,
    {m: x[None] for m, x in Samples()[5]["features"].items()},
    clip=True,
  )
  for m in MODEL.order:
    assert (split.clip[m].shape, split.clip[m].dtype) == ((6,), np.int32)
    np.testing.assert_array_equal(whole.clip[m], split.clip[m])
    np.testing.assert_array_equal(split.clip[m][5:], direct[m][:, 0])


def test_passes_of_dropout_follow_each_other_and_differ(parts):
  key = jax.random.key(3)
  run, other = encoder(parts, 6), encoder(parts, 4)
  drawn = run(Samples(), dropout=key, passes=3)
  assert drawn.idx["left"].shape == (18, T)
  np.testing.assert_array_equal(drawn.labels["class"], np.tile(np.arange(6), 3))
  first, second = drawn.idx["left"][:6], drawn.idx["left"][6:12]
  assert (first != second).any()
  # Keys belong to samples: the batch size changes nothing.
  again = other(Samples(), dropout=key, passes=3)
  np.testing.assert_array_equal(drawn.idx["left"], again.idx["left"])
  assert (run(Samples()).idx["left"] != first).any()
  np.testing.assert_array_equal(drawn.clip["left"], again.clip["left"])
  assert (drawn.clip["left"].reshape(3, 6) != run(Samples()).clip["left"]).any()


class Padded(Samples):
  """The samples with 1, 2 or 3 valid steps of the left."""

  def __getitem__(self, index, /):
    length = {"left": np.array(1 + index % 3, np.int32)}
    return super().__getitem__(index) | {"lengths": length}


def test_padding_has_no_code(parts):
  found = encoder(parts, 4)(Padded())
  valid = np.arange(T) < 1 + np.arange(6)[:, None] % 3
  np.testing.assert_array_equal(found.idx["left"] >= 0, valid)
  assert (found.idx["right"] >= 0).all()
  assert (found.clip["left"] >= 0).all()
  whole = encoder(parts, 5, mask_padding=False)(Padded())
  np.testing.assert_array_equal(
    whole.idx["left"], encoder(parts, 4)(Samples()).idx["left"]
  )  # as released, padding is part of the sample


def test_files_hold_all_of_it(parts, tmp_path):
  found = encoder(parts, 6)(Padded())
  codes.write(tmp_path / "new" / "codes.npz", found)
  again = codes.read(tmp_path / "new" / "codes.npz")
  for part, other in zip(found, again, strict=True):
    assert part.keys() == other.keys()
    for name in part:
      np.testing.assert_array_equal(part[name], other[name])


class Lacking(Padded):
  """The left is missing in every other sample, with features of zero."""

  def __getitem__(self, index, /):
    item = super().__getitem__(index)
    if index % 2:
      item["features"]["left"] = np.zeros_like(item["features"]["left"])
    return item | {"present": {"left": np.array(index % 2 == 0)}}


def test_what_is_missing_has_no_code(parts):
  found, padded = encoder(parts, 4)(Lacking()), encoder(parts, 4)(Padded())
  assert (found.idx["left"][1::2] == -1).all()
  assert (found.clip["left"][1::2] == -1).all()
  for ours, theirs in ((found.idx, padded.idx), (found.clip, padded.clip)):
    np.testing.assert_array_equal(ours["left"][::2], theirs["left"][::2])
    np.testing.assert_array_equal(ours["right"], theirs["right"])
    assert ours["left"].dtype == np.int32
  np.testing.assert_array_equal(codes.has(found.idx["left"]), [1, 0] * 3)
  passes = encoder(parts, 4)(Lacking(), dropout=jax.random.key(1), passes=2)
  np.testing.assert_array_equal(codes.has(passes.idx["left"]), [1, 0] * 6)
