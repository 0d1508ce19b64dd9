"""Data are told from other data of the same name."""

import os

import numpy as np

from unirep.data import arrays, identity, pipeline


def lines(value, size=50, at=0):
  x_NxF = np.zeros((size, 2), np.float32)
  x_NxF[at] = value
  return [
    {"features": {"a": x}, "lengths": {}, "labels": {"class": np.int32(0)}}
    for x in x_NxF
  ]


def test_sources_are_known_by_size_and_by_samples():
  other = lines(1)
  other[49]["labels"]["class"] = np.int32(3)
  looks = [lines(1), lines(2), lines(1, 51), lines(1, at=49), other]
  found = [identity.of(x) for x in looks]
  assert len({*found}) == len(looks)
  assert identity.of(lines(1)) == found[0]
  assert found[0].startswith("50 samples, ")


def save(path, value=0.0, at=777):
  x_NxF = np.zeros((1000, 3), np.float32)
  x_NxF[at] = value
  np.savez(path, a=x_NxF, b=x_NxF)
  return path


def test_files_are_known_by_all_of_their_content(tmp_path):
  """One row of a thousand differs: three samples would not show it."""
  one, two = save(tmp_path / "a.npz"), save(tmp_path / "b.npz", 1.0)
  whole = arrays.load(one)
  found = identity.of(whole)
  assert f"1000 samples in 1 files of {one.stat().st_size} bytes" in found
  assert identity.of(arrays.load(two)) != found
  part = pipeline.Subset(whole, np.arange(10))
  assert identity.files(part) == [one]
  assert identity.place(one) != identity.place(two)
  # The name and the time of a copy say nothing.
  os.utime(one, (0, 0))
  assert identity.of(arrays.load(one.rename(tmp_path / "c.npz"))) == found


def test_large_files_are_known_by_blocks_and_time(tmp_path, monkeypatch):
  monkeypatch.setattr(identity.formats, "CHECKED", 100)
  monkeypatch.setattr(identity, "BLOCK", 64)
  path = save(tmp_path / "a.npz")
  found = identity.place(path)
  assert identity.place(path) == found
  os.utime(path, (0, 0))
  assert identity.place(path) != found


def test_a_folder_is_known_by_all_of_its_files(tmp_path):
  save(tmp_path / "one.npz")
  save(tmp_path / "two.npz")
  found = identity.place(tmp_path)
  (tmp_path / ".hidden").write_text("")
  assert identity.place(tmp_path) == found
  (tmp_path / "two.npz").rename(tmp_path / "three.npz")
  assert identity.place(tmp_path) != found
