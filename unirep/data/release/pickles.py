"""Pickled arrays of numbers: the opcodes and names of NumPy's arrays."""

import math
import re
from typing import Any

import numpy as np

from unirep.files import pickles
from unirep.files.pickles import Name

OPCODES = 10_000  # of a pickle; an array takes fewer than a hundred
VALUES = {
  *("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE"),
  *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
  *("BINSTRING", "SHORT_BINSTRING", "BINUNICODE8"),
}
MAKE, BUFFER = (
  "numpy.core.multiarray _reconstruct",
  "numpy.core.numeric _frombuffer",
)
ARRAY, DTYPE, ENCODE = "numpy ndarray", "numpy dtype", "_codecs encode"
KNOWN = {MAKE, BUFFER, ARRAY, DTYPE, ENCODE}
NUMBERS = re.compile(r"([fiu](1|2|4|8)|b1)")


class _Made:
  """An array or its type, which a pickle makes in two steps."""

  def __init__(self, value: Any = None):
    self.value = value


def array(data: bytes) -> np.ndarray:
  """The array of real numbers that a pickle holds.

  Raises:
    ValueError: for anything else, or a pickle that is cut off or longer than
      an array's.
  """
  reader = pickles.Reader(VALUES, KNOWN, _call, _build, opcodes=OPCODES)
  made = pickles.load(data, reader)
  value = made.value if isinstance(made, _Made) else None
  if not isinstance(value, np.ndarray):
    raise ValueError("its pickle holds something else than an array of numbers")
  return value


def _call(name: Name, arguments: tuple) -> Any:
  """The value that a call stands for; nothing is called."""
  if name == Name(ENCODE):
    text, coding = arguments
    if coding != "latin1":
      raise ValueError("its pickle holds text")
    return text.encode("latin1")
  if name == Name(DTYPE):
    code = arguments[0]
    if isinstance(code, Name) or not NUMBERS.fullmatch(code):
      raise ValueError(f"it holds {str(code)[:20]!r}, no real numbers")
    return _Made(np.dtype(code))
  if name == Name(MAKE) and arguments[0] == Name(ARRAY):
    return _Made()
  if name == Name(BUFFER):
    numbers, dtype, shape, order = arguments
    return _Made(_filled(numbers, dtype, shape, order == "F"))
  raise ValueError("its pickle calls something with what that does not take")


def _build(made: Any, state: Any) -> None:
  """Adds the byte order of a type, or the numbers of an array."""
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
