"""Readers, valid files for them, and what may come of a broken one."""

import csv
import io
import json
import pathlib
import struct
import wave
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import state_files

from unirep.data import formats
from unirep.data.annotations import tables
from unirep.extract import containers, images, samples, series
from unirep.extract.broken import BrokenError
from unirep.extract.pretrained import pieces
from unirep.files import guard, state_dicts
from unirep.runtime.errors import InputError

REFUSED = InputError, BrokenError


class Target(NamedTuple):
  """A reader under test.

  Attributes:
    data: of a valid file.
    name: that it gets.
    read: path -> name -> array.
    right: (bytes of the file, what was read) -> whether that is what they say.
      None for formats with checksums: only what the valid file holds is right.
  """

  data: bytes
  name: str
  read: Callable[[pathlib.Path], dict[str, Any]]
  right: Callable[[bytes, dict[str, Any]], bool] | None = None


def contents():
  rng = np.random.default_rng(0)
  return {
    "video": rng.normal(size=(7, 2, 3)).astype(np.float16),
    "audio": rng.integers(0, 3, (7, 40)).astype(np.float32),
    "length/video": rng.integers(1, 3, 7),
    "label/class": rng.integers(0, 3, 7, np.uint8),
  }


def columns(path):
  found = formats.read(path)
  formats.check_room(path, found)
  return {key: np.asarray(x) for key, x in found.items()}


def beside(path):
  """A folder of two shards, of which one is good."""
  (path.parent / "000.npz").write_bytes(npz(np.savez))
  return columns(path.parent)


def npz(save):
  file = io.BytesIO()
  save(file, **contents())
  return file.getvalue()


def npy():
  file = io.BytesIO()
  np.save(file, contents()["audio"])
  return file.getvalue()


def as_numpy(data, found):
  """Whether numpy reads the same, behind its header and nothing else."""
  (x,) = found.values()
  file = io.BytesIO(data)
  wanted = np.load(file, allow_pickle=False)
  return x.dtype == wanted.dtype and x.tobytes() == wanted.tobytes()


def hdf5(**options):
  import h5py

  file = io.BytesIO()
  with h5py.File(file, "w") as made:
    for key, x in contents().items():
      made.create_dataset(key, data=x, **options)
  return file.getvalue()


def numbers(data, found):
  """Whether it is numbers, no more than a packed file of that length holds."""
  most = 1100 * len(data) + 2**20
  return all(
    x.dtype.kind in "fiub" and x.nbytes <= most for x in found.values()
  )


def wav():
  file = io.BytesIO()
  with wave.open(file, "wb") as out:
    out.setnchannels(1)
    out.setsampwidth(2)
    out.setframerate(8000)
    tone = np.sin(np.arange(4000)) * 9000
    out.writeframes(tone.astype("<i2").tobytes())
  return file.getvalue()


def heard(path):
  track = containers.wave(str(path), 0.0, 0.5, 8000)
  return {} if track is None else {"wave": track.values}


def finite(data, found):
  del data
  return all(np.isfinite(x).all() for x in found.values())


def png():
  def chunk(kind, data):
    body = kind + data
    crc = struct.pack(">I", zlib.crc32(body))
    return struct.pack(">I", len(data)) + body + crc

  rng = np.random.default_rng(0)
  rows = b"".join(b"\0" + rng.bytes(3 * 16) for _ in range(16))
  head = struct.pack(">IIBBBBB", 16, 16, 8, 2, 0, 0, 0)
  parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
  return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def seen(path):
  return {"image": images.read(str(path), (8, 8))}


def table():
  file = io.StringIO()
  writer = csv.writer(file)
  writer.writerow(["id", "video", "text", "label", "split", "start", "end"])
  for i in range(12):
    row = [f"n{i}", f"v{i}.mp4", 'a "dog", barks', i % 3, "train", i, i + 1]
    writer.writerow(row)
  return file.getvalue().encode()


def listed(path):
  found = samples.table(path, {"video"})
  samples.classes(found)
  return {sample.id: np.array(sample.start) for sample in found}


def curves():
  rng = np.random.default_rng(0)
  lines = (
    f"{i / 10},{x:.4f},{y}" for i, (x, y) in enumerate(rng.random((9, 2)))
  )
  return "\n".join(["time,a,b", *lines]).encode()


def manifest():
  value = {"seconds": 1.0, "steps": 10, "words": [1, 2, {"a": None}] * 5}
  return json.dumps(value, indent=1).encode()


def as_json(data, found):
  return found["value"] == json.loads(data.decode("utf-8-sig"))


def parsed(path):
  return state_dicts.parse("weights", path.read_bytes())


def small(data, found):
  return sum(x.nbytes for x in found.values()) <= 64 * len(data)


def tensors():
  x = np.arange(6)
  made = state_files.tensor("k", 6, 0, (2, 3), (3, 1))
  return state_files.state(weight=made), x


def safetensors():
  from safetensors import numpy

  return numpy.save({"a": np.ones((2, 3)), "b": np.arange(5, dtype=np.float32)})


def jpeg():
  from PIL import Image

  file = io.BytesIO()
  x = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
  Image.fromarray(x).save(file, "JPEG")
  return file.getvalue()


def annotated(path):
  found = tables.read_rows(path, ("filename", "event_labels"))
  return {row.where: np.array(len(row.cells)) for row in found}


def annotations():
  lines = [f"video{i},'Dog, bark'" if i % 2 else f"v{i},Cat" for i in range(9)]
  return "\n".join(["filename,event_labels", *lines]).replace("'", '"').encode()


VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "dog", "bark", "##s")


def vocabulary():
  made = pieces.tokenizer("x", "\n".join(VOCABULARY), 16)
  return made.to_str().encode()


def tokenized(path):
  made = pieces.tokenizer("x", guard.read_text(path), 16)
  return {"ids": np.array(made.encode("dogs bark").ids)}


TARGETS = {
  "npz stored": Target(npz(np.savez), "a.npz", columns),
  "npz deflated": Target(npz(np.savez_compressed), "a.npz", columns),
  "npy": Target(npy(), "audio.npy", lambda x: columns(x.parent), as_numpy),
  "npz shards": Target(npz(np.savez), "001.npz", beside),
  "hdf5": Target(hdf5(), "a.h5", columns, numbers),
  "hdf5 gzip": Target(
    hdf5(chunks=True, compression="gzip"), "a.h5", columns, numbers
  ),
  "wav": Target(wav(), "a.wav", heard, finite),
  "png": Target(png(), "a.png", seen, finite),
  "jpg": Target(jpeg(), "a.jpg", seen, finite),
  "annotations": Target(annotations(), "a.csv", annotated, finite),
  "tokenizer": Target(vocabulary(), "tokenizer.json", tokenized, finite),
  "csv of samples": Target(table(), "a.csv", listed, finite),
  "csv of a sensor": Target(
    curves(), "a.csv", lambda x: {"x": series.read(str(x), 20)}, finite
  ),
  "json": Target(
    manifest(), "a.json", lambda x: {"value": guard.read_json(x)}, as_json
  ),
  "torch": Target(
    state_files.modern(tensors()[0], k=tensors()[1]), "a.pt", parsed
  ),
  "torch legacy": Target(
    state_files.legacy(tensors()[0], k=tensors()[1]), "a.pt", parsed, small
  ),
  "safetensors": Target(safetensors(), "a.safetensors", parsed, small),
}
