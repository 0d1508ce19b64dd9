"""The one exception for input that the user can mend."""

from collections.abc import Mapping
from typing import Any

from unirep import files

LONGEST = 2000  # characters of a message


class InputError(ValueError):
  """Bad input from outside: a file, a flag, an array, a checkpoint.

  Its message is one line that names the file, key, shape or value at fault and
  how to mend it; what a file or a library brings into it that is no line is
  escaped. The command prints it and exits with code 2; every other exception is
  a defect of ours and keeps its traceback.
  """

  exit_code = files.MENDABLE

  def __init__(self, message: str):
    super().__init__(one_line(message))


def one_line(text: str, most: int = LONGEST) -> str:
  """A text of one line: what does not print is escaped, as in a repr.

  Args:
    text: of any length.
    most: characters that stay.
  """
  text = text if len(text) <= most else f"{text[:most]}..."
  return "".join(x if x.isprintable() else repr(x)[1:-1] for x in text)


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
