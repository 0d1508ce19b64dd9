"""Broken files: the error that reports them, and common checks."""

import os

from unirep.files import guard
from unirep.runtime import errors


class BrokenError(Exception):
  """A file of a sample is broken: the sample is left out and listed.

  Attributes:
    file: the path.
    reason: one line.
  """

  def __init__(self, file: str, reason: str):
    super().__init__(file, reason)
    self.file, self.reason = file, one_line(reason)


def one_line(text: str) -> str:
  """A text without line breaks, cut to the length of a message."""
  return errors.one_line(" ".join(text.split()), 300)


def regular(path: str, most: int | None = None) -> None:
  """Raises BrokenError for an empty file, and for a pipe, a folder and so on.

  Args:
    path: the file.
    most: the largest size that is allowed, in bytes.
  """
  fault = guard.fault(path)
  if fault:
    raise BrokenError(path, fault)
  size = os.stat(path).st_size
  if not size:
    raise BrokenError(path, "is empty")
  if most and size > most:
    raise BrokenError(path, f"has {size} bytes; at most {most}")


def promised(path: str) -> None:
  """Raises BrokenError for a .wav or .avi shorter than its header says."""
  try:
    with open(path, "rb") as file:
      fault = guard.riff_fault(file, os.fstat(file.fileno()).st_size)
  except guard.BROKEN as error:
    raise BrokenError(path, guard.reason(error)) from error
  if fault:
    raise BrokenError(path, fault)
