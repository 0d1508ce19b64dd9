"""Pickles of state dicts, read without the machine that runs pickles.

A pickle is a program, for a machine that imports and calls what it is told.
This one knows the words that torch.save writes, and nothing that it could call:
so nothing of a file is run, and none takes more memory or time than it is long.
"""

import pickletools
from typing import IO, Any, NamedTuple

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
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
TAKES = {  # word -> how many values it takes off the stack
  **{"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "APPEND": 1, "BUILD": 1},
  **{"SETITEM": 2, "REDUCE": 2},
}


class Name(NamedTuple):
  """A name of a module, which is not looked up."""

  name: str


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
    ValueError: for words or names that state dicts do not have, or one that
      is cut off. Others (IndexError, KeyError) for nonsense.
  """
  stack, marks, memo, storages = [], [], {}, {}
  first = stream.tell()
  for opcode, argument, position in pickletools.genops(stream):
    word = opcode.name
    if (position or 0) - first > LARGEST:
      raise ValueError(f"it has a pickle of more than {LARGEST} bytes")
    if word == "STOP":
      break
    if word in VALUES:
      stack.append(argument)
    elif word in CONSTANTS:
      stack.append(CONSTANTS[word])
    elif word in EMPTY:
      stack.append(EMPTY[word]())
    elif word == "MARK":
      marks.append(len(stack))
    elif word.endswith("BINPUT"):
      memo[argument] = stack[-1]
    elif word.endswith("BINGET"):
      stack.append(memo[argument])
    elif word == "BINPERSID":
      storage = _storage(stack.pop())
      if storages.setdefault(storage.key, storage) != storage:
        raise ValueError(f"storage {storage.key!r} is of two kinds")
      stack.append(storage)
    elif word == "GLOBAL":
      if argument not in KNOWN:
        raise ValueError(f"it asks for {argument}, not allowed")
      stack.append(Name(argument))
    elif word != "PROTO":
      _put_together(word, stack, marks)
  return Pickled(stack.pop(), storages)


def _put_together(word, stack, marks):
  """Replaces what lies on top of the stack by what it makes."""
  if word in ("TUPLE", "APPENDS", "SETITEMS"):
    at = marks.pop()
  else:
    if word not in TAKES:
      raise ValueError(f"it has {word}, not allowed")
    at = len(stack) - TAKES[word]
  if at < 0:
    raise ValueError(f"it has nothing for {word}")
  top = stack[at:]
  del stack[at:]
  if word.startswith("TUPLE"):
    stack.append(tuple(top))
  elif word.startswith("APPEND"):
    stack[-1].extend(top)
  elif word.startswith("SETITEM"):
    keys = top[::2]
    if not all(type(x) in (str, int) for x in keys):
      raise ValueError("it has keys that are no names")
    for key, x in zip(keys, top[1::2], strict=True):
      if key in stack[-1]:
        raise ValueError(f"it has {key!r} twice")
      stack[-1][key] = x
  elif word == "REDUCE":
    stack.append(_made(*top))
  # BUILD sets attributes: of state dicts the versions of modules, which nobody
  # needs.
  elif not (stack and isinstance(stack[-1], dict)):
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
