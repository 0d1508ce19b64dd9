"""Files that the user names."""

import pathlib

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
    path = pathlib.Path(file).expanduser()
    if path.exists() and not path.is_file():  # a pipe would keep us waiting
      raise OSError("it is no file")
    return path.read_bytes()
  except (OSError, ValueError, RuntimeError) as error:
    what = getattr(error, "strerror", None) or error
    raise InputError(
      f"{name!r}: can't read it ({what}); wanted: {wanted}"
    ) from error
