"""Held-out samples share no file with training samples."""

import numpy as np
import pytest

from unirep.data import arrays, grouping
from unirep.runtime.errors import InputError


def paired(classes=8, files=24, pairings=8, seed=0):
  """Each sound of a class beside `pairings` photos of it: files, classes."""
  rng = np.random.default_rng(seed)
  rows = []
  for c in range(classes):
    for i in range(files):
      for j in rng.permutation(files)[:pairings]:
        rows.append((c * files + i, c * files + j, c))
  table = np.array(rows)
  return table[:, :2], table[:, 2]


def test_no_file_is_on_both_sides_and_no_class_is_lost():
  for seed in range(5):
    file_NxM, class_N = paired(seed=seed)
    split = grouping.split(file_NxM, 0.2, seed, class_N)
    for column in file_NxM.T:
      assert not {*column[split.train]} & {*column[split.test]}
    assert {*class_N[split.train]} == {*class_N[split.test]} == {*range(8)}
    rows = len(split.train) + len(split.test) + split.dropped
    assert rows == len(file_NxM)
    assert not {*split.train} & {*split.test}
    assert 0.6 < len(split.train) / len(file_NxM) < 0.7  # .8 of both
    assert 0.02 < len(split.test) / len(file_NxM) < 0.07  # .2 of both


def test_small_components_are_held_out_whole_and_nothing_is_dropped():
  photo_N = np.repeat(np.arange(50), 5)  # five captions each
  file_NxM = np.stack([photo_N, np.arange(250)], 1)
  split = grouping.split(file_NxM, 0.1, seed=3)
  assert split.dropped == 0
  assert len(split.test) == 25
  assert not {*photo_N[split.train]} & {*photo_N[split.test]}
  assert sorted([*split.train, *split.test]) == [*range(250)]
  again = grouping.split(file_NxM, 0.1, seed=4)
  assert again.test.tolist() != split.test.tolist()


def test_without_reuse_the_split_is_one_of_rows():
  file_NxM = np.stack([np.arange(100), np.arange(100)], 1)
  split = grouping.split(file_NxM, 0.1, seed=0)
  assert (len(split.train), len(split.test), split.dropped) == (90, 10, 0)


def test_chains_of_rows_are_one_component():
  file_NxM = np.array([[0, 0], [0, 1], [1, 1], [2, 2], [-1, 2], [3, -1]])
  numbers = grouping.components(file_NxM)
  assert numbers[0] == numbers[1] == numbers[2]
  assert numbers[3] == numbers[4]
  assert len({*numbers}) == 3


def test_a_missing_file_is_no_file():
  file_NxM, class_N = paired()
  file_NxM[::7, 0] = -1
  split = grouping.split(file_NxM, 0.2, 0, class_N)
  sound_N, photo_N = file_NxM.T
  assert not {*photo_N[split.train]} & {*photo_N[split.test]}
  assert {*sound_N[split.train]} & {*sound_N[split.test]} <= {-1}


def test_what_can_not_be_split_is_refused():
  file_NxM = np.zeros((6, 1), int)
  with pytest.raises(InputError, match="none can be held out"):
    grouping.split(file_NxM, 0.5, 0)


def test_equal_features_are_one_file():
  rng = np.random.default_rng(0)
  sound = rng.normal(size=(5, 3, 700)).astype(np.float32)
  caption = np.zeros((40, 2, 4), np.float32)
  caption[20:] = 1
  row_N = rng.integers(0, 5, 40)
  source = arrays.Arrays(
    {"audio": sound[row_N], "text": caption},
    labels={"class": np.arange(40) // 20},
  )
  columns = grouping.files(source)
  same = columns["audio"][:, None] == columns["audio"]
  np.testing.assert_array_equal(same, row_N[:, None] == row_N)
  assert len({*columns["text"]}) == 2
  # Two captions of two classes: none can be held out.
  assert [*grouping.reused(columns, 0.5)] == ["audio"]
  class_N = np.arange(40) // 20
  assert [*grouping.reused(columns, 0.5, class_N)] == ["audio"]
  assert not grouping.reused(columns, 0.1)


def reused_source(seed=0):
  """Sounds and photos of eight classes, each in eight pairs, and a caption."""
  rng = np.random.default_rng(seed)
  file_NxM, class_N = paired(seed=seed)
  sound = rng.normal(size=(192, 3, 5)).astype(np.float32)
  photo = rng.normal(size=(192, 1, 4)).astype(np.float32)
  caption = rng.normal(size=(8, 2, 6)).astype(np.float32)
  return arrays.Arrays(
    {
      "audio": sound[file_NxM[:, 0]],
      "image": photo[file_NxM[:, 1]],
      "text": caption[class_N],
    },
    labels={"class": class_N},
  )


def test_a_split_of_arrays_shares_no_recording():
  source = reused_source()
  train, test = arrays.split(source, 0.2, 0)
  for m in ("audio", "image"):
    sides = [
      {part[i]["features"][m].tobytes() for i in range(len(part))}
      for part in (train, test)
    ]
    assert not sides[0] & sides[1]
  words = "rows share files of audio, image, text; {} rows with files of both"
  left = len(source) - len(train) - len(test)
  assert test.note.startswith(words.format(left))
  assert test.note.endswith("too few of text to hold some out")


def test_a_split_without_reuse_is_that_of_earlier_runs():
  """So that they go on: the first rows of a permutation are held out."""
  x = np.random.default_rng(0).normal(size=(50, 2, 3)).astype(np.float32)
  source = arrays.Arrays({"audio": x, "text": x + 1})
  train, test = arrays.split(source, 0.3, 5)
  order = np.random.default_rng(5).permutation(50)
  held = [source[i]["features"]["audio"].tobytes() for i in sorted(order[:15])]
  assert [test[i]["features"]["audio"].tobytes() for i in range(15)] == held
  assert (len(train), test.note) == (35, "")


def test_data_too_large_to_compare_are_split_by_rows(monkeypatch):
  monkeypatch.setattr(grouping, "READ", 1000)
  monkeypatch.setattr(grouping, "files", None)
  train, test = arrays.split(reused_source(), 0.1, 0)
  assert (len(train), len(test)) == (1382, 154)
  assert "too large: they are not compared" in test.note


def test_a_function_says_itself_which_rows_belong_together():
  class Made:
    def __init__(self, **more):
      self.__dict__.update(more)

    def __len__(self):
      return 60

    def __getitem__(self, index):
      assert index == 0, "samples may take long to make"
      return {"features": {"a": np.zeros((1, 2), np.float32)}}

  _, test = arrays.split(Made(), 0.1, 0)
  assert (len(test), "by a function" in test.note) == (6, True)
  group_N = np.arange(60) // 2
  split = grouping.hold_out(Made(groups=group_N), 0.2, 0)
  assert not {*group_N[split.train]} & {*group_N[split.test]}
  assert (len(split.train), len(split.test)) == (48, 12)


def test_clips_that_begin_and_end_alike_are_not_one_file():
  x = np.zeros((4, 30, 100), np.float32)
  x[:, 15] = np.arange(4)[:, None]
  columns = grouping.files(arrays.Arrays({"audio": x}))
  assert columns["audio"].tolist() == [0, 1, 2, 3]
