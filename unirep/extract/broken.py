"""Files that can't be taken for data, and why."""

import os

from unirep.files import guard
from unirep.runtime import errors


class BrokenError(Exception):
  """A file of a sample is broken: the sample is left out and listed.

  Attributes:
    file: which one.
    reason: in one line.
  """

  def __init__(self, file: str, reason: str):
    super().__init__(file, reason)
    self.file, self.reason = file, one_line(reason)


def one_line(text: str) -> str:
  """A text without line breaks, not longer than a message should be."""
  return errors.one_line(" ".join(text.split()), 300)


def regular(path: str, most: int | None = None) -> None:
  """Raises BrokenError for what is no file (but a pipe, say) or is empty.

  Args:
    path: the file.
    most: bytes that it may have.
  """
  wrong = guard.fault(path)
  if wrong:
    raise BrokenError(path, wrong)
  size = os.stat(path).st_size
  if not size:
    raise BrokenError(path, "is empty")
  if most and size > most:
    raise BrokenError(path, f"has {size} bytes; at most {most}")


def promised(path: str) -> None:
  """Raises BrokenError where a .wav or .avi ends before what it promises."""
  try:
    with open(path, "rb") as file:
      wrong = guard.riff_fault(file, os.fstat(file.fileno()).st_size)
  except guard.BROKEN as error:
    raise BrokenError(path, guard.reason(error)) from error
  if wrong:
    raise BrokenError(path, wrong)
