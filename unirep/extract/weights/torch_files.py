"""Files of torch.save, without torch."""

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from unirep.extract.weights import pickles
from unirep.extract.weights.pickles import Storage, Tensor
from unirep.reading import zips

WRAPPERS = ("state_dict", "model")  # of training scripts
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the older format


def read_zip(data: bytes) -> dict[str, np.ndarray]:
  """Arrays of a file that torch.save writes since 1.6."""
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    entries = {info.filename: info for info in zips.members(archive)}
    pickled, *others = (x for x in entries if x.split("/")[1:] == ["data.pkl"])
    if others:
      raise ValueError("it has two state dicts")
    root = pickled.split("/")[0]

    def entry(name):
      return _entry(archive, entries[f"{root}/{name}"])

    if f"{root}/byteorder" in entries and entry("byteorder") != b"little":
      raise ValueError("it has big-endian numbers")
    value, _ = pickles.load(io.BytesIO(entry("data.pkl")))
    tensors = _tensors(value)
    flat = {
      s.key: _numbers(s, entry(f"data/{s.key}"))
      for s in {tensor.storage for tensor in tensors.values()}
    }
  return {name: _view(x, flat) for name, x in tensors.items()}


def read_legacy(data: bytes) -> dict[str, np.ndarray]:
  """Arrays of a file that torch.save wrote before 1.6."""
  stream = io.BytesIO(data)
  magic, protocol, system = (pickles.load(stream).value for _ in range(3))
  if (magic, protocol) != (MAGIC, PROTOCOL):
    raise ValueError("it is a pickle, but not of torch.save")
  if not system["little_endian"]:
    raise ValueError("it has big-endian numbers")
  value, storages = pickles.load(stream)
  flat = {}
  for key in pickles.load(stream).value:
    if type(key) is not str:  # a nest of tuples would take years to hash
      raise ValueError("a storage has a key that is no name")
    storage = storages[key]
    (count,) = np.frombuffer(stream.read(8), "<i8")
    size = storage.numbers * _dtype(storage).itemsize
    if count != storage.numbers:
      raise ValueError(f"storage {key!r} has {count} numbers")
    flat[key] = _numbers(storage, stream.read(size))
  return {name: _view(x, flat) for name, x in _tensors(value).items()}


def _entry(archive, info):
  # As it is, none is larger than the file.
  if info.compress_type != zipfile.ZIP_STORED:
    raise ValueError(
      f"{info.filename} is compressed, which torch.save does not do"
    )
  return zips.read(archive, info, info.file_size)


def _tensors(state: Any) -> dict[str, Tensor]:
  """The tensors of a state dict, or of one within it."""
  if not isinstance(state, dict):
    raise ValueError("it holds no state dict")
  for key in WRAPPERS:
    if isinstance(state.get(key), dict):
      state = state[key]
  return {
    name: x
    for name, x in state.items()
    if isinstance(name, str) and isinstance(x, Tensor)
  }


def _dtype(storage: Storage) -> np.dtype:
  bfloat16 = storage.kind == "bfloat16"
  return np.dtype(ml_dtypes.bfloat16 if bfloat16 else storage.kind)


def _numbers(storage: Storage, data: bytes) -> np.ndarray:
  x = np.frombuffer(data, _dtype(storage))
  if len(x) != storage.numbers:
    raise ValueError(f"storage {storage.key!r} has {len(x)} numbers")
  return x


def _view(tensor: Tensor, flat: Mapping[str, np.ndarray]) -> np.ndarray:
  """The array, after checks that it lies in its storage."""
  storage, offset, shape, strides = tensor
  x = flat[storage.key]
  whole = (offset, *shape, *strides)
  if any(type(n) is not int or n < 0 for n in whole):
    raise ValueError("a tensor has a size that is no size")
  last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
  count = math.prod(shape)  # more than there are, where a stride is 0
  if count and not last < len(x) >= count:
    raise ValueError("a tensor lies outside its storage")
  steps = [s * x.itemsize for s in strides]
  return np.lib.stride_tricks.as_strided(
    x[offset:], shape, steps, writeable=False
  )
