"""Arrays in numpy's format, without what numpy does for pickles.

A header is believed where the file is as long as it says.
"""

import ast
import math
import os
from collections.abc import Iterable, Mapping
from typing import IO, Any, NamedTuple
from zipfile import ZipFile, ZipInfo

import numpy as np

from unirep.files import guard, zips

MAGIC = b"\x93NUMPY"
SUFFIX = ".npy"
_LONGEST = 10_000  # bytes of a header
_RANK = 32
_WIDTH = {1: 2, 2: 4}  # version -> bytes that say how long the header is


class Header(NamedTuple):
  """What an array says of itself."""

  dtype: np.dtype
  shape: tuple[int, ...]
  fortran: bool

  @property
  def nbytes(self) -> int:
    """As of an array."""
    return math.prod(self.shape) * self.dtype.itemsize


def header(file: IO[bytes]) -> Header:
  """Reads a header; the file is then behind it.

  Raises:
    ValueError: for another format, or what is no array of plain numbers.
  """
  start = file.read(8)
  if start[:6] != MAGIC:
    raise ValueError(f"it is no .npy array, its magic bytes are {start[:6]!r}")
  version = tuple(start[6:])
  if len(version) < 2 or version[0] not in _WIDTH or version[1]:
    raise ValueError(f"format {version} is not for plain arrays of numbers")
  length = int.from_bytes(file.read(_WIDTH[version[0]]), "little")
  if length > _LONGEST:
    raise ValueError(f"its header says that it has {length} bytes")
  text = file.read(length)
  if len(text) < length:
    raise ValueError("its header is cut off")
  return _parsed(text.decode("latin1"))


def _parsed(text: str) -> Header:
  try:
    said = ast.literal_eval(text.strip(" \n"))
  except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
    raise ValueError("its header is broken") from error
  keys = {"descr", "fortran_order", "shape"}
  if not isinstance(said, Mapping) or {*said} != keys:
    raise ValueError("its header is broken")
  shape, fortran = said["shape"], said["fortran_order"]
  fine = (
    isinstance(fortran, bool)
    and isinstance(shape, tuple)
    and all(type(n) is int for n in shape)
    and len(shape) <= _RANK
  )
  if not fine:
    raise ValueError("its header is broken")
  dtype = _dtype(said["descr"])
  if shape and min(shape) < 0:
    raise ValueError(f"its shape is {shape}")
  if math.prod(max(n, 1) for n in shape) * max(dtype.itemsize, 1) >= 2**63:
    raise ValueError(f"its shape is {shape}, more than any memory")
  return Header(dtype, shape, fortran)


def _dtype(said: Any) -> np.dtype:
  try:
    dtype = np.dtype(said)
  except (TypeError, ValueError, SyntaxError, RecursionError) as error:
    raise ValueError(f"its type {str(said)[:40]!r} is unknown") from error
  if dtype.hasobject:
    raise ValueError("it holds Python objects; save plain numbers")
  if dtype.fields or not isinstance(said, str):
    raise ValueError(f"it holds {dtype}; save plain real numbers")
  return dtype


def check_size(of: Header, room: int) -> None:
  """Raises ValueError where an array has not just the bytes that it needs."""
  if room < of.nbytes:
    raise ValueError(f"it is cut off: {room} bytes of {of.nbytes} are there")
  if room > of.nbytes:
    raise ValueError(f"{room - of.nbytes} bytes follow behind its array")


def array(file: IO[bytes], of: Header) -> np.ndarray:
  """The array behind a header."""
  flat = np.empty(of.nbytes, np.uint8)
  at = 0
  for part in zips.parts(file, of.nbytes):
    flat[at : at + len(part)] = np.frombuffer(part, np.uint8)
    at += len(part)
  order = "F" if of.fortran else "C"
  return flat.view(of.dtype).reshape(of.shape, order=order)


def read(path: guard.Path, most: int = guard.ROOM) -> np.ndarray:
  """The array of a .npy file.

  Args:
    path: the file.
    most: bytes that it may take.

  Raises:
    InputError: if it is no file, or none with an array of numbers.
  """
  guard.check(path)
  with guard.reading(path), open(path, "rb") as file:
    of = header(file)
    check_size(of, os.fstat(file.fileno()).st_size - file.tell())
    _check_room(of.nbytes, most)
    return array(file, of)


def read_archive(
  path: guard.Path,
  most: int = guard.ROOM,
  *,
  keys: Iterable[str] | None = None,
) -> dict[str, Any]:
  """The arrays of an .npz file by their keys.

  Args:
    path: the file.
    most: bytes that all of them may take.
    keys: those that are wanted; all if None.

  Raises:
    InputError: if it is no file, or none with arrays of numbers.
  """
  with zips.opened(path) as archive:
    found = keyed(archive)
    if keys is not None:
      found = {key: found[key] for key in keys}
    _check_room(sum(info.file_size for info in found.values()), most)
    return {key: member(archive, key, info) for key, info in found.items()}


def keyed(archive: ZipFile) -> dict[str, ZipInfo]:
  """The members of an .npz file by their keys.

  Raises:
    ValueError: as `zips.members`, or if a key is there twice.
  """
  found: dict[str, ZipInfo] = {}
  for info in zips.members(archive):
    key = info.filename.removesuffix(SUFFIX)
    if key in found:
      raise ValueError(f"key {key!r} is there twice")
    found[key] = info
  return found


def member(archive: ZipFile, key: str, info: ZipInfo) -> np.ndarray:
  """The array of a member of an .npz file.

  Raises:
    ValueError: naming the key, if it is none, or damaged.
  """
  try:
    with archive.open(info) as file:
      of = header(file)
      check_size(of, info.file_size - file.tell())
      return array(file, of)
  except guard.BROKEN as error:
    raise ValueError(f"key {key!r}: {guard.reason(error)}") from error


def _check_room(needed: int, most: int) -> None:
  if needed > most:
    raise ValueError(
      f"it takes {needed} bytes of memory; at most {most} are read at once"
    )
