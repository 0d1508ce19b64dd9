"""What the header of a .wav file promises."""

import pathlib
import struct

from unirep.extract.broken import BrokenError

UNKNOWN = 0x7FFF0000  # sizes from here on are written where none is known
HEADER = 2**20  # bytes within which the sound must begin


def check(path: str) -> None:
  """Raises BrokenError where a file ends before the sound that it promises.

  Decoders take what is there, and say nothing.
  """
  size = pathlib.Path(path).stat().st_size
  with open(path, "rb") as file:
    if file.read(4) != b"RIFF":
      return  # another kind of .wav, or none
    at = 12
    while at + 8 <= min(size, HEADER):
      file.seek(at)
      name, length = struct.unpack("<4sI", file.read(8))
      at += 8
      if name == b"data":
        if at + length > size and length < UNKNOWN:
          raise BrokenError(
            path, f"is cut off: {size - at} bytes of {length} are there"
          )
        return
      at += length + length % 2
