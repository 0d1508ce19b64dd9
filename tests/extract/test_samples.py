"""Which files belong together."""

import collections
import csv
import os

import numpy as np
import pytest

from unirep.extract import samples
from unirep.extract.samples import Sample
from unirep.runtime.errors import InputError

ALL = ("video", "audio", "image", "text", "sensor")


def touch(folder, *names):
  for name in names:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def found(folder, columns=ALL):
  return {s.id: s for s in samples.find(str(folder), columns)}


def test_a_stem_is_a_sample_and_a_folder_a_class(tmp_path):
  touch(tmp_path, "dog/a.mp4", "dog/a.txt", "dog/b.WAV", "cat/big/a.jpg")
  touch(tmp_path, "dog/.hidden.mp4", ".trash/c.mp4", "dog/a.xyz")
  got = found(tmp_path)
  assert {*got} == {"dog/a", "dog/b", "cat/big/a"}
  assert got["dog/a"].files == {
    "video": str(tmp_path / "dog/a.mp4"),
    "text": str(tmp_path / "dog/a.txt"),
  }
  assert {s.id: s.label for s in got.values()} == {
    **{"dog/a": "dog", "dog/b": "dog", "cat/big/a": "cat/big"},
  }
  assert samples.classes(got.values()) == {"cat/big": 0, "dog": 1}


def test_without_folders_there_are_no_classes(tmp_path):
  touch(tmp_path, "a.mp4", "b.mp4")
  assert {s.label for s in found(tmp_path).values()} == {""}
  touch(tmp_path, "dog/c.mp4")
  assert {s.label for s in found(tmp_path).values()} == {".", "dog"}


def test_a_file_is_no_split(tmp_path):
  touch(tmp_path, "train.mp4", "test.mp4")
  assert {s.split for s in found(tmp_path).values()} == {""}
  touch(tmp_path, "train/a.mp4")
  assert {s.split for s in found(tmp_path).values()} == {""}


def test_files_that_nobody_looks_at_are_left_alone(tmp_path):
  touch(tmp_path, "a.mp4", "a.txt", "b.txt")
  assert found(tmp_path, ["video"]).keys() == {"a"}
  assert found(tmp_path, ["video"])["a"].files.keys() == {"video"}
  with pytest.raises(InputError, match="no file for any of sensor"):
    found(tmp_path, ["sensor"])


def test_folders_that_are_splits(tmp_path):
  touch(tmp_path, "train/dog/a.mp4", "val/dog/a.mp4", "test/cat/b.mp4")
  got = found(tmp_path)
  assert [(s.split, s.label) for s in got.values()] == [
    *(("test", "cat"), ("train", "dog"), ("validation", "dog")),
  ]
  touch(tmp_path, "other/a.mp4")
  assert {s.split for s in found(tmp_path).values()} == {""}


def test_two_videos_of_one_name_are_a_problem(tmp_path):
  touch(tmp_path, "a.mp4", "a.mov", "b.mp4", "b.wav")
  got = found(tmp_path)
  assert (
    got["a"].problem == "a.mov and a.mp4 are both its video; give them "
    "other names"
  )
  assert not got["b"].problem


def test_links_in_circles_are_walked_once(tmp_path):
  touch(tmp_path, "in/dog/a.mp4", "else/b.mp4")
  (tmp_path / "in/dog/up").symlink_to(tmp_path / "in")
  (tmp_path / "in/linked").symlink_to(tmp_path / "else")
  assert found(tmp_path / "in").keys() == {"dog/a", "linked/b"}


def write(path, text):
  path.write_text(text, encoding="utf-8")
  return samples.find(str(path), ALL)


def test_a_table(tmp_path):
  rows = write(
    tmp_path / "t.csv",
    "\ufeffid,video,text,label,split,start,end\n"
    'x,in/a.mp4,"a dog, barking",dog,train,1.5,4\n'
    "y,in/a.mp4,,cat,val,4,\n"
    "z,,words alone,cat,test,,\n",
  )
  x, y, z = rows
  assert x == Sample(
    id="x",
    files={"video": str(tmp_path / "in/a.mp4")},
    text="a dog, barking",
    label="dog",
    split="train",
    start=1.5,
    end=4.0,
    group="in/a.mp4",
  )
  assert (y.split, y.start, y.end, y.text) == ("validation", 4.0, None, "")
  assert (z.files, z.group) == ({}, "z")


def test_rows_that_share_any_file_stay_together(tmp_path):
  rows = write(
    tmp_path / "t.csv",
    "image,audio\nc.jpg,a.wav\n./c.jpg,b.wav\nd.jpg,b.wav\ne.jpg,\n,\n",
  )
  groups = [s.group for s in rows]
  assert groups[0] == groups[1] == groups[2]
  assert len({*groups}) == 3


def test_rows_that_say_nothing_sensible_fail_alone(tmp_path):
  rows = write(
    tmp_path / "t.csv",
    "video,label,split,start,end\n"
    "a.mp4,dog,train,,\n"
    "a.mp4,dog,train,3,2\n"
    "a.mp4,dog,train,nan,\n"
    "a.mp4,dog,train,-1,\n"
    "a.mp4,dog,train,x,\n"
    "a.mp4,dog,train,0,inf\n"
    "a.mp4,dog,trian,,\n"
    "a.mp4,,train,,\n"
    ",dog,train,,\n"
    "a.mp4,dog,train,,,,\n",
  )
  assert [bool(s.problem) for s in rows] == [False] + [True] * 9
  assert len({s.id for s in rows}) == 10


