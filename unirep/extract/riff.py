"""What the headers of .wav and .avi files promise."""

import pathlib
import struct

from unirep.extract.broken import BrokenError

SUFFIXES = (".wav", ".avi")
UNKNOWN = 0x7FFF0000  # sizes from here on are written where none is known
HEADER = 2**20  # bytes within which the sound must begin


def check(path: str) -> None:
  """Raises BrokenError where a file ends before what it promises.

  Decoders take what is there, and say nothing.
  """
  size = pathlib.Path(path).stat().st_size
  with open(path, "rb") as file:
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF":
      return  # of another kind, or none
    if head[8:] == b"AVI ":
      _check_size(path, 8, struct.unpack("<I", head[4:8])[0], size)
    at = 12
    while head[8:] == b"WAVE" and at + 8 <= min(size, HEADER):
      file.seek(at)
      name, length = struct.unpack("<4sI", file.read(8))
      at += 8
      if name == b"data":
        _check_size(path, at, length, size)
        return
      at += length + length % 2


def _check_size(path: str, at: int, length: int, size: int) -> None:
  if at + length > size and length < UNKNOWN:
    raise BrokenError(
      path, f"is cut off: {size - at} bytes of {length} are there"
    )
