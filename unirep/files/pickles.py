"""Pickles, read without running them.

A pickle is a program; Python's unpickler imports and calls anything that the
program names. This one knows a few opcodes, which put values together. It
looks no name up and calls nothing: a reader lists the names that may occur, and
decides the value that a call stands for.
"""

import pickletools
from collections.abc import Callable, Collection
from typing import IO, Any, NamedTuple

OPCODES = 10**6  # opcodes of a pickle, at most
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
TAKES = {  # opcode -> the number of values that it takes off the stack
  **{"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "APPEND": 1, "BUILD": 1},
  **{"SETITEM": 2, "REDUCE": 2, "STACK_GLOBAL": 2, "BINPERSID": 1},
}
UP_TO_MARK = {"TUPLE", "APPENDS", "SETITEMS"}
QUIET = {"PROTO", "FRAME"}


class Name(NamedTuple):
  """A name of a module, which is not looked up."""

  name: str


class Reader(NamedTuple):
  """The contents that a pickle may have, and their meaning.

  Attributes:
    values: opcodes that push their own argument.
    names: each "MODULE NAME" that the pickle may ask for.
    call: (name, arguments) -> the value that such a call stands for.
    build: (value of a call, state): fills the value with its state.
    refer: persistent id -> the value outside of the pickle that it names. If
      None, pickles with such ids are refused.
    opcodes: number of opcodes in the pickle, at most.
    size: bytes of the pickle, at most; any number if None.
  """

  values: Collection[str]
  names: Collection[str]
  call: Callable[[Name, tuple], Any]
  build: Callable[[Any, Any], None]
  refer: Callable[[Any], Any] | None = None
  opcodes: int = OPCODES
  size: int | None = None


def load(stream: IO[bytes] | bytes, reader: Reader) -> Any:
  """The value of one pickle; a stream is then behind it.

  Raises:
    ValueError: for opcodes or names that the reader does not have, or a pickle
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
    op, position = opcode.name, position or 0
    first = position if first is None else first
    if count > reader.opcodes:
      raise ValueError(f"its pickle has more than {reader.opcodes} opcodes")
    if reader.size is not None and position - first > reader.size:
      raise ValueError(f"it has a pickle of more than {reader.size} bytes")
    if op == "STOP":
      break
    if op in reader.values:
      stack.append(argument)
    elif op in CONSTANTS:
      stack.append(CONSTANTS[op])
    elif op in EMPTY:
      stack.append(EMPTY[op]())
    elif op == "MARK":
      marks.append(len(stack))
    elif op in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
      memo[len(memo) if op == "MEMOIZE" else argument] = stack[-1]
    elif op in ("BINGET", "LONG_BINGET"):
      stack.append(memo[argument])
    elif op == "GLOBAL":
      stack.append(_name(str(argument), reader))
    elif op not in QUIET:
      _put_together(op, stack, marks, reader)
  return stack.pop()


def _name(text: str, reader: Reader) -> Name:
  # Newer versions of NumPy have renamed a module.
  text = text.replace("numpy._core.", "numpy.core.")
  if text not in reader.names:
    raise ValueError(f"its pickle asks for {text[:80]!r}, not allowed")
  return Name(text)


def _put_together(op, stack, marks, reader: Reader) -> None:
  """Replaces the values on top of the stack by the one that they make."""
  if op in UP_TO_MARK:
    at = marks.pop()
  elif op in TAKES and (op != "BINPERSID" or reader.refer):
    at = len(stack) - TAKES[op]
  else:
    raise ValueError(f"its pickle has {op}, not allowed")
  if not 0 <= at <= len(stack):
    raise ValueError(f"its pickle has nothing for {op}")
  top = stack[at:]
  del stack[at:]
  if op.startswith("TUPLE"):
    stack.append(tuple(top))
  elif op.startswith("APPEND"):
    stack[-1].extend(top)
  elif op.startswith("SETITEM"):
    _set(stack[-1], top)
  elif op == "STACK_GLOBAL":
    stack.append(_name(" ".join(top), reader))
  elif op == "BINPERSID" and reader.refer:
    stack.append(reader.refer(top[0]))
  elif op == "REDUCE":
    name, arguments = top
    if not isinstance(name, Name) or not isinstance(arguments, tuple):
      raise ValueError("its pickle calls what is no name")
    stack.append(reader.call(name, arguments))
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