@pytest.mark.parametrize(
  ("text", "match"),
  [
    ("", "an empty file"),
    ("vidoe\na.mp4\n", "column 'vidoe'"),
    ("id,video\nx,a.mp4\nx,b.mp4\n", "'x' is there twice"),
    ("id,video\n", "no file"),
  ],
)
def test_bad_tables_are_one_line(text, match, tmp_path):
  with pytest.raises(InputError, match=match):
    write(tmp_path / "t.csv", text)


def test_no_media_at_all(tmp_path):
  for media, match in (("", "empty"), (str(tmp_path / "no"), "no such")):
    with pytest.raises(InputError, match=match):
      samples.find(media, ALL)


@pytest.mark.skipif(not hasattr(os, "fsencode"), reason="names are no bytes")
def test_bytes_in_a_table(tmp_path):
  path = tmp_path / "t.csv"
  path.write_bytes(b"id,text\nx,\xff\xfe\ny,fine\n")
  x, y = samples.find(str(path), ALL)
  assert (x.text, y.text) == ("\udcff\udcfe", "fine")
  csv.field_size_limit()  # cells may be long
  path.write_text("id,text\nx," + "word " * 100_000)
  assert len(samples.find(str(path), ALL)[0].text) == 500_000


def many(count, per_file=1):
  return [
    Sample(id=f"{i}-{k}", files={"video": f"{i}.mp4"}, group=f"{i}.mp4")
    for i in range(count)
    for k in range(per_file)
  ]


def splits(made):
  return {s.id: s.split for s in made}


def test_shares():
  made = samples.divide(many(100), {"validation": 0.1, "test": 0.2})
  assert collections.Counter(splits(made).values()) == {
    **{"train": 70, "validation": 10, "test": 20},
  }
  few = samples.divide(many(2), {"validation": 0.1, "test": 0.1})
  assert sorted(splits(few).values()) == ["train", "validation"]
  assert {*splits(samples.divide(many(5), {})).values()} == {"train"}


def test_pieces_of_a_file_share_a_split():
  made = samples.divide(many(40, per_file=3), {"test": 0.3})
  by_file = collections.defaultdict(set)
  for s in made:
    by_file[s.group].add(s.split)
  assert all(len(x) == 1 for x in by_file.values())
  assert {"train", "test"} == set.union(*by_file.values())


def test_few_samples_move_when_others_come():
  before = splits(samples.divide(many(100), {"test": 0.1}))
  after = splits(samples.divide(many(104), {"test": 0.1}))
  assert sum(before[i] != after[i] for i in before) <= 4


def test_splits_that_are_given_stay():
  given = [s._replace(split="test") for s in many(2)] + many(3)[2:]
  made = samples.divide(given, {"validation": 0.5})
  assert [s.split for s in made] == ["test", "test", ""]
  assert [bool(s.problem) for s in made] == [False, False, True]


@pytest.mark.parametrize("shares", [{"test": 1.0}, {"test": -0.1}])
def test_shares_out_of_range(shares):
  with pytest.raises(InputError, match="shares"):
    samples.divide(many(3), shares)


def test_labels_that_are_numbers_stay():
  def labelled(*names):
    return [s._replace(label=n) for s, n in zip(many(9), names, strict=False)]

  assert samples.classes(labelled("7", "3")) == {"7": 7, "3": 3}
  assert samples.classes(labelled("7", "b")) == {"7": 0, "b": 1}
  assert samples.classes(many(3)) == {}


def test_a_label_below_0_is_no_class():
  """As in label/class: nobody knows it. It was class 0 once."""

  def numbers(*labels):
    return samples.classes(
      [samples.Sample(id=x, files={}, label=x) for x in labels]
    )

  assert numbers("3", "-1", "0") == {"0": 0, "3": 3, "-1": -1}
  assert numbers("dog", "cat", "-1") == {"cat": 0, "dog": 1, "-1": -1}
  assert numbers("-0", "a-1") == {"-0": 0, "a-1": 1}


def test_names_in_both_forms_of_unicode_are_one_sample(tmp_path):
  composed, decomposed = "caf\u00e9.mp4", "cafe\u0301.txt"
  touch(tmp_path, composed, decomposed)
  (sample,) = found(tmp_path).values()
  assert sample.files == {
    "video": str(tmp_path / composed),
    "text": str(tmp_path / decomposed),
  }


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16"])
def test_a_picture_is_turned_as_its_camera_was_held(tmp_path, mode):
  from PIL import Image

  from unirep.extract import images

  x = np.zeros((32, 64), np.uint16 if mode == "I;16" else np.uint8)
  x[:, :32] = 65535 if mode == "I;16" else 255  # the left half is white
  image = Image.fromarray(x)
  if mode != "I;16":
    image = image.convert("RGB" if mode == "P" else mode)
    image = image.quantize(4) if mode == "P" else image
  exif = Image.Exif()
  exif[0x0112] = 6  # to be turned by a quarter, clockwise
  image.save(tmp_path / "a.png", exif=exif)
  grid_HxWx3 = images.read(str(tmp_path / "a.png"), (64, 32))
  assert grid_HxWx3[:24].min() > 200, "the left half comes to the top"
  assert grid_HxWx3[40:].max() < 50
