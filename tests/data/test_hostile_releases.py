"""Files that break naive readers of releases: one line each, nothing run."""

import functools
import io
import os
import pickle
import pickletools
import struct
import time
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
import releases as mini

from unirep.configs import data as config_of
from unirep.data.datasets import releases
from unirep.data.release import lists, pickles, stores
from unirep.data.release.stores import Zips
from unirep.runtime.errors import InputError

LIMIT = 2**20
GOOD = np.arange(20.0).reshape(10, 2)


class Runs:
  """A pickle of it makes a folder when it is loaded."""

  def __init__(self, place):
    self.place = place

  def __reduce__(self):
    return os.mkdir, (str(self.place),)


class State:
  """A pickle of it sets attributes."""


def program(*words):
  return b"\x80\x02" + b"".join(words) + b"."


def of_pickle(place):
  """Name -> pickles, of which none is an array of numbers."""
  call = f"cos\nmkdir\n(V{place}\ntR".encode()
  inst = f"(V{place}\nios\nmkdir\n".encode()
  obj = f"(cos\nmkdir\nV{place}\no".encode()
  array = pickle.dumps(GOOD, 2)
  objects = np.array([Runs(place)], object)
  state = State()
  state.of = Runs(place)
  return {
    "reduce": pickle.dumps(Runs(place)),
    "reduce-4": pickle.dumps(Runs(place), 4),
    "global": b"cos\nsystem\n.",
    "stack-global": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "call": call + b".",
    "inst": inst + b".",
    "obj": obj + b".",
    "newobj": b"\x80\x02cbuiltins\nobject\n)\x81.",
    "build": pickle.dumps(state),
    "ext": b"\x80\x02\x82\x01.",
    "persid": b"P12\n.",
    "getattr": b"\x80\x02cbuiltins\ngetattr\ncnumpy\nndarray\n\x86R.",
    "objects": pickle.dumps(objects),
    "dict": pickle.dumps({"a": 1}),
    "list": pickle.dumps([GOOD]),
    "text": pickle.dumps("text"),
    "strings": pickle.dumps(np.array(["a"])),
    "complex": pickle.dumps(np.array([1j])),
    "dates": pickle.dumps(np.array(["2020"], "M8[s]")),
    "records": pickle.dumps(np.zeros(2, [("a", "f4")])),
    "cut": array[:-30],
    "empty": b"",
    "noise": np.random.default_rng(0).bytes(500),
    "no-words": program(),
    "pop-nothing": program(b"R"),
    "marks": b"\x80\x02" + b"(" * 100_000 + b".",
    "gets": program(b"h\x05"),
    "huge-length": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".",
    "huge-shape": shaped(
      array, b"K\x0aK\x02\x86", b"\x8a\x08" + b"\x7f" * 8 + b"K\x02\x86"
    ),
    "negative": shaped(array, b"K\x0aK\x02\x86", b"J\xff\xff\xff\xffK\x02\x86"),
    "wrong-size": shaped(array, b"K\x0aK\x02\x86", b"K\x0bK\x02\x86"),
    "nested": b"\x80\x02" + b"]" * 10 + b"a" * 9 + b".",
  }


def shaped(data, old, new):
  assert data.count(old) == 1
  return data.replace(old, new)


def zipped(**members):
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, data in members.items():
      archive.writestr(name, data)
  return file.getvalue()


