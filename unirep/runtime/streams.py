"""Standard streams that end no run: closed, full, or of another alphabet."""

import io
import os
import select
import sys


def guard() -> None:
  """Makes stdout and stderr drop text that can't be written.

  Python would raise BrokenPipeError, or end with code 120. Must be called
  before anything opens a file: a file would get the number of a closed stream,
  and libraries would write their messages into it.
  """
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
  sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
  sys.stdout = _lossy(1, sys.stdout)
  sys.stderr = _lossy(2, sys.stderr)


class _Raw(io.FileIO):
  """A stream that goes on when its reader is gone."""

  def write(self, data):
    try:
      while (written := super().write(data)) is None:  # it is non-blocking
        select.select([], [self], [])
      return written
    except OSError:
      return memoryview(data).nbytes


def _lossy(number, stream):
  return io.TextIOWrapper(
    io.BufferedWriter(_Raw(number, "w", closefd=False)),
    encoding=getattr(stream, "encoding", None) or "utf-8",
    errors="backslashreplace",
    line_buffering=number == 2
    or os.isatty(number)
    or getattr(stream, "write_through", False),  # python -u
  )
