"""Pickles of state dicts: the opcodes and names that torch.save writes."""

from typing import IO, Any, NamedTuple

from unirep.files import pickles
from unirep.files.pickles import Name

STORAGES = {  # torch.NAME -> the type of its numbers
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
LARGEST = 2**21  # bytes: a hundred for each tensor; objects take more
TENSOR = "torch._utils _rebuild_tensor_v2"
PARAMETER = "torch._utils _rebuild_parameter"
ORDERED = "collections OrderedDict"
KNOWN = {TENSOR, PARAMETER, ORDERED, *(f"torch {x}" for x in STORAGES)}
VALUES = {
  *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"),
  "SHORT_BINSTRING",
}


class Storage(NamedTuple):
  """A flat array of numbers that lies elsewhere in the file."""

  key: str
  kind: str  # a value of STORAGES
  numbers: int


class Tensor(NamedTuple):
  """A view of a storage; offset, shape and strides are still unchecked."""

  storage: Storage
  offset: Any
  shape: Any
  strides: Any


class Pickled(NamedTuple):
  """The value of a pickle, and its storages by their keys."""

  value: Any
  storages: dict[str, Storage]


def load(stream: IO[bytes]) -> Pickled:
  """Reads one pickle; the stream is then behind it.

  Raises:
    ValueError: see `pickles.load`.
  """
  storages: dict[str, Storage] = {}

  def refer(parts: Any) -> Storage:
    storage = _storage(parts)
    if storages.setdefault(storage.key, storage) != storage:
      raise ValueError(f"storage {storage.key!r} is of two kinds")
    return storage

  reader = pickles.Reader(
    VALUES, KNOWN, _call, _build, refer=refer, size=LARGEST
  )
  return Pickled(pickles.load(stream, reader), storages)


def _build(value, state):
  """Drops the state: of a state dict it is the versions of modules."""
  del state
  if not isinstance(value, dict):
    raise ValueError("it sets attributes of what is no state dict")


def _call(name, arguments):
  if name == Name(ORDERED) and not arguments:
    return {}
  if name == Name(PARAMETER) and isinstance(arguments[0], Tensor):
    return arguments[0]
  if name == Name(TENSOR) and isinstance(arguments[0], Storage):
    return Tensor(*arguments[:4])
  raise ValueError("it calls something with what that does not take")


def _storage(parts):
  """From ("storage", name, key, device, count), and maybe a viewed storage."""
  tag, kind, key, _, numbers = parts[:5]
  fine = (
    tag == "storage"
    and isinstance(kind, Name)
    and kind.name.removeprefix("torch ") in STORAGES
    and type(key) is str
    and type(numbers) is int
    and numbers >= 0
  )
  if not fine or any(x is not None for x in parts[5:]):
    raise ValueError("it has a storage of an unknown kind")
  return Storage(key, STORAGES[kind.name.removeprefix("torch ")], numbers)
