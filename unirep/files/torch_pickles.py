"""Pickles of state dicts: the words and names that torch.save writes."""

from typing import IO, Any, NamedTuple

from unirep.files import pickles
from unirep.files.pickles import Name

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
  """A flat piece of numbers that lies elsewhere in the file."""

  key: str
  kind: str  # a value of STORAGES
  numbers: int


class Tensor(NamedTuple):
  """A view of a storage; offset, shape and strides are as the file says."""

  storage: Storage
  offset: Any
  shape: Any
  strides: Any


class Pickled(NamedTuple):
  """A pickle's value, and the storages that it speaks of by their keys."""

  value: Any
  storages: dict[str, Storage]


def load(stream: IO[bytes]) -> Pickled:
  """Reads one pickle; the stream is then behind it.

  Raises:
    ValueError: see `reading.pickles.load`.
  """
  storages: dict[str, Storage] = {}

  def refer(said: Any) -> Storage:
    storage = _storage(said)
    if storages.setdefault(storage.key, storage) != storage:
      raise ValueError(f"storage {storage.key!r} is of two kinds")
    return storage

  reader = pickles.Reader(
    VALUES, KNOWN, _made, _build, refer=refer, size=LARGEST
  )
  return Pickled(pickles.load(stream, reader), storages)


def _build(made, state):
  """Of state dicts it is the versions of modules, which nobody needs."""
  del state
  if not isinstance(made, dict):
    raise ValueError("it sets attributes of what is no state dict")


def _made(what, arguments):
  if what == Name(ORDERED) and not arguments:
    return {}
  if what == Name(PARAMETER) and isinstance(arguments[0], Tensor):
    return arguments[0]
  if what == Name(TENSOR) and isinstance(arguments[0], Storage):
    return Tensor(*arguments[:4])
  raise ValueError("it calls something with what that does not take")


def _storage(said):
  """From ("storage", name, key, device, count), maybe with what it views."""
  tag, kind, key, _, numbers = said[:5]
  fine = (
    tag == "storage"
    and isinstance(kind, Name)
    and kind.name.removeprefix("torch ") in STORAGES
    and type(key) is str
    and type(numbers) is int
    and numbers >= 0
  )
  if not fine or any(x is not None for x in said[5:]):
    raise ValueError("it has a storage of an unknown kind")
  return Storage(key, STORAGES[kind.name.removeprefix("torch ")], numbers)
