"""Members of zip files: each once, and no longer than the archive says."""

import contextlib
import os
import pathlib
import struct
import zipfile
from collections.abc import Iterator
from typing import IO
from zipfile import ZipFile, ZipInfo

from unirep.files import guard

LIST = 2**24  # bytes of the list of members: about a hundred for each
# Python unpacks the others without a limit.
_METHODS = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENCRYPTED = 0x1
_TAIL = 2**16 + 200  # bytes of the longest end, its comment included


@contextlib.contextmanager
def opened(path: guard.Path, most: int = LIST) -> Iterator[ZipFile]:
  """Opens a zip file.

  Args:
    path: the file.
    most: bytes that the list of its members may have.

  Raises:
    InputError: if it is no file, or broken; also for exceptions that reading
      it raises within.
  """
  guard.check(path)
  with guard.reading(path), open(path, "rb") as file:
    check_list(file, most)
    with ZipFile(file) as archive:
      yield archive


def check_list(file: IO[bytes], most: int = LIST) -> None:
  """Raises ValueError for a list of members that would fill the memory."""
  _, length = _end(file)
  if length > most:
    raise ValueError(f"its list of members has {length} bytes; at most {most}")
  file.seek(0)


def members(archive: ZipFile) -> list[ZipInfo]:
  """The files in an archive, in their order.

  Raises:
    ValueError: if there are none, or another number than the archive says; for
      a name that is there twice or leads elsewhere, a member that can't be
      read, or members longer than the zip file.
  """
  files = [info for info in archive.infolist() if not info.is_dir()]
  if not files:
    raise ValueError("it has no members")
  seen: set[str] = set()
  for info in files:
    if info.filename in seen:
      raise ValueError(f"{info.filename!r} is there twice")
    seen.add(info.filename)
    _check(info)
  assert archive.fp
  length = archive.fp.seek(0, os.SEEK_END)
  if sum(info.compress_size for info in files) > length:
    raise ValueError("its members are longer than the file")
  (promised, _), there = _end(archive.fp), len(archive.infolist())
  if promised != there:
    raise ValueError(f"it says that it has {promised} members, not {there}")
  return files


def _end(file: IO[bytes]) -> tuple[int, int]:
  """The number of members, and the bytes of their list, by the file's end."""
  size = file.seek(0, os.SEEK_END)
  file.seek(max(size - _TAIL, 0))
  tail = file.read()
  at = tail.rfind(b"PK\5\6")
  if at < 0 or len(tail) - at < 16:
    raise ValueError("it is no zip, or ends before the list of its members")
  count, length = struct.unpack_from("<HL", tail, at + 10)
  large = tail.rfind(b"PK\6\6", 0, at)  # larger files have both here
  if 0 <= large <= len(tail) - 48:
    whole, length = struct.unpack_from("<QQ", tail, large + 32)
    count = whole if count == 0xFFFF else count
  return count, length


def _check(info: ZipInfo) -> None:
  name = info.filename
  path = pathlib.PureWindowsPath(name)  # it knows all ways to lead away
  if path.drive or path.root or ".." in path.parts:
    raise ValueError(f"{name!r} lies outside of it")
  if info.flag_bits & _ENCRYPTED:
    raise ValueError(f"{name!r} is encrypted")
  if info.compress_type not in _METHODS:
    raise ValueError(
      f"{name!r} is compressed by method {info.compress_type}; zip it with"
      " deflate, or as it is"
    )
  stored = info.compress_type == zipfile.ZIP_STORED
  if stored and info.compress_size != info.file_size:
    raise ValueError(f"{name!r} has two lengths")


def read(archive: ZipFile, info: ZipInfo, most: int) -> bytes:
  """All bytes of a member, whose checksum is right.

  Raises:
    ValueError: for more than `most` bytes, or fewer than the archive says.
  """
  if info.file_size > most:
    raise ValueError(
      f"{info.filename!r} has {info.file_size} bytes; at most {most}"
    )
  with archive.open(info) as file:
    data = file.read(info.file_size)  # without a size it may unpack more
  if len(data) < info.file_size:
    raise ValueError(
      f"it is cut off: {len(data)} bytes of {info.file_size} are there"
    )
  return data
