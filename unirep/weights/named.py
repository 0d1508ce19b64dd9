"""Files that the user names."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import IO

from unirep.errors import InputError
from unirep.reading import doors


def read(name: str, file: str, wanted: str) -> bytes:
  """All bytes of a file.

  Args:
    name: of the extractor, for the error.
    file: its path, maybe from "~".
    wanted: what file that should be, for the error.

  Raises:
    InputError: if there is no such file, but a pipe or a folder.
  """
  try:
    return doors.read_bytes(_place(file))
  except InputError as error:
    raise InputError(f"{name!r}: {error}; wanted: {wanted}") from error


@contextlib.contextmanager
def opened(name: str, file: str | pathlib.Path) -> Iterator[IO[bytes]]:
  """An open file; raises InputError if there is no such file."""
  path = _place(file)
  try:
    doors.check(path)
    with doors.reading(path):
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