@functools.cache
def of_zip():
  """Name -> archives that hold no clip."""
  array = pickle.dumps(GOOD)
  good = zipped(**{"a.pkl": array})
  many = {f"{i}.txt": b"" for i in range(100)}
  encrypted = bytearray(good)
  encrypted[6] |= 1
  encrypted[good.index(b"PK\1\2") + 8] |= 1
  lies = bytearray(zipped(**{"a.pkl": bytes(4 * LIMIT)}))
  at = lies.index(b"PK\1\2") + 24
  lies[at : at + 4] = struct.pack("<I", 100)
  method = bytearray(good)
  method[8:10] = method[good.index(b"PK\1\2") + 10 :][:2] = b"\x63\0"
  method[good.index(b"PK\1\2") + 10] = 0x63
  damaged = bytearray(good)
  damaged[40] ^= 255
  return {
    "bomb": zipped(**{"a.pkl": bytes(64 * LIMIT)}),
    "bomb-that-lies": bytes(lies),
    "absolute": zipped(**{"/etc/a.pkl": array}),
    "above": zipped(**{"../../a.pkl": array}),
    "above-by-backslash": zipped(**{"..\\a.pkl": array}),
    "drive": zipped(**{"C:/a.pkl": array}),
    "in-another": zipped(**{"inner.zip": good}),
    "many": zipped(**many),
    "long-list": zipped(**{f"{'x' * 60}{i}": b"" for i in range(2000)}),
    "without": zipped(**{"a.npy": b""}),
    "nothing": zipped(),
    "encrypted": bytes(encrypted),
    "unknown-method": bytes(method),
    "damaged": bytes(damaged),
    "cut-at-the-end": good[:-10],
    "cut-in-half": good[: len(good) // 2],
    "empty": b"",
    "noise": np.random.default_rng(1).bytes(3000),
    "a-pickle": array,
    "large": good + bytes(2 * LIMIT),
    "end-alone": b"PK\5\6",
    "end-of-64": b"PK\6\7" + bytes(16) + b"PK\5\6" + bytes(18),
  }


def refuses(path):
  """One line, soon, and in little memory."""
  began = time.monotonic()
  tracemalloc.start()
  with pytest.raises(InputError) as error:
    stores.array(path, LIMIT)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert "\n" not in str(error.value)
  assert str(path) in str(error.value)
  assert peak < 4 * LIMIT
  assert time.monotonic() - began < 5


@pytest.mark.parametrize("name", of_pickle("x"))
def test_hostile_pickles(name, tmp_path):
  place = tmp_path / "made"
  path = tmp_path / "a.zip"
  path.write_bytes(zipped(**{"a.pkl": of_pickle(place)[name]}))
  refuses(path)
  assert not place.exists()
  assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("name", of_zip())
def test_hostile_archives(name, tmp_path):
  path = tmp_path / "a.zip"
  path.write_bytes(of_zip()[name])
  refuses(path)
  assert [*tmp_path.iterdir()] == [path]


def test_what_is_no_file(tmp_path):
  os.mkfifo(tmp_path / "pipe.zip")
  (tmp_path / "folder.zip").mkdir()
  (tmp_path / "loop.zip").symlink_to(tmp_path / "loop.zip")
  (tmp_path / "device.zip").symlink_to("/dev/zero")
  for name in ("pipe", "folder", "loop", "device", "nowhere"):
    refuses(tmp_path / f"{name}.zip")


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize(
  "array",
  [
    GOOD,
    GOOD.astype("f4"),
    GOOD.astype(">f8"),
    GOOD.astype("f2"),
    GOOD.astype("i8"),
    GOOD > 3,
    np.asfortranarray(GOOD),
    GOOD[::2],
    np.arange(24, dtype="u1").reshape(2, 3, 4),
  ],
)
def test_arrays_are_read_as_the_machine_reads_them(array, protocol):
  data = pickle.dumps(array, protocol)
  for written in (data, pickletools.optimize(data)):
    found = pickles.array(written)
    np.testing.assert_array_equal(found, pickle.loads(written))
    assert found.dtype == array.dtype


def test_names_of_the_first_numpy_and_of_python_2():
  data = pickle.dumps(GOOD, 2).replace(b"numpy._core", b"numpy.core")
  np.testing.assert_array_equal(pickles.array(data), GOOD)
  raw = GOOD.astype("<f8").tobytes()
  text = b"T" + struct.pack("<I", len(raw)) + raw
  data = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85"
    b"U\x01b\x87R(K\x01K\x0aK\x02\x86cnumpy\ndtype\nU\x02f8K\0K\x01\x87R"
    b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89"
    + text
    + b"tb."
  )
  np.testing.assert_array_equal(pickles.array(data), GOOD)


