"""Files that can't be taken for data, and why."""

import os
import stat

from unirep.errors import one_line


class BrokenError(Exception):
  """A file of a sample is broken: the sample is left out and listed.

  Attributes:
    file: which one.
    reason: in one line.
  """

  def __init__(self, file: str, reason: str):
    super().__init__(file, reason)
    self.file, self.reason = file, one_line(reason)


def regular(path: str, most: int | None = None) -> None:
  """Raises BrokenError for what is no file (but a pipe, say) or is empty.

  Args:
    path: the file.
    most: bytes that it may have.
  """
  try:
    found = os.stat(path)
  except (OSError, ValueError) as error:
    what = getattr(error, "strerror", None) or str(error)
    raise BrokenError(path, what) from error
  if not stat.S_ISREG(found.st_mode):
    raise BrokenError(path, "is no file")
  if not found.st_size:
    raise BrokenError(path, "is empty")
  if most and found.st_size > most:
    raise BrokenError(path, f"has {found.st_size} bytes; at most {most}")
