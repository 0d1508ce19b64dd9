"""Files of torch.save, without torch.

Their pickles may name a handful of things, all of which are ours: anything
else is refused, so that nothing of a file is ever run.
"""

import collections
import io
import math
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

STORAGES = {  # torch.NAME -> what its bytes are
  "FloatStorage": "<f4",
  "DoubleStorage": "<f8",
  "HalfStorage": "<f2",
  "BFloat16Storage": "bfloat16",
  "LongStorage": "<i8",
  "IntStorage": "<i4",
  "ShortStorage": "<i2",
  "CharStorage": "i1",
  "ByteStorage": "u1",
  "BoolStorage": "?",
}
# What torch.save writes; there are others, with their own ways to run things.
OPCODES = {
  *("APPEND", "APPENDS", "BINFLOAT", "BINGET", "BININT", "BININT1", "BININT2"),
  *("BINPERSID", "BINPUT", "BINUNICODE", "BUILD", "EMPTY_DICT", "EMPTY_LIST"),
  *("EMPTY_TUPLE", "GLOBAL", "LONG1", "LONG_BINGET", "LONG_BINPUT", "MARK"),
  *("NEWFALSE", "NEWTRUE", "NONE", "PROTO", "REDUCE", "SETITEM", "SETITEMS"),
  *("SHORT_BINSTRING", "STOP", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
}
WRAPPERS = ("state_dict", "model")  # of training scripts
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the older format


class Storage(NamedTuple):
  """A flat piece of numbers that lies elsewhere in the file."""

  key: str
  kind: str  # a value of STORAGES
  numbers: int

  @property
  def dtype(self) -> np.dtype:
    """Of its numbers."""
    bfloat16 = self.kind == "bfloat16"
    return np.dtype(ml_dtypes.bfloat16 if bfloat16 else self.kind)


class Tensor(NamedTuple):
  """A view of a storage; strides count numbers, not bytes."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def read_zip(data: bytes) -> dict[str, np.ndarray]:
  """Arrays of a file that torch.save writes since 1.6."""
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    (pickled,) = (
      x for x in archive.namelist() if x.split("/")[1:] == ["data.pkl"]
    )
    root = pickled.split("/")[0]
    order = f"{root}/byteorder"
    if order in archive.namelist() and _entry(archive, order) != b"little":
      raise ValueError("it has big-endian numbers")
    state, _ = _load(io.BytesIO(_entry(archive, pickled)))
    tensors = _tensors(state)
    flat = {
      s.key: np.frombuffer(_entry(archive, f"{root}/data/{s.key}"), s.dtype)
      for s in {tensor.storage for tensor in tensors.values()}
    }
  return {name: _view(x, flat) for name, x in tensors.items()}


def read_legacy(data: bytes) -> dict[str, np.ndarray]:
  """Arrays of a file that torch.save wrote before 1.6."""
  stream = io.BytesIO(data)
  (magic, _), (protocol, _), (system, _) = (_load(stream) for _ in range(3))
  if (magic, protocol) != (MAGIC, PROTOCOL):
    raise ValueError("it is a pickle, but not of torch.save")
  if not system["little_endian"]:
    raise ValueError("it has big-endian numbers")
  state, storages = _load(stream)
  tensors = _tensors(state)
  keys, _ = _load(stream)
  flat = {}
  for key in keys:
    storage = storages[key]
    (count,) = np.frombuffer(stream.read(8), "<i8")
    if count != storage.numbers:
      raise ValueError(f"storage {key} has {count} numbers")
    size = storage.numbers * storage.dtype.itemsize
    flat[key] = np.frombuffer(stream.read(size), storage.dtype)
  return {name: _view(x, flat) for name, x in tensors.items()}


def _entry(archive, name):
  info = archive.getinfo(name)
  if (
    info.compress_type != zipfile.ZIP_STORED
  ):  # so none is larger than the file
    raise ValueError(f"{name} is compressed, which torch.save does not do")
  return archive.read(info)


def _load(stream):
  """The next pickle's value, and storages by their keys."""
  begin = stream.tell()
  for opcode, argument, at in pickletools.genops(stream):
    if opcode.name not in OPCODES:
      raise pickle.UnpicklingError(f"it has {opcode.name}, not allowed")
    # Memory is taken for as many as this number says.
    if opcode.name.endswith("BINPUT") and argument > at - begin:
      raise pickle.UnpicklingError(f"it keeps a value number {argument}")
  stream.seek(begin)
  unpickler = _Unpickler(stream)
  return unpickler.load(), unpickler.storages


class _Unpickler(pickle.Unpickler):
  """Knows what the pickles of state dicts name, and nothing else."""

  def __init__(self, stream):
    super().__init__(stream)
    self.storages: dict[str, Storage] = {}

  def find_class(self, module: str, name: str) -> Any:
    """What stands for a name of a pickle.

    A pickle may set attributes of what it gets. So it gets what has none, or
    functions that nobody else uses.
    """
    known: dict[str, Callable[..., Any] | str] = {
      "collections.OrderedDict": collections.OrderedDict,
      "torch._utils._rebuild_tensor_v2": (
        lambda storage, offset, shape, strides, *_: Tensor(
          storage, offset, shape, strides
        )
      ),
      "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
      **{f"torch.{x}": kind for x, kind in STORAGES.items()},
    }
    if f"{module}.{name}" not in known:
      raise pickle.UnpicklingError(f"it asks for {module}.{name}, not allowed")
    return known[f"{module}.{name}"]

  def persistent_load(self, pid: Any) -> Storage:
    """What a pickle says of a storage: (tag, kind, key, device, count, ...)."""
    tag, kind, key, _, count = pid[:5]
    fine = isinstance(key, str) and isinstance(count, int) and count >= 0
    if tag != "storage" or kind not in STORAGES.values() or not fine:
      raise pickle.UnpicklingError("it has a storage of an unknown kind")
    if len(pid) > 5 and pid[5] is not None:
      raise pickle.UnpicklingError("it has a storage that views another")
    storage = self.storages.setdefault(key, Storage(key, kind, count))
    if storage != (key, kind, count):
      raise pickle.UnpicklingError(f"storage {key} is of two kinds")
    return storage


def _tensors(state) -> dict[str, Tensor]:
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


def _view(tensor: Tensor, flat: Mapping[str, np.ndarray]) -> np.ndarray:
  """The array, after checks that it lies in its storage."""
  storage, offset, shape, strides = tensor
  x = flat[storage.key]
  whole = (offset, *shape, *strides)
  if any(type(n) is not int or n < 0 for n in whole):
    raise ValueError("a tensor has a size that is no size")
  last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
  fits = not math.prod(shape) or last < len(x) >= math.prod(shape)
  if len(x) != storage.numbers or not fits:
    raise ValueError("a tensor lies outside its storage")
  steps = [s * x.itemsize for s in strides]
  return np.lib.stride_tricks.as_strided(
    x[offset:], shape, steps, writeable=False
  )
