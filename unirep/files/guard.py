"""Checks of files before they are read, and readers of whole files.

Opening a pipe waits until somebody writes into it, and a device has no end.
"""

import contextlib
import json
import lzma
import math
import os
import pathlib
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

from unirep.runtime.errors import InputError, one_line

Path = str | os.PathLike[str]

ROOM = 2**30  # bytes of memory that a packed file may take
TEXT = 2**25  # bytes of a file that is read as text
# Exceptions of reading a broken or missing file.
BROKEN = (
  *(OSError, ValueError, TypeError, EOFError, LookupError, RuntimeError),
  *(ArithmeticError, MemoryError, struct.error),
  *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
_ABSENT = "no such file"
_RIFF_HEADER = 2**20  # bytes within which the sound of a .wav must begin
_RIFF_UNKNOWN = 0x7FFF0000  # streams have this length, or more, in headers
_KINDS = {
  stat.S_IFDIR: "folder",
  stat.S_IFIFO: "pipe",
  stat.S_IFSOCK: "socket",
  stat.S_IFCHR: "device",
  stat.S_IFBLK: "device",
}


def fault(path: Path) -> str:
  """The reason why a path can't be read as a file; "" if it can."""
  try:
    mode = os.stat(path).st_mode
  except FileNotFoundError:
    return _ABSENT
  except (OSError, ValueError) as error:
    return reason(error)
  if stat.S_ISREG(mode):
    return ""
  kind = _KINDS.get(stat.S_IFMT(mode), "something else")
  return f"it is no file but a {kind}"


def check(path: Path) -> None:
  """Raises InputError for a path that is no file but a folder, say."""
  wrong = fault(path)
  if wrong:
    line = wrong if wrong == _ABSENT else f"cannot read it ({wrong})"
    raise InputError(f"{os.fspath(path)}: {line}")


def check_room(
  name: str, needed: int, room: int | None = None, mend: str = ""
) -> None:
  """Raises InputError for data that take more memory than there is room for.

  Args:
    name: of the data, to begin the message with.
    needed: bytes that they take.
    room: bytes that they may take; `ROOM` if None.
    mend: how to go on, to end the message with.
  """
  room = ROOM if room is None else room
  if needed > room:
    mend = f"; {mend}" if mend else ""
    raise InputError(
      f"{name} takes {needed} bytes of memory; there is room for {room}{mend}"
    )


def riff_fault(file: IO[bytes], size: int) -> str:
  """How a .wav or .avi file falls short of its headers; "" if it does not.

  Decoders take the bytes that are there without a word.

  Args:
    file: the file; one of another kind has no fault.
    size: its bytes.
  """
  head = file.read(12)
  if len(head) < 12 or head[:4] != b"RIFF":
    return ""
  if head[8:] == b"AVI ":
    return _riff_lacks(8, struct.unpack("<I", head[4:8])[0], size)
  at = 12
  while head[8:] == b"WAVE" and at + 8 <= min(size, _RIFF_HEADER):
    file.seek(at)
    name, length = struct.unpack("<4sI", file.read(8))
    at += 8
    if name == b"data":
      return _riff_lacks(at, length, size)
    at += length + length % 2
  return ""


def _riff_lacks(at: int, length: int, size: int) -> str:
  if at + length > size and length < _RIFF_UNKNOWN:
    return f"is cut off: {size - at} bytes of {length} are there"
  return ""


def reason(error: BaseException) -> str:
  """The text of an exception, in one line that is not too long."""
  if isinstance(error, MemoryError):
    return "it needs more memory than there is"
  if isinstance(error, RecursionError):
    return "it is nested too deep"
  text = getattr(error, "strerror", None) or str(error) or type(error).__name__
  return one_line(" ".join(text.split()), 300)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
  """Turns the exceptions of a reader into one line.

  Raises:
    InputError: beginning with `path`.
  """
  try:
    yield
  except InputError:
    raise
  except BROKEN as error:
    raise InputError(
      f"{os.fspath(path)}: cannot read it ({reason(error)})"
    ) from error


def read_bytes(path: Path, most: int | None = None) -> bytes:
  """All bytes of a file.

  Args:
    path: the file.
    most: bytes that it may have; any number if None.

  Raises:
    InputError: if it is no file, too long, or can't be read.
  """
  check(path)
  with reading(path), open(path, "rb") as file:
    data = file.read(-1 if most is None else most + 1)
  if most is not None and len(data) > most:
    raise InputError(f"{os.fspath(path)}: it has more than {most} bytes")
  return data


def read_text(path: Path, most: int = TEXT) -> str:
  """The text of a file in UTF-8, with LF line ends.

  Raises:
    InputError: as `read_bytes`, or if it is no text in UTF-8.
  """
  data = read_bytes(path, most)
  try:
    text = data.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise InputError(
      f"{os.fspath(path)}: cannot read text ({error.reason} at byte"
      f" {error.start}); save it as UTF-8"
    ) from error
  if "\0" in text:
    raise InputError(
      f"{os.fspath(path)}: it is no text, byte {text.index(chr(0))} is 0"
    )
  return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(path: Path, most: int = TEXT) -> Any:
  """The value of a JSON file of at most `most` bytes.

  Raises:
    InputError: as `read_text`, or if it is no JSON, has a key twice, or a
      number that is not finite.
  """
  text = read_text(path, most)
  try:
    return json.loads(
      text,
      object_pairs_hook=_once,
      parse_constant=_finite,
      parse_float=_finite,
    )
  except (ValueError, RecursionError) as error:
    raise InputError(
      f"{os.fspath(path)} is not JSON ({reason(error)})"
    ) from error


def _once(pairs):
  values = dict(pairs)
  if len(values) < len(pairs):
    keys = [key for key, _ in pairs]
    twice = next(key for key in keys if keys.count(key) > 1)
    raise ValueError(f"the key {twice!r} is there twice")
  return values


def _finite(text):
  value = float(text)
  if not math.isfinite(value):
    raise ValueError(f"{text[:40]} is no finite number")
  return value


def read(name: str, file: str, wanted: str) -> bytes:
  """All bytes of a file that an extractor needs.

  Args:
    name: of the extractor, for the error.
    file: the path, which may begin with "~".
    wanted: the file that it should be, for the error.

  Raises:
    InputError: if there is no such file, or it is a pipe or a folder.
  """
  try:
    return read_bytes(_place(file))
  except InputError as error:
    raise InputError(f"{name!r}: {error}; wanted: {wanted}") from error


@contextlib.contextmanager
def opened(name: str, file: str | pathlib.Path) -> Iterator[IO[bytes]]:
  """Opens a file that `name` needs; raises InputError if there is none."""
  path = _place(file)
  try:
    check(path)
    with reading(path):
      stream = path.open("rb")
  except InputError as error:
    raise InputError(f"{name!r}: {error}") from error
  with stream:
    yield stream


def _place(file: str | pathlib.Path) -> pathlib.Path:
  try:
    return pathlib.Path(file).expanduser()
  except RuntimeError as error:  # of "~nobody"
    raise InputError(f"{file}: {error}") from error
