"""Sources that a function in a user's Python file makes."""

import importlib
import pathlib
import sys

from unirep.data import sample
from unirep.data.sample import Source
from unirep.runtime.errors import InputError

FUNCTION = "source"  # called if a path names only the file


def find(path: str) -> tuple[pathlib.Path, str] | None:
  """The file and function of "FILE.py" or "FILE.py:FUNCTION", else None."""
  file, colon, function = path.rpartition(":")
  if not colon:
    file, function = path, FUNCTION
  return (pathlib.Path(file), function) if file.endswith(".py") else None


def source(path: str) -> Source:
  """The source that the function named by `path` returns.

  The file is imported under its own name, so that processes that load data can
  import it as well.

  Raises:
    InputError: if there is no such file or function, another module has its
      name, or it returns no source.
  """
  parts = find(path)
  if not parts or not parts[0].is_file():
    raise InputError(f"{path}: no such file; write FILE.py:FUNCTION")
  file, function = parts
  folder = str(file.resolve().parent)
  if folder not in sys.path:
    sys.path.append(folder)
  importlib.invalidate_caches()
  try:
    module = importlib.import_module(file.stem)
  except (ImportError, SyntaxError) as error:
    raise InputError(f"{file}: cannot import it ({error})") from error
  if pathlib.Path(module.__file__ or "").resolve() != file.resolve():
    raise InputError(
      f"{file}: another module is named {file.stem!r}; rename the file"
    )
  if not callable(getattr(module, function, None)):
    raise InputError(f"{file} has no function {function}()")
  result = getattr(module, function)()
  if not hasattr(result, "__len__") or not hasattr(result, "__getitem__"):
    raise InputError(
      f"{path}: {function}() returned {type(result).__name__}; a source has"
      " __len__ and __getitem__"
    )
  sample.check_source(result, path)
  return result
