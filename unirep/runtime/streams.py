"""Standard streams that end no run: closed, full, or of another alphabet."""

import contextlib
import io
import os
import select
import sys


def guard() -> None:
  """Makes stdout and stderr lose what nobody can take, and go on.

  To be called before others keep the streams or open files: a file would get
  the number of a stream that is closed, and what libraries say would go there.
  """
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
  sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
  sys.stdout = _patient(1, sys.stdout)
  sys.stderr = _patient(2, sys.stderr)


class _Pipe(io.FileIO):
  """A stream whose reader may be gone."""

  def write(self, data):
    try:
      while (written := super().write(data)) is None:  # it never blocks
        select.select([], [self], [])
      return written
    except OSError:
      return memoryview(data).nbytes


def _patient(number, stream):
  with contextlib.suppress(OSError, ValueError, AttributeError):
    stream.flush()
  return io.TextIOWrapper(
    io.BufferedWriter(_Pipe(number, "w", closefd=False)),
    encoding=getattr(stream, "encoding", None) or "utf-8",
    errors="backslashreplace",
    line_buffering=number == 2
    or os.isatty(number)
    or getattr(stream, "write_through", False),  # python -u
  )
