"""Pickles, read without the machine that runs pickles.

A pickle is a program, for a machine that imports and calls what it is told.
This one knows a few words, which put values together, and the names that a
reader lets in. It looks no name up and calls nothing of the file's: what a call
stands for, its reader says.
"""

import pickletools
from collections.abc import Callable, Collection
from typing import IO, Any, NamedTuple

WORDS = 10**6  # of a pickle, at most
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
TAKES = {  # word -> how many values it takes off the stack
  **{"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "APPEND": 1, "BUILD": 1},
  **{"SETITEM": 2, "REDUCE": 2, "STACK_GLOBAL": 2, "BINPERSID": 1},
}
UP_TO_MARK = {"TUPLE", "APPENDS", "SETITEMS"}
QUIET = {"PROTO", "FRAME"}


class Name(NamedTuple):
  """A name of a module, which is not looked up."""

  name: str


class Reader(NamedTuple):
  """What may stand in a pickle, and what it means.

  Attributes:
    values: words that have a value beside them.
    names: "MODULE NAME" that it may ask for.
    call: (name, arguments) -> what a call of it stands for.
    build: (what was made, its state): fills the former.
    refer: what stands outside of the pickle -> its value; None: nothing may.
    words: of the pickle, at most.
    size: its bytes, at most; None: as many as there are.
  """

  values: Collection[str]
  names: Collection[str]
  call: Callable[[Name, tuple], Any]
  build: Callable[[Any, Any], None]
  refer: Callable[[Any], Any] | None = None
  words: int = WORDS
  size: int | None = None


def load(stream: IO[bytes] | bytes, reader: Reader) -> Any:
  """The value of one pickle; a stream is then behind it.

  Raises:
    ValueError: for words or names that the reader does not have, or a pickle
      that is cut off, too long, or nonsense.
  """
  try:
    return _run(stream, reader)
  except (IndexError, KeyError, TypeError, AttributeError) as error:
    raise ValueError("its pickle makes no sense") from error


def _run(stream, reader: Reader) -> Any:
  stack, marks, memo, first = [], [], {}, None
  for count, (opcode, argument, position) in enumerate(
    pickletools.genops(stream)
  ):
    word, position = opcode.name, position or 0
    first = position if first is None else first
    if count > reader.words:
      raise ValueError(f"its pickle has more than {reader.words} words")
    if reader.size is not None and position - first > reader.size:
      raise ValueError(f"it has a pickle of more than {reader.size} bytes")
    if word == "STOP":
      break
    if word in reader.values:
      stack.append(argument)
    elif word in CONSTANTS:
      stack.append(CONSTANTS[word])
    elif word in EMPTY:
      stack.append(EMPTY[word]())
    elif word == "MARK":
      marks.append(len(stack))
    elif word in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
      memo[len(memo) if word == "MEMOIZE" else argument] = stack[-1]
    elif word in ("BINGET", "LONG_BINGET"):
      stack.append(memo[argument])
    elif word == "GLOBAL":
      stack.append(_name(str(argument), reader))
    elif word not in QUIET:
      _put_together(word, stack, marks, reader)
  return stack.pop()


def _name(said: str, reader: Reader) -> Name:
  # Newer versions of NumPy have renamed a part.
  said = said.replace("numpy._core.", "numpy.core.")
  if said not in reader.names:
    raise ValueError(f"its pickle asks for {said[:80]!r}, not allowed")
  return Name(said)


def _put_together(word, stack, marks, reader: Reader) -> None:
  """Replaces what lies on top of the stack by what it makes."""
  if word in UP_TO_MARK:
    at = marks.pop()
  elif word in TAKES and (word != "BINPERSID" or reader.refer):
    at = len(stack) - TAKES[word]
  else:
    raise ValueError(f"its pickle has {word}, not allowed")
  if not 0 <= at <= len(stack):
    raise ValueError(f"its pickle has nothing for {word}")
  top = stack[at:]
  del stack[at:]
  if word.startswith("TUPLE"):
    stack.append(tuple(top))
  elif word.startswith("APPEND"):
    stack[-1].extend(top)
  elif word.startswith("SETITEM"):
    _set(stack[-1], top)
  elif word == "STACK_GLOBAL":
    stack.append(_name(" ".join(top), reader))
  elif word == "BINPERSID" and reader.refer:
    stack.append(reader.refer(top[0]))
  elif word == "REDUCE":
    what, arguments = top
    if not isinstance(what, Name) or not isinstance(arguments, tuple):
      raise ValueError("its pickle calls what is no name")
    stack.append(reader.call(what, arguments))
  else:
    reader.build(stack[-1], top[0])


def _set(mapping: dict[Any, Any], items: list[Any]) -> None:
  keys = items[::2]
  if not isinstance(mapping, dict):
    raise ValueError("its pickle has keys of what is no mapping")
  if not all(type(x) in (str, int) for x in keys):
    raise ValueError("it has keys that are no names")
  for key, x in zip(keys, items[1::2], strict=True):
    if key in mapping:
      raise ValueError(f"it has {key!r} twice")
    mapping[key] = x
