"""AVE's files, in small."""

import pickle

import h5py
import numpy as np
import pytest

from unirep.configs import evaluate
from unirep.data import sources
from unirep.runtime.errors import InputError

ROWS = (  # class, video, start, end, split
  ("Bark", "aaaaaaaaaa1", 0, 10, "train"),
  ("Bark", "aaaaaaaaaa2", 2, 5, "val"),
  ("Cat", "aaaaaaaaaa3", 1, 4, "train"),
  ("Cat", "aaaaaaaaaa4", 0, 10, "test"),
  ("Cat", "aaaaaaaaaa1", 3, 6, "test"),  # also in train, as another class
)


@pytest.fixture
def folder(tmp_path):
  lines = [f"{c}&{v}&good&{a}&{b}" for c, v, a, b, _ in ROWS]
  (tmp_path / "Annotations.txt").write_text("\n".join(lines) + "\n")
  for split in ("train", "val", "test"):
    order = [i for i, row in enumerate(ROWS) if row[-1] == split]
    with h5py.File(tmp_path / f"{split}_order.h5", "w") as file:
      file["order"] = np.array(order)
  write(tmp_path, "visual_feature.h5", (10, 5, 5, 3))
  write(tmp_path, "audio_feature.h5", (10, 4))
  return tmp_path


def write(folder, name, shape, rows=5):
  with h5py.File(folder / name, "w") as file:
    row = np.arange(rows, dtype=np.float64).reshape(-1, *[1] * len(shape))
    file["avadataset"] = np.broadcast_to(row, (rows, *shape))


def ave(split, folder, **options):
  data = evaluate.get_config("data=ave").data
  data.update({"features": str(folder), "labels": str(folder), "whole": False})
  data.update(options)
  return sources.source(data, "clips", split)


def test_rows_go_with_their_features(folder):
  test = ave("test", folder)
  assert len(test) == 2
  for i, row in enumerate((3, 4)):
    sample = test[i]
    assert {m: x.shape for m, x in sample["features"].items()} == {
      "video": (10, 5, 5, 3),
      "audio": (10, 4),
    }
    for x in sample["features"].values():
      assert x.dtype == np.float32
      assert (x == row).all()
    assert sample["labels"]["class"] == 1
  seconds = test[1]["labels"]["events/audio"]
  np.testing.assert_array_equal(np.flatnonzero(seconds[:, 1]), [3, 4, 5])
  np.testing.assert_array_equal(seconds[:, 2], 1 - seconds[:, 1])


def test_shared_videos_leave_the_train_split(folder):
  assert len(ave("train", folder)) == 1
  assert len(ave("train", folder, spare_shared=False)) == 2
  assert len(ave("validation", folder)) == 1


def test_it_travels(folder):
  source = ave("test", folder)
  _ = source[0]
  again = pickle.loads(pickle.dumps(source))
  np.testing.assert_array_equal(
    again[1]["features"]["audio"], source[1]["features"]["audio"]
  )


def test_what_is_missing_or_does_not_fit(folder):
  write(folder, "audio_feature.h5", (10, 4), rows=4)
  with pytest.raises(InputError, match=r"audio_feature.*4 clips, but 5"):
    ave("train", folder)
  (folder / "audio_feature.h5").write_bytes(b"nothing")
  with pytest.raises(InputError, match="audio_feature"):
    ave("train", folder)
  (folder / "visual_feature.h5").unlink()
  with pytest.raises(InputError, match=r"visual_feature.*no such file"):
    ave("train", folder)
