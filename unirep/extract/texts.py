"""Captions from files."""

import pathlib

from unirep.extract.broken import BrokenError, regular

SUFFIXES = (".txt",)
MOST = 2**16  # bytes of a caption


def read(path: str) -> str:
  """The text of a file in UTF-8.

  Raises:
    BrokenError: if the file is no text, or too long for a caption.
  """
  regular(path, MOST)
  try:
    text = pathlib.Path(path).read_text("utf-8-sig")
  except UnicodeDecodeError as error:
    raise BrokenError(path, f"is not UTF-8 ({error.reason})") from error
  except OSError as error:
    raise BrokenError(path, f"cannot be read: {error.strerror}") from error
  check(path, text)
  return text


def check(where: str, text: str) -> None:
  """Raises BrokenError for a text that can't be a caption.

  Args:
    where: a name for the text, for errors.
    text: the content of a file, or of a cell of a table.
  """
  size = len(text.encode(errors="surrogateescape"))
  if size > MOST:
    raise BrokenError(where, f"has {size} bytes of text; at most {MOST}")
  if any(0xD800 <= ord(x) < 0xE000 for x in text):
    raise BrokenError(where, "is not UTF-8")
  if any(ord(x) < 32 and x not in "\t\n\r\f" for x in text):
    raise BrokenError(where, "holds control characters")
  if not text.strip():
    raise BrokenError(where, "is empty")
