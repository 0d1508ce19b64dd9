"""The one exception for input that the user can mend."""

from collections.abc import Mapping
from typing import Any

from unirep import files


class InputError(ValueError):
  """Bad input from outside: a file, a flag, an array, a checkpoint.

  Its message is one line that names the file, key, shape or value at fault and
  how to mend it. The command prints it and exits with code 2; every other
  exception is a defect of ours and keeps its traceback.
  """

  exit_code = files.MENDABLE


def one_line(text: str) -> str:
  """A text as a message may have it: no line breaks, nothing that is not seen.

  Names in files of strangers may hold whatever a terminal would obey.
  """
  words = " ".join(text.split())[:300]
  return "".join(
    x if x.isprintable() else ascii(x)[1:-1].replace("\\\\", "\\")
    for x in words
  )


def pick(table: Mapping[str, Any], key: str, value: Any) -> Any:
  """The entry of a registry.

  Args:
    table: name -> entry.
    key: the setting that names it, for the error.
    value: the name.

  Raises:
    InputError: naming the key, the value and all known names.
  """
  if not isinstance(value, str) or value not in table:
    raise InputError(f"{key}={value!r} is not one of {tuple(table)}")
  return table[value]
