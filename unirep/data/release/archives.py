"""Zips of one pickled array, a clip each.

Nothing is ever unpacked to disk.
"""

import os
import pathlib
import stat
import zipfile
import zlib

import numpy as np

from unirep.data.release import pickles
from unirep.errors import InputError

MEMBERS = 64  # of an archive
DIRECTORY = 2**16  # bytes of the list of its members
_END = b"PK\5\6"
_END_64 = b"PK\6\7"
_BROKEN = (
  *(OSError, ValueError, EOFError, RuntimeError, NotImplementedError),
  *(zipfile.BadZipFile, zlib.error),
)


def array(path: pathlib.Path, limit: int) -> np.ndarray:
  """The array in an archive: of several the last, as the authors read them.

  Args:
    path: the file.
    limit: bytes that the file, and the pickle in it, may have.

  Raises:
    InputError: for a file that is missing, broken, too large or no such
      archive, or whose pickle holds anything but an array of numbers.
  """
  try:
    return pickles.array(_member(path, limit))
  except FileNotFoundError as error:
    raise InputError(f"{path}: no such file") from error
  except _BROKEN as error:
    what = getattr(error, "strerror", None) or str(error) or "it is cut off"
    raise InputError(
      f"{path}: {' '.join(str(what).split())[:200]}; fetch it again, or leave"
      " it out by data.exclude"
    ) from error


def _member(path: pathlib.Path, limit: int) -> bytes:
  about = os.stat(path)
  if not stat.S_ISREG(about.st_mode):
    raise ValueError("it is no file")
  if about.st_size > limit:
    raise ValueError(f"it has {about.st_size} bytes, more than {limit}")
  with path.open("rb") as file:
    _check_directory(file, about.st_size)
    with zipfile.ZipFile(file) as archive:
      infos = archive.infolist()
      if len(infos) > MEMBERS:
        raise ValueError(f"it has {len(infos)} members, more than {MEMBERS}")
      for info in infos:
        name = info.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or ":" in name:
          raise ValueError(f"its member {name[:80]!r} lies outside of it")
      infos = [x for x in infos if x.filename.endswith(".pkl")]
      if not infos:
        raise ValueError("it holds no .pkl")
      info = infos[-1]
      if info.file_size > limit:
        raise ValueError(
          f"{info.filename[:80]!r} has {info.file_size} bytes, more than"
          f" {limit}"
        )
      with archive.open(info) as member:  # whatever its header says
        data = member.read(limit + 1)
      if len(data) > limit:
        raise ValueError(f"{info.filename[:80]!r} has more than {limit} bytes")
      return data


def _check_directory(file, size) -> None:
  """Refuses long lists of members before they are read."""
  file.seek(max(0, size - 2**16 - 42))
  tail = file.read()
  at = tail.rfind(_END)
  if at < 0 or len(tail) - at < 22:
    raise ValueError("it is no zip, or cut off")
  long = int.from_bytes(tail[at + 12 : at + 16], "little")
  if long > DIRECTORY or tail[max(0, at - 20) : at].startswith(_END_64):
    raise ValueError(f"its list of members has more than {DIRECTORY} bytes")
