"""Files that no reader may trust: one line, and soon, at every door."""

import io
import os
import pickle
import signal
import socket
import tracemalloc
import zipfile

import h5py
import numpy as np
import oneline
import pytest

from unirep.data import arrays, hdf5
from unirep.data.annotations import tables
from unirep.data.datasets import extracted, utd
from unirep.data.procedural import speech
from unirep.extract import images, samples, series, texts
from unirep.extract.broken import BrokenError
from unirep.extract.pretrained import captions
from unirep.files import guard, npy, state_dicts
from unirep.jobs import toc
from unirep.runtime.errors import InputError, one_line

DOORS = {
  "features": (arrays.load, "a.npz"),
  "codes": (npy.read_archive, "a.npz"),
  "folder": (lambda x: arrays.load(x.parent), "a.npy"),
  "shards": (lambda x: arrays.load(x.parent), "a.h5"),
  "HDF5": (lambda x: hdf5.array(x, "order"), "a.h5"),
  "table": (lambda x: tables.read_rows(x, ("a",)), "a.csv"),
  "classes": (tables.class_list, "a.txt"),
  "manifest": (lambda x: extracted.manifest(x.parent), "manifest.json"),
  "actions": (lambda x: utd.read(str(x)), "a.npz"),
  "speech": (lambda x: speech.load_speech(str(x.parent)), "3_ann_7.wav"),
  "speech in a zip": (lambda x: speech.load_speech(str(x)), "a.zip"),
  "samples": (lambda x: samples.find(str(x), ["video"]), "a.csv"),
  "image": (lambda x: images.read(str(x), (8, 8)), "a.png"),
  "text": (lambda x: texts.read(str(x)), "a.txt"),
  "series": (lambda x: series.read(str(x), 10), "a.npy"),
  "series as a table": (lambda x: series.read(str(x), 10), "a.csv"),
  "weights": (lambda x: guard.read("n", str(x), "w"), "a.pt"),
  "vocabulary": (lambda x: captions._vocabulary(x.parent, "n"), "vocab.txt"),
  "codebook": (lambda x: toc.read(str(x)), "a.npy"),
}
FOLDERS = {"features", "shards", "speech in a zip", "actions", "codebook"}


@pytest.fixture(autouse=True)
def soon():
  """What waits for ever ends the tests."""
  signal.alarm(10)
  yield
  signal.alarm(0)


def refused(call, *words):
  with pytest.raises((InputError, BrokenError)) as caught:
    call()
  text = getattr(caught.value, "reason", None) or str(caught.value)
  oneline.check(text)
  for word in words:
    assert word in text
  return text


def pipe(path):
  os.mkfifo(path)


def device(path):
  path.symlink_to("/dev/zero")


def bound(path):
  with socket.socket(socket.AF_UNIX) as made:
    made.bind(str(path))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("make", [pipe, device, bound])
def test_what_is_no_file_is_not_opened(make, door, tmp_path, monkeypatch):
  read, name = DOORS[door]
  monkeypatch.chdir(tmp_path)  # the path of a socket may not be long
  make(tmp_path / name if make is not bound else tmp_path.cwd() / name)
  refused(lambda: read(tmp_path / name))


@pytest.mark.parametrize("door", sorted({*DOORS} - FOLDERS))
def test_folders_are_no_files(door, tmp_path):
  read, name = DOORS[door]
  (tmp_path / name).mkdir()
  if door not in ("folder", "speech"):
    refused(lambda: read(tmp_path / name))


CONTENTS = {
  "text": b"this is no data\n" * 20,
  "pickle": pickle.dumps({"a": np.ones(3)}),
  "zeros": bytes(5000),
  "noise": np.random.default_rng(0).bytes(5000),
  "NUL": b"a,b\n\0,1\n",
  "latin1": "Stra\xdfe,\xe4\n1,2\n".encode("latin-1"),
  "html": b"<html><body>404</body></html>",
  "escapes": b"\x1b[2J\x1b[31mred\r\n" * 9,
  "nested": b"[" * 100_000,
  "headers": b"\x93NUMPY\x01\x00\x76\x00" + b"{" * 118,
  "zip": b"PK\x03\x04" + bytes(100),
  "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(2000),
}
TAKES_TEXT = {"text", "classes", "vocabulary", "weights"}


@pytest.mark.parametrize("door", sorted({*DOORS} - TAKES_TEXT))
@pytest.mark.parametrize("kind", CONTENTS)
def test_other_files_of_that_name(kind, door, tmp_path):
  read, name = DOORS[door]
  (tmp_path / name).write_bytes(CONTENTS[kind])
  refused(lambda: read(tmp_path / name))


def header(shape, descr="'<f4'", more="", version=1):
  text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}{more}}}"
  size = len(text).to_bytes(2 * version, "little")
  return b"\x93NUMPY" + bytes([version, 0]) + size + text.encode()


