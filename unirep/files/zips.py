"""Members of zip files: known, each once, and no longer than they say."""

import contextlib
import io
import os
import pathlib
import struct
import zipfile
from collections.abc import Iterator
from typing import IO
from zipfile import ZipFile, ZipInfo

from unirep.files import guard

LIST = 2**24  # bytes of the list of members: about a hundred for each
STEP = 2**22  # bytes that are unpacked at once
# Python unpacks the others without a limit.
_METHODS = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
_ENCRYPTED = 0x1
_TAIL = 2**16 + 200  # bytes of the longest end, its comment included


@contextlib.contextmanager
def opened(path: guard.Path, most: int = LIST) -> Iterator[ZipFile]:
  """A zip file.

  Args:
    path: the file.
    most: bytes of the list of its members.

  Raises:
    InputError: if it is no file, or broken; also for what is raised of it
      within.
  """
  guard.check(path)
  with guard.reading(path), open(path, "rb") as file:
    check_list(file, most)
    with ZipFile(file) as archive:
      yield archive


def check_list(file: IO[bytes], most: int = LIST) -> None:
  """Raises ValueError for a list of members that would fill the memory."""
  size = file.seek(0, os.SEEK_END)
  file.seek(max(size - _TAIL, 0))
  tail = file.read()
  at = tail.rfind(b"PK\5\6")
  if at < 0 or len(tail) - at < 16:
    raise ValueError("it is no zip, or ends before the list of its members")
  (length,) = struct.unpack_from("<L", tail, at + 12)
  large = tail.rfind(b"PK\6\6", 0, at)  # where a larger file says it
  if 0 <= large <= len(tail) - 48:
    (length,) = struct.unpack_from("<Q", tail, large + 40)
  if length > most:
    raise ValueError(f"its list of members has {length} bytes; at most {most}")
  file.seek(0)


def members(archive: ZipFile) -> list[ZipInfo]:
  """Its files, in their order.

  Raises:
    ValueError: for none, a name that is there twice or leads elsewhere, a
      member that can't be read, or more or longer members than the zip file
      has.
  """
  found = [info for info in archive.infolist() if not info.is_dir()]
  if not found:
    raise ValueError("it has no members")
  seen: set[str] = set()
  for info in found:
    if info.filename in seen:
      raise ValueError(f"{info.filename!r} is there twice")
    seen.add(info.filename)
    _check(info)
  assert archive.fp
  length = archive.fp.seek(0, os.SEEK_END)
  if sum(info.compress_size for info in found) > length:
    raise ValueError("its members are longer than the file")
  archive.fp.seek(max(0, length - _TAIL))
  promised, there = _promised(archive.fp.read()), len(archive.infolist())
  if promised != there:
    raise ValueError(f"it says that it has {promised} members, not {there}")
  return found


def _promised(tail: bytes) -> int:
  """How many members the end of a zip file speaks of."""
  end = tail.rfind(b"PK\x05\x06")
  count = int.from_bytes(tail[end + 10 : end + 12], "little")
  large = tail.rfind(b"PK\x06\x06", 0, end)
  if count == 0xFFFF and large >= 0:
    count = int.from_bytes(tail[large + 32 : large + 40], "little")
  return count


def _check(info: ZipInfo) -> None:
  name = info.filename
  path = pathlib.PureWindowsPath(name)  # which knows all ways to lead away
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
    ValueError: for more than `most` bytes, or fewer than it says.
  """
  if info.file_size > most:
    raise ValueError(
      f"{info.filename!r} has {info.file_size} bytes; at most {most}"
    )
  room = io.BytesIO()
  with archive.open(info) as file:
    for part in parts(file, info.file_size):
      room.write(part)
  return room.getvalue()


def parts(file: IO[bytes], size: int) -> Iterator[bytes]:
  """Yields the next `size` bytes of a file, some at a time.

  Raises:
    ValueError: if it ends before.
  """
  left = size
  while left:
    part = file.read(min(left, STEP))
    if not part:
      raise ValueError(
        f"it is cut off: {size - left} bytes of {size} are there"
      )
    left -= len(part)
    yield part
