"""Pickled arrays of numbers, read without the machine that runs pickles.

A pickle is a program, for a machine that imports and calls what it is told.
This one knows the words that NumPy's arrays are pickled with and looks no name
up: nothing of a file is run, and none takes more memory or time than it is
long.
"""

import math
import pickletools
import re
from typing import Any

import numpy as np

WORDS = 10_000  # of a pickle; an array takes fewer than a hundred
VALUES = {
  *("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE"),
  *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
  *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE8"),
}
CONSTANTS = {
  "NONE": None,
  "NEWTRUE": True,
  "NEWFALSE": False,
  "EMPTY_TUPLE": (),
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
QUIET = {"PROTO", "FRAME"}
# NAME of a module, without the part that newer versions of NumPy renamed.
MAKE, BUFFER = (
  "numpy.core.multiarray _reconstruct",
  "numpy.core.numeric _frombuffer",
)
ARRAY, DTYPE, ENCODE = "numpy ndarray", "numpy dtype", "_codecs encode"
KNOWN = {MAKE, BUFFER, ARRAY, DTYPE, ENCODE}
NUMBERS = re.compile(r"([fiu](1|2|4|8)|b1)")


class _Name(str):
  """A name of a module, which is not looked up."""


class _Made:
  """What a pickle makes in two steps: an array, or its type."""

  def __init__(self, value: Any = None):
    self.value = value


def array(data: bytes) -> np.ndarray:
  """The array of real numbers that a pickle holds.

  Raises:
    ValueError: for anything else, or a pickle that is cut off or longer than
      an array's.
  """
  try:
    made = _run(data)
  except (IndexError, KeyError, TypeError, AttributeError) as error:
    raise ValueError("its pickle makes no sense") from error
  value = made.value if isinstance(made, _Made) else None
  if not isinstance(value, np.ndarray):
    raise ValueError("its pickle holds something else than an array of numbers")
  return value


def _run(data: bytes) -> Any:
  stack, marks, memo = [], [], {}
  for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
    word = opcode.name
    if count > WORDS:
      raise ValueError(f"its pickle has more than {WORDS} words")
    if word == "STOP":
      break
    if word in VALUES:
      stack.append(argument)
    elif word in CONSTANTS:
      stack.append(CONSTANTS[word])
    elif word == "MARK":
      marks.append(len(stack))
    elif word == "MEMOIZE":
      memo[len(memo)] = stack[-1]
    elif word in ("BINPUT", "LONG_BINPUT"):
      memo[argument] = stack[-1]
    elif word in ("BINGET", "LONG_BINGET"):
      stack.append(memo[argument])
    elif word in ("GLOBAL", "STACK_GLOBAL"):
      stack.append(_name(argument or " ".join([stack.pop(-2), stack.pop()])))
    elif word == "TUPLE" or word in TUPLES:
      at = len(stack) - TUPLES[word] if word in TUPLES else marks.pop()
      if not 0 <= at <= len(stack):
        raise ValueError(f"its pickle has nothing for {word}")
      stack[at:] = [tuple(stack[at:])]
    elif word == "REDUCE":
      stack[-2:] = [_made(*stack[-2:])]
    elif word == "BUILD":
      state = stack.pop()
      _build(stack[-1], state)
    elif word not in QUIET:
      raise ValueError(f"its pickle has {word}, not allowed")
  return stack.pop()


def _name(name: str) -> _Name:
  name = name.replace("numpy._core.", "numpy.core.")
  if name not in KNOWN:
    raise ValueError(f"its pickle asks for {name[:80]!r}, not allowed")
  return _Name(name)


def _made(what: Any, arguments: Any) -> Any:
  """What a call stands for; nothing is called."""
  if not isinstance(what, _Name) or not isinstance(arguments, tuple):
    raise ValueError("its pickle calls what is no name")
  if what == ENCODE:
    text, coding = arguments
    if coding != "latin1":
      raise ValueError("its pickle holds text")
    return text.encode("latin1")
  if what == DTYPE:
    code = arguments[0]
    if isinstance(code, _Name) or not NUMBERS.fullmatch(code):
      raise ValueError(f"it holds {str(code)[:20]!r}, no real numbers")
    return _Made(np.dtype(code))
  if what == MAKE and arguments[0] == ARRAY:
    return _Made()
  if what == BUFFER:
    numbers, dtype, shape, order = arguments
    return _Made(_filled(numbers, dtype, shape, order == "F"))
  raise ValueError("its pickle calls something with what that does not take")


def _build(made: Any, state: Any) -> None:
  """Fills what was begun: a type's byte order, an array's numbers."""
  if not isinstance(made, _Made):
    raise ValueError("its pickle sets attributes of what has none")
  if isinstance(made.value, np.dtype):
    if state[1] not in ("<", ">", "|", "=") or any(
      x is not None for x in state[2:5]
    ):
      raise ValueError("it holds no plain numbers")
    made.value = made.value.newbyteorder(state[1])
  elif made.value is None:
    _, shape, dtype, fortran, numbers = state
    made.value = _filled(numbers, dtype, shape, bool(fortran))
  else:
    raise ValueError("its pickle fills an array twice")


def _filled(numbers: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray:
  if not isinstance(dtype, _Made) or not isinstance(dtype.value, np.dtype):
    raise ValueError("its pickle has an array without a type")
  if not isinstance(shape, tuple) or any(
    type(n) is not int or n < 0 for n in shape
  ):
    raise ValueError("its pickle has an array of no shape")
  if isinstance(numbers, str):  # of Python 2
    numbers = numbers.encode("latin1")
  if len(numbers) != math.prod(shape) * dtype.value.itemsize:
    raise ValueError(f"its pickle has too many or few bytes for {shape[:8]}")
  flat = np.frombuffer(numbers, dtype.value)
  return flat.reshape(shape, order="F" if fortran else "C")