HEADERS = {
  "16 TiB": header((2**40, 4)),
  "more than numbers": header((2**70, 4)),
  "product": header((2**40, 2**40)),
  "empty and huge": header((0, 2**62)),
  "many axes": header((1,) * 100),
  "bool": header((True, 4)),
  "float": header("(1.5, 4)"),
  "names": header("(x, 4)"),
  "call": header("(__import__('os').getpid(), 4)"),
  "deep": header("(" * 3000 + ")" * 3000),
  "minus": header("-" * 5000 + "1"),
  "twice": header((3, 4), more=", 'more': 1"),
  "wide": header((3, 4), "'<U999999999'"),
  "comma": header((3, 4), "'f4,f4'"),
  "record": header((3, 4), "[('a', '<f4')]"),
  "objects": header((3, 4), "'|O'"),
  "unknown": header((3, 4), "'<q9'"),
  "unclosed": b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4\n'''",
  "long": b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 100,
  "version": b"\x93NUMPY\x03\x00" + bytes(100),
}


@pytest.mark.parametrize("save", ["npy", "stored", "deflated"])
@pytest.mark.parametrize("kind", HEADERS)
def test_headers_that_lie(kind, save, tmp_path):
  data = HEADERS[kind] + bytes(48)
  if save == "npy":
    path = tmp_path
    (tmp_path / "audio.npy").write_bytes(data)
    refused(lambda: npy.read(tmp_path / "audio.npy"))
  else:
    path = tmp_path / "a.npz"
    how = zipfile.ZIP_DEFLATED if save == "deflated" else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", how) as archive:
      archive.writestr("audio.npy", data)
    refused(lambda: npy.read_archive(path))
  refused(lambda: arrays.load(path))


def test_bytes_behind_an_array(tmp_path):
  np.save(tmp_path / "audio.npy", np.ones((3, 4)))
  with (tmp_path / "audio.npy").open("ab") as file:
    file.write(b"more")
  refused(lambda: arrays.load(tmp_path), "4 bytes follow")


def test_what_is_packed_has_room(tmp_path, monkeypatch):
  """Beyond it nothing is unpacked, whoever reads, and the mend works."""
  path = tmp_path / "a.npz"
  np.savez_compressed(path, audio=np.zeros((100, 2**16), np.float32))
  assert path.stat().st_size < 2**16
  monkeypatch.setattr(guard, "ROOM", 2**20)
  tracemalloc.start()
  refused(lambda: arrays.load(path), "26214400 bytes of memory", "np.savez")
  assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
  tracemalloc.stop()
  np.savez(path, audio=np.zeros((100, 2**16), np.float32))
  assert len(arrays.load(path)) == 100


def test_a_zip_that_unpacks_to_more_than_it_says(tmp_path):
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("audio.npy", header((3, 4)) + bytes(2**26))
  size = len(header((3, 4))) + 48
  told, lie = (n.to_bytes(4, "little") for n in (2**26 + size - 48, size))
  (tmp_path / "a.npz").write_bytes(buffer.getvalue().replace(told, lie))
  tracemalloc.start()
  refused(lambda: arrays.load(tmp_path / "a.npz"), "'audio' is damaged")
  assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
  tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression(method, tmp_path):
  with zipfile.ZipFile(tmp_path / "a.npz", "w", method) as archive:
    archive.writestr("audio.npy", header((3, 4)) + bytes(48))
  for read in (arrays.load, npy.read_archive):
    refused(lambda read=read: read(tmp_path / "a.npz"), f"method {method}")


@pytest.mark.parametrize(
  ("at", "value", "words"),
  [(6, 1, "encrypted"), (8, 99, "method 99"), (8, 9, "method 9")],
)
def test_marks_of_members(at, value, words, tmp_path):
  """In both of the places where a zip file has them."""
  np.savez(tmp_path / "a.npz", audio=np.ones((3, 4)))
  data = bytearray((tmp_path / "a.npz").read_bytes())
  data[at] = data[data.index(b"PK\x01\x02") + at + 2] = value
  (tmp_path / "a.npz").write_bytes(data)
  refused(lambda: arrays.load(tmp_path / "a.npz"), words)


@pytest.mark.parametrize("names", [("a.npy", "a.npy"), ("a.npy", "a")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_key_that_is_there_twice(names, tmp_path):
  with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
    for name in names:
      archive.writestr(name, header((3, 4)) + bytes(48))
  for read in (arrays.load, npy.read_archive):
    refused(lambda read=read: read(tmp_path / "a.npz"), "is there twice")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_weights_that_are_there_twice():
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w") as archive:
    for _ in range(2):
      archive.writestr("archive/data.pkl", b"\x80\x02}.")
  refused(lambda: state_dicts.parse("w", buffer.getvalue()), "twice")


def sparse(file):
  file.create_dataset("audio", (2**40, 4), "f4", chunks=(1, 4))


def unwritten(file):
  file.create_dataset("audio", (100, 4), "f4")


def half(file):
  made = file.create_dataset("audio", (100, 4), "f4", chunks=(10, 4))
  made[:50] = 1


def large_chunks(file):
  shape = (2, 2**29)
  made = file.create_dataset("audio", shape, "f4", chunks=shape)
  del made


HDF5 = {
  "sparse": (sparse, "never written"),
  "unwritten": (unwritten, "never written"),
  "half": (half, "5 chunks of 10"),
  "large chunks": (large_chunks, "a chunk of 'audio' takes 4294967296 bytes"),
  "words": (lambda f: f.create_dataset("audio", data=["a", "b"]), "real"),
  "vlen": (
    lambda f: f.create_dataset("audio", (3,), h5py.vlen_dtype("f4")),
    "real numbers",
  ),
  "compound": (
    lambda f: f.create_dataset("audio", (3,), [("a", "f4")]),
    "real numbers",
  ),
  "reference": (
    lambda f: f.create_dataset("audio", (3,), h5py.ref_dtype),
    "real numbers",
  ),
  "empty": (lambda f: f.create_dataset("audio", data=h5py.Empty("f4")), ""),
}


@pytest.mark.parametrize("kind", HDF5)
def test_datasets_that_are_not_all_there(kind, tmp_path):
  write, words = HDF5[kind]
  with h5py.File(tmp_path / "a.h5", "w") as file:
    write(file)
  refused(lambda: arrays.load(tmp_path / "a.h5"), "'audio'", words)
  refused(lambda: hdf5.array(tmp_path / "a.h5", "audio"), words)


def test_a_cut_hdf5(tmp_path):
  with h5py.File(tmp_path / "a.h5", "w") as file:
    file["audio"] = np.ones((1000, 4))
  data = (tmp_path / "a.h5").read_bytes()
  for length in (100, 1000, 5000, len(data) - 1):
    (tmp_path / "a.h5").write_bytes(data[:length])
    refused(lambda: arrays.load(tmp_path / "a.h5"))


JSON = {
  "nan": '{"a": NaN}',
  "infinity": '{"a": -Infinity}',
  "overflow": '{"a": 1e999}',
  "digits": '{"a": ' + "9" * 5000 + "}",
  "twice": '{"a": 1, "a": 2}',
  "cut": '{"a": ',
  "two": "{} {}",
  "nul": '{"a": "\0"}',
}


@pytest.mark.parametrize("kind", JSON)
def test_json(kind, tmp_path):
  (tmp_path / "manifest.json").write_text(JSON[kind])
  refused(lambda: extracted.manifest(tmp_path), "manifest.json")


SAMPLES = {
  "semicolons": "id;video\n1;a.mp4\n",
  "twice": "video,video\na.mp4,b.mp4\n",
  "no rows": "id,video\n",
  "no columns": "\n",
  "long": "id,video\n1," + "a" * 2**25,
  "unknown": "id,vidéo\n1,a.mp4\n",
  "escapes": "id,\x1b[2J\n1,2\n",
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_tables_of_samples(kind, tmp_path):
  (tmp_path / "a.csv").write_text(SAMPLES[kind])
  refused(lambda: samples.find(str(tmp_path / "a.csv"), ["video"]))


def test_names_of_classes_that_are_one_number():
  def found(*names):
    return samples.classes([samples.Sample("", {}, label=n) for n in names])

  assert found("1", "01") == {"01": 0, "1": 1}
  assert found("9" * 5000) == {"9" * 5000: 0}
  assert found("7", "3") == {"7": 7, "3": 3}


@pytest.mark.parametrize("line", ["1,x", "x,2", "nan,x"])
def test_a_series_whose_first_line_is_half_a_number(line, tmp_path):
  (tmp_path / "a.csv").write_text(f"{line}\n1,2\n3,4\n")
  refused(lambda: series.read(str(tmp_path / "a.csv"), 10), "its first line")


def test_recordings_that_are_cut_or_packed(tmp_path):
  import recordings

  recordings.wav(tmp_path / "3_ann_7.wav", recordings.tone(500))
  data = (tmp_path / "3_ann_7.wav").read_bytes()
  (tmp_path / "3_ann_7.wav").write_bytes(data[:-100])
  refused(lambda: speech.load_speech(str(tmp_path)), "cut off")


def test_a_message_is_one_line_whatever_it_names():
  text = str(InputError("a\nb\x1b[31m \udcff" + "x" * 10**7))
  oneline.check(text)
  assert len(text) < 2100
  assert one_line("naïve 音 'a'") == "naïve 音 'a'"
