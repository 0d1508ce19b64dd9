"""Files that the user names."""

import pathlib

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
    return doors.read_bytes(pathlib.Path(file).expanduser())
  except (InputError, RuntimeError) as error:  # the latter of "~nobody"
    raise InputError(f"{name!r}: {error}; wanted: {wanted}") from error
