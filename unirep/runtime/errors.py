"""The exception for input that the user can mend, and its one line."""

import sys
from collections.abc import Mapping
from typing import Any

MENDABLE = 2  # exit code: the user can mend it
AGAIN = 75  # exit code: the same command goes on, when it is started again
LONGEST = 2000  # characters of a line


class InputError(ValueError):
  """Bad input from outside: a file, a flag, an array, a checkpoint.

  Its message is one line that names the file, key, shape or value at fault and
  says how to mend it. Line breaks and control characters that a file or a
  library brings into it are escaped. The command line prints it and exits with
  code 2; every other exception is a defect of ours and keeps its traceback.
  """

  exit_code = MENDABLE

  def __init__(self, message: str):
    super().__init__(one_line(message))


def one_line(text: object, most: int = LONGEST) -> str:
  """A text as one line: line breaks and control characters are escaped.

  Args:
    text: of any length.
    most: characters to keep of a longer text, from its begin and its end.
  """
  whole = str(text)
  if len(whole) > most:
    whole = f"{whole[: most * 3 // 4]} ... {whole[-most // 4 :]}"
  return "".join(
    x if x.isprintable() else x.encode("unicode_escape").decode() for x in whole
  )


def pick(table: Mapping[str, Any], key: str, value: Any) -> Any:
  """The entry of a registry.

  Args:
    table: name -> entry.
    key: the setting that holds the name, for the error.
    value: the name.

  Raises:
    InputError: naming the key, the value and all known names.
  """
  if not isinstance(value, str) or value not in table:
    raise InputError(f"{key}={value!r} is not one of {tuple(table)}")
  return table[value]


def say(text: object, who: str = "unirep") -> None:
  """Writes a program's last line to stderr."""
  sys.stderr.write(f"{who}: {one_line(text)}\n")
  sys.stderr.flush()


def first_line(error: BaseException) -> str:
  """The first line of an exception's message, or its class if there is none."""
  lines = str(error).strip().splitlines()
  return lines[0].strip() if lines else type(error).__name__
