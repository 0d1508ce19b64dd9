"""What the headers of .wav and .avi files promise."""

import struct
from typing import IO

UNKNOWN = 0x7FFF0000  # sizes from here on are written where none is known
HEADER = 2**20  # bytes within which the sound must begin


def fault(file: IO[bytes], size: int) -> str:
  """What a file of `size` bytes lacks of what it promises; "" if nothing.

  Decoders take what is there, and say nothing.
  """
  head = file.read(12)
  if len(head) < 12 or head[:4] != b"RIFF":
    return ""  # of another kind, or none
  if head[8:] == b"AVI ":
    return _lacks(8, struct.unpack("<I", head[4:8])[0], size)
  at = 12
  while head[8:] == b"WAVE" and at + 8 <= min(size, HEADER):
    file.seek(at)
    name, length = struct.unpack("<4sI", file.read(8))
    at += 8
    if name == b"data":
      return _lacks(at, length, size)
    at += length + length % 2
  return ""


def _lacks(at: int, length: int, size: int) -> str:
  if at + length > size and length < UNKNOWN:
    return f"is cut off: {size - at} bytes of {length} are there"
  return ""
