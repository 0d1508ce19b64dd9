"""Files that the user names."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import IO

from unirep.errors import InputError


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
    with _open(file) as stream:
      return stream.read()
  except (OSError, ValueError, RuntimeError) as error:
    what = getattr(error, "strerror", None) or error
    raise InputError(
      f"{name!r}: can't read it ({what}); wanted: {wanted}"
    ) from error


@contextlib.contextmanager
def opened(name: str, file: str | pathlib.Path) -> Iterator[IO[bytes]]:
  """An open file; raises InputError if there is no such file."""
  try:
    stream = _open(file)
  except (OSError, ValueError, RuntimeError) as error:
    what = getattr(error, "strerror", None) or error
    raise InputError(f"{name!r}: can't read it ({what})") from error
  with stream:
    yield stream


def _open(file: str | pathlib.Path) -> IO[bytes]:
  path = pathlib.Path(file).expanduser()
  if path.exists() and not path.is_file():  # a pipe would keep us waiting
    raise OSError("it is no file")
  return path.open("rb")
