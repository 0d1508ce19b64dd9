"""State dicts in files: safetensors, and both formats of torch.save."""

import contextlib
import hashlib
import io
import math
import pathlib
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from unirep.files import guard, torch_pickles, zips
from unirep.files.torch_pickles import Storage, Tensor
from unirep.runtime.errors import InputError, one_line

# `safetensors.numpy.load` does not know BF16.
_DTYPES: dict[str, Any] = {
  **{"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": ml_dtypes.bfloat16},
  **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"},
  "BOOL": "?",
}
HEADER = 2**24  # bytes of a safetensors header: a hundred for each array


class State(NamedTuple):
  """Arrays by name, and the sha256 of the file that they come from."""

  arrays: dict[str, np.ndarray]
  sha256: str


def read(name: str, file: str, wanted: str) -> State:
  """Reads all arrays of a file that a user names.

  Args:
    name: the extractor, for errors.
    file: its path.
    wanted: the file that it should be, for errors.

  Raises:
    InputError: if there is no such file, or it is broken.
  """
  data = guard.read(f"{name}:{file}", file, wanted)
  arrays = parse(f"{name}:{file}", data)
  return State(arrays, hashlib.sha256(data).hexdigest())


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


def parse(source: str, data: bytes) -> dict[str, np.ndarray]:
  """The arrays in a file's bytes, in the precision of the file.

  Args:
    source: the name of the file in errors.
    data: its bytes.

  Raises:
    InputError: for another format, a broken file, or one that asks for code to
      be run.
  """
  parser = _parser(data)
  if parser is None:
    raise InputError(f"{source} is neither of torch.save nor a .safetensors")
  with whole(source):
    return parser(data)


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Saved]:
  """Opens a file of torch.save of any size; arrays are read one by one.

  Raises:
    InputError: as `parse`, or if the file can't be read.
  """
  with guard.opened(str(path), path) as stream:
    head = stream.read(4)
    stream.seek(0)
    if head == b"PK\x03\x04":
      open_ = open_zip
    elif head[:1] == b"\x80":
      open_ = open_legacy
    else:
      raise InputError(f"{path} is no file of torch.save")
    with whole(str(path)):
      saved = open_(stream)

    def numbers(storage: Storage) -> np.ndarray:
      with whole(str(path)):
        return saved.numbers(storage)

    yield saved._replace(numbers=numbers)


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Arrays of a .safetensors file; raises InputError as `opened` does."""
  data = guard.read_bytes(path)
  with whole(str(path)):
    return _parse_safetensors(data)


def write_tensors(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes a .safetensors file, the same bytes for the same arrays."""
  # The package writes the memory of an array as it lies there.
  ordered = {name: np.asarray(x, order="C") for name, x in arrays.items()}
  path.write_bytes(safetensors.numpy.save(ordered))


@contextlib.contextmanager
def whole(source: str) -> Iterator[None]:
  """Turns any exception of a parser into one line that names the file."""
  try:
    yield
  except InputError:
    raise
  # Broken bytes make parsers raise dozens of types.
  except Exception as error:
    line = one_line(f"{type(error).__name__}: {error}")
    raise InputError(f"{source} is broken or cut off ({line})") from error


def _parser(data: bytes) -> Callable[[bytes], dict[str, np.ndarray]] | None:
  if data[8:9] == b"{":  # behind a length, which may look like the others
    return _parse_safetensors
  if data.startswith(b"PK\x03\x04"):
    return _parse_torch(open_zip)
  if data.startswith(b"\x80"):
    return _parse_torch(open_legacy)
  return None


def _parse_torch(open_):
  return lambda data: arrays(open_(io.BytesIO(data)))


def _parse_safetensors(data: bytes) -> dict[str, np.ndarray]:
  if int.from_bytes(data[:8], "little") > HEADER:
    raise ValueError(f"its header has more than {HEADER} bytes")
  tensors = dict(safetensors.deserialize(data))
  return {
    name: np.frombuffer(x["data"], _DTYPES[x["dtype"]]).reshape(x["shape"])
    for name, x in sorted(tensors.items())
  }


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
