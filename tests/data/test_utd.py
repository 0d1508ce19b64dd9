"""UTD-MHAD: splits by people, one clock for three rates, broken files."""

import pathlib

import numpy as np
import pytest
import recordings

from unirep.data import raw, sample
from unirep.data.datasets import utd
from unirep.data.datasets.utd import Utd
from unirep.runtime.errors import InputError

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data" / "utd_mhad"


@pytest.fixture
def path(tmp_path, monkeypatch):
  monkeypatch.delenv(utd.VARIABLE, raising=False)
  utd._read.cache_clear()
  np.savez(tmp_path / "utd_mhad.npz", **recordings.actions())
  return tmp_path


def test_samples(path):
  for split, subjects in utd.SUBJECTS.items():
    source = Utd(split, path=str(path))
    sample.check_source(source, split)
    assert len(source) == 3 * len(subjects)
    rows = np.flatnonzero(np.isin(np.arange(24) % 8 + 1, subjects))
    actions = [source[i]["labels"]["class"] for i in range(len(source))]
    np.testing.assert_array_equal(actions, rows % 27)
  people = [s for subjects in utd.SUBJECTS.values() for s in subjects]
  assert sorted(people) == [*range(1, 9)]


def test_every_sensor_tells_the_same_time(path):
  """Part t of each is where the sequence is at share (t + 1/2) / T."""
  source = Utd("test", path=str(path))
  most = {"inertial": 200, "skeleton": 160, "depth": 197}  # the last feature
  for i in range(len(source)):
    times = {
      m: source[i]["features"][m].reshape(utd.TIME, n, -1)[..., -1].mean(1)
      for m, n in utd.SAMPLES.items()
    }
    for m, time_T in times.items():
      mean, deviation = source._scale[m]
      time_T = (time_T * deviation[-1] + mean[-1]) / most[m]
      np.testing.assert_allclose(
        time_T, (np.arange(utd.TIME) + 0.5) / utd.TIME, atol=0.03, err_msg=m
      )


def test_resampling_is_linear():
  x_SxF = np.arange(7.0)[:, None] * [1.0, -2.0]
  got = utd.resampled(x_SxF, 0.25, 0.75, 5)
  expected = 6 * (0.25 + 0.5 * (np.arange(5) + 0.5) / 5)
  np.testing.assert_allclose(got, expected[:, None] * [1, -2], atol=1e-6)


def test_cut_sequences(path):
  few = Utd("train", path=str(path))
  many = Utd("train", path=str(path), size=200, moved=0.1)
  assert len(many) == 200
  cuts = [many[i]["features"]["inertial"] for i in range(0, 200, len(few))]
  assert len({x.tobytes() for x in cuts}) == len(cuts)
  for i in range(len(few)):
    for j in range(i, 200, len(few)):
      assert many[j]["labels"]["class"] == few[i]["labels"]["class"]
    difference = np.abs(
      many[i]["features"]["skeleton"] - few[i]["features"]["skeleton"]
    )
    assert 0 < difference.max() < 0.5


def test_the_name_is_the_text(path):
  assert len(utd.ACTIONS) == 27
  assert max(len(a.split()) for a in utd.ACTIONS) <= utd.WORDS
  got = Utd("train", path=str(path))[0]
  words = utd.ACTIONS[got["labels"]["class"]].split()
  assert got["lengths"]["text"] == len(words)
  assert not got["features"]["text"][len(words) :].any()


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda x: x.pop("depth"), "lacks 'depth'"),
    (lambda x: x.update(length_depth=x["length_depth"] + 1), "length_depth"),
    (lambda x: x["inertial"].__setitem__(3, np.nan), "NaN"),
    (lambda x: x.update(subject=x["subject"] * 0 + 1), "no sequence"),
  ],
)
def test_broken_files(tmp_path, change, message):
  arrays = recordings.actions()
  change(arrays)
  np.savez(tmp_path / "x.npz", **arrays)
  with pytest.raises(InputError, match=message):
    Utd("test", path=str(tmp_path / "x.npz"))


def test_what_is_missing_is_said(tmp_path, path, monkeypatch):
  with pytest.raises(InputError, match="UNIREP_UTD"):
    Utd("train")
  with pytest.raises(InputError, match="does not exist"):
    Utd("train", path=str(tmp_path / "nowhere.npz"))
  (tmp_path / "text.npz").write_text("no archive")
  with pytest.raises(InputError, match=r"no \.npz"):
    Utd("train", path=str(tmp_path / "text.npz"))
  monkeypatch.setenv(utd.VARIABLE, str(path))
  assert len(Utd("train"))


@pytest.mark.skipif(not SHARED.exists(), reason="no recordings")
def test_the_data_set():
  sizes = [len(Utd(s, path=str(SHARED))) for s in utd.SUBJECTS]
  assert sizes == [323, 108, 430]


def test_what_can_be_shown(path):
  source = Utd("test", path=str(path))
  shown = source.raw()
  features = source[3]["features"]
  mean, deviation = source._scale["skeleton"]
  for m, samples in utd.SAMPLES.items():
    x = shown[m].at(3)
    assert x.shape[:3] == (utd.TIME, samples, 1)
    np.testing.assert_array_equal(x.reshape(utd.TIME, -1), features[m])
  joints = shown["skeleton"].show(shown["skeleton"].at(3))
  assert (joints.kind, joints.values.shape) == (raw.JOINTS, (40, 20, 3))
  expected = features["skeleton"].reshape(40, 60) * deviation + mean
  np.testing.assert_allclose(joints.values.reshape(40, 60), expected)
  assert {i for bone in joints.bones for i in bone} == {*range(20)}
  depth = shown["depth"].show(shown["depth"].at(3))
  assert (depth.kind, depth.values.shape) == (raw.PICTURES, (20, 15, 15))
  assert depth.values.min() >= 0
  curves = shown["inertial"].show(shown["inertial"].at(3)[:2])
  assert (curves.kind, curves.values.shape) == (raw.CURVES, (16, 6))