@pytest.mark.parametrize(
  "name", ["../a", "a/b", "a\\b", "", ".hidden", "a\0b", "/etc/passwd"]
)
def test_names_lead_nowhere_else(name, tmp_path):
  store = Zips(tmp_path, 2, 10, True, LIMIT)
  with pytest.raises(InputError, match="no name of a clip"):
    store.read(name)


@pytest.mark.parametrize("name", ["häßlich \u2603", "back`tick", "-dash", "%d"])
def test_odd_names_are_names(name, tmp_path):
  mini.zipped(tmp_path, name, GOOD)
  store = Zips(tmp_path, 2, 10, True, LIMIT)
  assert store.missing([name, "other"]) == ["other"]
  np.testing.assert_array_equal(store.read(name), GOOD)


@pytest.mark.parametrize(
  ("array", "words"),
  [
    (np.zeros((0, 2)), "its shape is"),
    (np.zeros((10, 2, 2, 2)), "its shape is"),
    (np.zeros(()), "its shape is"),
    (np.full((10, 2), np.nan), "NaN"),
    (np.full((10, 2), 1e300), "infinity"),
    (np.zeros((10, 3)), "its shape ends in"),
  ],
)
def test_arrays_that_are_no_clips(array, words, tmp_path):
  store = Zips(tmp_path, 2, 10, True, LIMIT)
  mini.zipped(tmp_path, "first", GOOD)
  mini.zipped(tmp_path, "second", array)
  store.read("first")
  with pytest.raises(InputError, match=words):
    store.read("second")
  with pytest.raises(InputError, match="10 steps instead of 9"):
    Zips(tmp_path, 2, 9, False, LIMIT).read("first")


LISTS = {
  "avel": "Vggsound/vggsound-avel40k.csv",
  "ave": "AVE/Annotations.txt",
  "avvp": "AVVP/AVVP_eval_audio_checked_combined.csv",
  "ucf_vgg": "UCF101/ucf2vggsound.csv",
  "clotho": "clotho_captions_evaluation.csv",
  "coco": "captions_val2017.json",
  "msvd": "msvd_test.csv",
  "flickr_sound": "flickr_sound_test.csv",
  "valor": "desc_test.json",
}
CONTENTS = {
  "nothing": b"",
  "lines": b"\n\n\n",
  "no-utf8": b"\xff\xfe\0a",
  "zeros": bytes(1000),
  "semicolons": b"a;b;c\n1;2;3\n",
  "other-columns": b"name,kind\na,b\n",
  "a-long-cell": b"video_id," + b"x" * 200_000 + b"\n",
  "an-open-quote": b'category,video_id,split\n"race car,a,train\n',
  "deep": b"[" * 100_000,
  "a-number": b"1",
  "a-dict": b'{"annotations": 3}',
  "lists-of-lists": b"[[1, 2], [3]]",
  "nulls": b'[{"image_id": null, "caption": 1, "video_id": "a", "desc": {}}]',
  "above": b'[{"image_id": "../../a", "caption": "x", "video_id": "../a",'
  b' "desc": "x"}]',
}


