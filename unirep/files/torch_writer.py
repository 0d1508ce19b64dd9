"""Writer of the files of torch.save, without torch; see `torch_reader`.

It uses only opcodes that `torch.load(..., weights_only=True)` takes. Arrays
that are one object share their numbers, as tied weights do.
"""

import pathlib
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from unirep.files import torch_pickles

ROOT = "archive"
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
STORAGES = {
  BFLOAT16 if kind == "bfloat16" else np.dtype(kind): name
  for name, kind in torch_pickles.STORAGES.items()
}


def write(path: pathlib.Path, value: Mapping[str, Any]) -> None:
  """Writes a file; the same bytes for the same value.

  Args:
    path: the file.
    value: arrays, whole numbers, or mappings of them, by name.
  """
  storages: dict[int, tuple[str, np.ndarray]] = {}
  pickled = b"\x80\x02" + _value(value, storages) + b"."
  with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:

    def entry(name: str, data: bytes) -> None:
      archive.writestr(zipfile.ZipInfo(f"{ROOT}/{name}"), data)

    entry("data.pkl", pickled)
    entry("byteorder", b"little")
    for key, x in storages.values():
      entry(f"data/{key}", np.ascontiguousarray(x).tobytes())
    entry("version", b"3\n")


def _value(value: Any, storages: dict[int, tuple[str, np.ndarray]]) -> bytes:
  """Opcodes that leave a value on the stack."""
  if isinstance(value, Mapping):
    items = [_text(k) + _value(x, storages) for k, x in value.items()]
    return _global(torch_pickles.ORDERED) + b")R(" + b"".join(items) + b"u"
  if isinstance(value, np.ndarray):
    key, _ = storages.setdefault(id(value), (str(len(storages)), value))
    return _tensor(key, value)
  return _whole(value)


def _tensor(key: str, x: np.ndarray) -> bytes:
  kind = _global(f"torch {STORAGES[x.dtype]}")
  storage = _text("storage") + kind + _text(key) + _text("cpu") + _whole(x.size)
  steps = [n // x.itemsize for n in np.empty(x.shape, x.dtype).strides]
  sizes = [b"(" + b"".join(map(_whole, n)) + b"t" for n in (x.shape, steps)]
  hooks = _global(torch_pickles.ORDERED) + b")R"
  view = b"((" + storage + b"tQ" + _whole(0) + b"".join(sizes) + b"\x89"
  return _global(torch_pickles.TENSOR) + view + hooks + b"tR"


def _global(name: str) -> bytes:
  module, _, attribute = name.partition(" ")
  return f"c{module}\n{attribute}\n".encode()


def _text(text: str) -> bytes:
  data = text.encode()
  return b"X" + struct.pack("<I", len(data)) + data


def _whole(number: int) -> bytes:
  if -(2**31) <= number < 2**31:
    return b"J" + struct.pack("<i", number)
  return b"\x8a\x09" + int(number).to_bytes(9, "little", signed=True)
