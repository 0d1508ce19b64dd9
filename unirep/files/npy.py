"""Arrays in NumPy's format, from files that may be broken or hostile.

NumPy reads headers and numbers, and nothing is unpickled. Before it takes any
memory, the size that a header tells is compared with the size of the file.
"""

import io
import math
import os
from collections.abc import Iterable, Mapping
from typing import IO, Any, NamedTuple
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy_format

from unirep.files import guard, zips
from unirep.runtime import atomic

SUFFIX = ".npy"
_LONGEST = 10_000  # bytes of a header
# Version -> its reader, and the bytes that hold the length of the header.
_READERS = {
  (1, 0): (npy_format.read_array_header_1_0, 2),
  (2, 0): (npy_format.read_array_header_2_0, 4),
}


class Header(NamedTuple):
  """The header of an array."""

  dtype: np.dtype
  shape: tuple[int, ...]
  fortran: bool

  @property
  def nbytes(self) -> int:
    """Bytes of the array."""
    return math.prod(self.shape) * self.dtype.itemsize


def header(file: IO[bytes]) -> Header:
  """Reads a header; the file is then behind it.

  Raises:
    ValueError: for another format, or an array of anything but plain numbers.
  """
  start = file.read(12)
  version = npy_format.read_magic(io.BytesIO(start))
  if version not in _READERS:
    raise ValueError(f"format {version} is not for plain arrays of numbers")
  reader, width = _READERS[version]
  length = int.from_bytes(start[8 : 8 + width], "little")
  # NumPy would read a header of any length before it refuses a long one.
  if length > _LONGEST:
    raise ValueError(f"its header says that it has {length} bytes")
  text = io.BytesIO(start + file.read(max(0, 8 + width + length - len(start))))
  text.seek(8)
  try:
    shape, fortran, dtype = reader(text)
  except Exception as error:  # nonsense makes its parser raise many types
    raise ValueError("its header is broken") from error
  if dtype.hasobject:
    raise ValueError("it holds Python objects; save plain numbers")
  if dtype.fields or dtype.subdtype:
    raise ValueError(f"it holds {dtype}; save plain real numbers")
  if min(shape, default=0) < 0:
    raise ValueError(f"its shape is {shape}")
  return Header(dtype, shape, fortran)


def check_size(of: Header, there: int) -> None:
  """Raises ValueError if an array does not have exactly the bytes it needs."""
  if there < of.nbytes:
    raise ValueError(f"it is cut off: {there} bytes of {of.nbytes} are there")
  if there > of.nbytes:
    raise ValueError(f"{there - of.nbytes} bytes follow behind its array")


def read(path: guard.Path, most: int | None = None) -> np.ndarray:
  """The array of a .npy file.

  Args:
    path: the file.
    most: bytes that the array may take; `guard.ROOM` if None.

  Raises:
    InputError: if it is no file, or not one with an array of numbers.
  """
  guard.check(path)
  with guard.reading(path), open(path, "rb") as file:
    of = header(file)
    check_size(of, os.fstat(file.fileno()).st_size - file.tell())
    guard.check_room(os.fspath(path), of.nbytes, most)
    file.seek(0)
    return npy_format.read_array(file, allow_pickle=False)


def read_archive(
  path: guard.Path,
  most: int | None = None,
  *,
  keys: Iterable[str] | None = None,
) -> dict[str, Any]:
  """The arrays of an .npz file by their keys.

  Args:
    path: the file.
    most: bytes that the arrays may take together; `guard.ROOM` if None.
    keys: the arrays to read; all if None.

  Raises:
    InputError: if it is no file, or not one with arrays of numbers.
  """
  with zips.opened(path) as archive:
    members = keyed(archive)
    if keys is not None:
      members = {key: members[key] for key in keys}
    size = sum(info.file_size for info in members.values())
    guard.check_room(os.fspath(path), size, most)
    return {key: member(archive, key, info) for key, info in members.items()}


def write_archive(path: guard.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes a compressed .npz file: a whole one or none."""
  with atomic.whole(path) as part, part.open("wb") as file:
    np.savez_compressed(file, allow_pickle=False, **arrays)


def keyed(archive: ZipFile) -> dict[str, ZipInfo]:
  """The members of an .npz file by their keys.

  Raises:
    ValueError: as `zips.members`, or if two members have one key.
  """
  members: dict[str, ZipInfo] = {}
  for info in zips.members(archive):
    key = info.filename.removesuffix(SUFFIX)
    if key in members:
      raise ValueError(f"key {key!r} is there twice")
    members[key] = info
  return members


def member(archive: ZipFile, key: str, info: ZipInfo) -> np.ndarray:
  """The array of a member of an .npz file.

  Raises:
    ValueError: naming the key, if it is no array, or damaged.
  """
  try:
    with archive.open(info) as file:
      of = header(file)
      check_size(of, info.file_size - file.tell())
    with archive.open(info) as file:
      return npy_format.read_array(file, allow_pickle=False)
  except guard.BROKEN as error:
    raise ValueError(f"key {key!r}: {guard.reason(error)}") from error
