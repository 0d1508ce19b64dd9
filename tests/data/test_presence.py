"""Modalities that samples lack, from arrays to batches."""

import numpy as np
import oneline
import pytest

from unirep.data import arrays, pipeline
from unirep.data import sample as sample_lib
from unirep.runtime.errors import InputError

N, T = 6, 3
NAN = np.nan


def contents():
  """Samples 1 and 4 lack sound; sample 2 lacks the note, whatever it says."""
  rng = np.random.default_rng(0)
  features = {
    "sound": rng.normal(size=(N, T, 2)),
    "note": rng.normal(size=(N, 5)).astype(np.float16),
    "count": rng.integers(0, 9, (N, T, 1)),
  }
  features["sound"][[1, 4]] = NAN
  features["note"][2] = NAN
  length = {"length/sound": np.array([3, 0, 1, 2, 99, 3])}
  return features | length | {"label/class": np.arange(N)}


def saved(tmp_path, **changes):
  path = tmp_path / "some.npz"
  np.savez(path, **(contents() | changes))
  return path


def test_samples_say_what_they_lack(tmp_path):
  source = arrays.load(saved(tmp_path), missing=True)
  sample_lib.check_source(source, "some")
  for i, item in enumerate(source):
    sample_lib.check_sample(item, f"some[{i}]")
    here = {"sound": i not in (1, 4), "note": i != 2}
    assert item["present"] == here  # the count is always there
    for m, known in here.items():
      expected = contents()[m][i].reshape(item["features"][m].shape)
      expected = expected if known else np.zeros_like(expected)
      np.testing.assert_array_equal(
        item["features"][m], expected.astype(np.float32)
      )
  assert [int(x["lengths"]["sound"]) for x in source] == [3, 1, 1, 2, 1, 3]
  batch, valid = next(pipeline.in_order(source, 8))
  assert valid == N
  here_B = [True, False, True, True, False, True, True, True]
  assert batch["present"]["sound"].tolist() == here_B  # the last one repeats
  stream = pipeline.batches(source, batch_size=4, seed=0)
  batch = next(stream)
  label_B = batch["labels"]["class"]
  assert batch["present"]["sound"].dtype == bool
  np.testing.assert_array_equal(
    batch["present"]["sound"], ~np.isin(label_B, [1, 4])
  )
  stream.close()


def test_parts_know_what_they_lack(tmp_path):
  source = arrays.load(saved(tmp_path), missing=True)
  for part in arrays.split(source, 0.5, 0):
    for item in part:
      i = int(item["labels"]["class"])
      assert item["present"] == {"sound": i not in (1, 4), "note": i != 2}


def test_where_nothing_is_missing_nothing_is_said(tmp_path):
  rng = np.random.default_rng(0)
  path = saved(tmp_path, sound=rng.random((N, T, 2)), note=rng.random((N, 5)))
  with pytest.raises(InputError, match=r"sound.*got 0"):
    arrays.load(path, missing=True)
  path = saved(
    tmp_path,
    sound=rng.random((N, T, 2)),
    note=rng.random((N, 5)),
    **{"length/sound": np.full(N, T)},
  )
  item = arrays.load(path, missing=True)[0]
  assert set(item) == set(sample_lib.PARTS)
  only = arrays.load(saved(tmp_path), modalities=["count"], missing=True)
  assert set(only[1]) == set(sample_lib.PARTS)


def changed(name, *rows, value=NAN):
  x = contents()[name].astype(np.float32)
  x[(*rows,)] = value
  return {name: x}


@pytest.mark.parametrize(
  ("missing", "changes", "words"),
  [
    (
      False,
      {"length/sound": np.ones(6, int)},
      "sound.*NaN or infinity",
    ),  # as ever
    (True, changed("sound", 3, 0, 1), r"sound.*first at \(3, 0, 1\)"),
    (True, changed("sound", 3, slice(2)), r"sound.*first at \(3, 0, 0\)"),
    (True, changed("sound", 3, value=np.inf), r"sound.*first at \(3, 0, 0\)"),
    (True, changed("sound", slice(None)), "'sound'.*missing from all 6"),
    (True, changed("count", 1) | changed("note", 1), "sample 1 lacks every"),
  ],
)
def test_what_can_not_be_is_named(missing, changes, words, tmp_path):
  with pytest.raises(InputError, match=rf"some\.npz: .*{words}") as error:
    arrays.load(saved(tmp_path, **changes), missing=missing)
  oneline.check(error.value)


@pytest.mark.parametrize(
  ("present", "words"),
  [
    ({"other": np.array(True)}, "no modality of that name; features are a, b"),
    ({"a": np.array(1)}, "must be a bool, got int64"),
    ({"a": np.array([True])}, r"of shape \(1,\)"),
    ({"a": np.array(False), "b": np.bool_(False)}, "lacks all of its"),
    ({"a": True}, "NumPy array"),
  ],
)
def test_presence_of_a_sample_is_checked(present, words):
  sample = {
    "features": dict.fromkeys("ab", np.ones((2, 1), np.float32)),
    "lengths": {},
    "labels": {},
    "present": {"a": np.array(False), "b": np.bool_(True)},
  }
  sample_lib.check_sample(sample, "x[0]")
  with pytest.raises(InputError, match=words) as error:
    sample_lib.check_sample({**sample, "present": present}, "x[0]")
  oneline.check(error.value)


@pytest.mark.parametrize(
  ("present", "words"),
  [
    ({"c": np.ones(2, bool)}, "'c'.*no modality"),
    ({"a": np.ones(2)}, "bool, got float64"),
    ({"a": np.ones(3, bool)}, "'a'.*3 samples"),
    ({"a": np.zeros(2, bool)}, "'a'.*missing from all 2"),
    ({"a": np.eye(2, dtype=bool)}, r"shape \(2, 2\)"),
  ],
)
def test_presence_of_arrays_is_checked(present, words):
  features = dict.fromkeys("ab", np.ones((2, 1)))
  with pytest.raises(InputError, match=words):
    arrays.Arrays(features, present=present)
