"""Files of torch.save, without torch.

Only the tensors that a caller asks for are read: a checkpoint may also hold an
optimizer, which takes several times the memory of the model.
"""

import io
import math
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from unirep.files import torch_pickles, zips
from unirep.files.torch_pickles import Storage, Tensor

WRAPPERS = ("state_dict", "model")  # of training scripts
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the older format


class Saved(NamedTuple):
  """An open file.

  Attributes:
    value: its contents, with a `Tensor` in the place of each array.
    numbers: reads the numbers of a storage.
  """

  value: Any
  numbers: Callable[[Storage], np.ndarray]

  def array(self, tensor: Tensor) -> np.ndarray:
    """A tensor as an array; raises ValueError if it is not in the file."""
    check(tensor)
    return _view(tensor, self.numbers(tensor.storage))


def open_zip(stream: IO[bytes]) -> Saved:
  """Opens a file of torch.save since 1.6; the stream must stay open."""
  zips.check_list(stream)
  archive = zipfile.ZipFile(stream)
  members = {info.filename: info for info in zips.members(archive)}
  pickled = [x for x in members if x.split("/")[1:] == ["data.pkl"]]
  if len(pickled) != 1:
    raise ValueError("it is a zip, but not of torch.save")
  root = pickled[0].split("/")[0]
  if f"{root}/constants.pkl" in members:
    raise ValueError("it is a TorchScript program; save its state_dict()")
  order = f"{root}/byteorder"
  if order in members and _entry(archive, members[order], 16) != b"little":
    raise ValueError("it has big-endian numbers")
  data = _entry(archive, members[pickled[0]], torch_pickles.LARGEST)
  value, _ = torch_pickles.load(io.BytesIO(data))

  def numbers(storage: Storage) -> np.ndarray:
    size = storage.numbers * _dtype(storage).itemsize
    return _numbers(
      storage, _entry(archive, members[f"{root}/data/{storage.key}"], size)
    )

  return Saved(value, numbers)


def open_legacy(stream: IO[bytes]) -> Saved:
  """Opens a file of torch.save before 1.6; the stream must stay open."""
  magic, protocol, system = (torch_pickles.load(stream).value for _ in range(3))
  if (magic, protocol) != (MAGIC, PROTOCOL):
    raise ValueError("it is a pickle, but not of torch.save")
  if not system["little_endian"]:
    raise ValueError("it has big-endian numbers")
  value, storages = torch_pickles.load(stream)
  places = {}
  for key in torch_pickles.load(stream).value:
    if type(key) is not str:  # a nest of tuples would take years to hash
      raise ValueError("a storage has a key that is no name")
    if key in places:
      raise ValueError(f"storage {key!r} is there twice")
    storage = storages[key]
    (count,) = struct.unpack("<q", stream.read(8))
    if count != storage.numbers:
      raise ValueError(f"storage {key!r} has {count} numbers")
    places[key] = stream.tell()
    stream.seek(count * _dtype(storage).itemsize, io.SEEK_CUR)
  end = stream.tell()
  if stream.seek(0, io.SEEK_END) < end:
    raise ValueError("it ends within a storage")

  def numbers(storage: Storage) -> np.ndarray:
    stream.seek(places[storage.key])
    size = storage.numbers * _dtype(storage).itemsize
    return _numbers(storage, stream.read(size))

  return Saved(value, numbers)


def nbytes(tensor: Tensor) -> int:
  """Bytes of a tensor that passes `check`."""
  return math.prod(tensor.shape) * _dtype(tensor.storage).itemsize


def dtype(tensor: Tensor) -> np.dtype:
  """The type of a tensor's numbers."""
  return _dtype(tensor.storage)


def check(tensor: Tensor) -> None:
  """Raises ValueError for a tensor that doesn't lie in its storage."""
  storage, offset, shape, strides = tensor
  whole = (offset, *shape, *strides)
  if any(type(n) is not int or n < 0 for n in whole):
    raise ValueError("a tensor has a size that is no size")
  last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
  count = math.prod(shape)  # more than there are, where a stride is 0
  if count and not last < storage.numbers >= count:
    raise ValueError("a tensor lies outside its storage")


def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
  # A stored entry is never larger than the file.
  if info.compress_type != zipfile.ZIP_STORED:
    raise ValueError(
      f"{info.filename} is compressed, which torch.save does not do"
    )
  return zips.read(archive, info, most)


def arrays(saved: Saved) -> dict[str, np.ndarray]:
  """All arrays of a state dict; raises ValueError for anything else."""
  tensors = _tensors(saved.value)
  storages = {tensor.storage for tensor in tensors.values()}
  flat = {storage.key: saved.numbers(storage) for storage in storages}
  views = {}
  for name, tensor in tensors.items():
    check(tensor)
    views[name] = _view(tensor, flat[tensor.storage.key])
  return views


def _tensors(state: Any) -> dict[str, Tensor]:
  """The tensors of a state dict, which may lie in a wrapper."""
  if not isinstance(state, dict):
    raise ValueError("it holds no state dict")
  for key in WRAPPERS:
    if isinstance(state.get(key), Mapping):
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
  dtype = _dtype(storage)
  if len(data) != storage.numbers * dtype.itemsize:
    raise ValueError(f"storage {storage.key!r} has {len(data)} bytes")
  return np.frombuffer(data, dtype)


def _view(tensor: Tensor, flat: np.ndarray) -> np.ndarray:
  """The array of a tensor that passes `check`."""
  _, offset, shape, strides = tensor
  steps = [s * flat.itemsize for s in strides]
  return np.lib.stride_tricks.as_strided(
    flat[offset:], shape, steps, writeable=False
  )