@pytest.mark.parametrize("name", LISTS)
def test_hostile_lists(name, tmp_path):
  config = config_of.get_config(f"data={name}")
  config.data.update(mini.SETS[name](tmp_path))
  path = tmp_path / LISTS[name]
  whole = path.read_bytes()
  doubled = whole + whole.partition(b"\n")[2]
  contents = {**CONTENTS, "half": whole[: len(whole) // 2 + 3]}
  if name in ("avel", "ucf_vgg", "flickr_sound"):
    contents["doubled"] = doubled
  for what, content in contents.items():
    path.write_bytes(content)
    part = {"avvp": "test", "ucf_vgg": "ucf_train"}.get(
      name, releases.RELEASES[name].parts[0]
    )
    outcome = said(name, dict(config.data), part)
    assert outcome or what == "half", what
    assert "\n" not in outcome


def test_hostile_hdf5(tmp_path):
  config = config_of.get_config("data=ave")
  config.data.update(mini.ave(tmp_path))
  options, folder = dict(config.data), tmp_path / "AVE"
  assert not said("ave", options, "test")
  order, features = folder / "val_order.h5", folder / "audio_feature.h5"
  wholes = {path: path.read_bytes() for path in (order, features)}

  def refused(path, words, key=None, **how):
    if key:
      path.unlink()
      with h5py.File(path, "w") as file:
        how["make"](file)
    line = said("ave", options, "test")
    assert words in line, line
    assert "\n" not in line
    path.write_bytes(wholes[path])

  def virtual(key, shape):
    layout = h5py.VirtualLayout(shape, "i8")
    layout[...] = h5py.VirtualSource("/etc/passwd", "x", shape)
    return lambda file: file.create_virtual_dataset(key, layout)

  huge = {"shape": (2**40,), "dtype": "i8", "chunks": (1024,)}
  wide = {"shape": (12, 10, 2**30), "dtype": "f4", "chunks": (1, 1, 1024)}
  outside = h5py.ExternalLink("/etc/passwd", "order")
  for path in wholes:
    for content in (b"", wholes[path][:200], wholes[path][:-100]):
      path.write_bytes(content)
      refused(path, path.name)
  for words, make in {
    "no dataset": lambda file: file.create_group("order"),
    "never written": lambda file: file.create_dataset("order", **huge),
    "another file": virtual("order", (3,)),
    "is a link": lambda file: file.__setitem__("order", outside),
    "must be integers": lambda file: file.create_dataset("order", data=[0.5]),
    "is not in": lambda file: file.create_dataset("order", data=[99]),
  }.items():
    refused(order, words, "order", make=make)
  for words, make in {
    "no 'avadataset'": lambda file: file.create_dataset("x", data=[1.0]),
    "4 clips, but 12": lambda file: file.create_dataset(
      "avadataset", data=np.zeros((4, 10, 6))
    ),
    "axes of numbers": lambda file: file.create_dataset(
      "avadataset", data=np.zeros(12)
    ),
    "never written": lambda file: file.create_dataset("avadataset", **wide),
    "stored in another file": virtual("avadataset", (12, 10, 6)),
  }.items():
    refused(features, words, "avadataset", make=make)


def test_a_pipe_is_no_list(tmp_path):
  config = config_of.get_config("data=msvd")
  config.data.update(mini.msvd(tmp_path))
  (tmp_path / "msvd_test.csv").unlink()
  os.mkfifo(tmp_path / "msvd_test.csv")
  assert "no file" in said("msvd", dict(config.data), "test")


def said(name, options, part):
  """What a reader refuses a list with, or nothing."""
  try:
    releases.RELEASES[name].read(options, part).require()
  except InputError as error:
    return str(error)
  return ""


def test_ids_are_found_in_every_list(tmp_path):
  for name in ("avel", "ave", "avvp", "ucf_vgg"):
    mini.SETS[name](tmp_path)
  found = {
    n: lists.videos(tmp_path / LISTS[n]) for n in ("avel", "ave", "avvp")
  }
  assert "-lUrYZHr22Q" in found["avel"]
  assert "VWi2ENBuTbw" in found["ave"]
  assert "KvIjsmANkxI" in found["avvp"]
  heard = lists.videos(tmp_path / "UCF101" / "vggsound2ucf.csv")
  assert "vggucfvgg00" in heard
  (tmp_path / "x.csv").write_text("a,b\n1,2\n")
  with pytest.raises(InputError, match="names no videos"):
    lists.videos(tmp_path / "x.csv")
