"""Tables, class lists and orders; every error names the place of the fault.

Shapes: C classes.
"""

import csv
import io
import logging
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unirep.data import hdf5
from unirep.files import guard
from unirep.runtime.errors import InputError

TIME = 10  # seconds that every clip of AVE and AVVP lasts
LARGEST = 2**28  # bytes of a table, or of labels
Path = str | os.PathLike[str]

_log = logging.getLogger(__name__)


class Row(NamedTuple):
  """One line of a table.

  Attributes:
    where: file and line, to begin a message with.
    cells: text by column name, as it stands in the file.
  """

  where: str
  cells: dict[str, str]


def read_rows(
  path: Path,
  columns: Sequence[str],
  *,
  optional: Sequence[str] = (),
  delimiter: str = "",
  header: bool = True,
) -> list[Row]:
  """Reads a delimited text table; LF and CRLF line ends are both fine.

  Args:
    path: the file.
    columns: those it must have, in any order.
    optional: those it may have besides. Any other is refused: in a file with
      other columns, these may mean something else.
    delimiter: "" takes TAB if the first line has one, else a comma.
    header: False for a file that may lack its first line; its columns are then
      `columns` in that order.

  Raises:
    InputError: naming the file, and the line, if it is missing, empty, not
      text, has other columns or a row with another number of fields.
  """
  text = _read_text(path)
  first = text.split("\n", 1)[0]
  delimiter = delimiter or ("\t" if "\t" in first else ",")
  # Quotes protect commas; a file with a rarer separator needs none.
  quoting = csv.QUOTE_MINIMAL if delimiter in "\t," else csv.QUOTE_NONE
  reader = csv.reader(
    io.StringIO(text), delimiter=delimiter, quoting=quoting, strict=True
  )
  rows, names = [], [] if header else list(columns)
  try:
    for fields in reader:
      where = f"{path}, line {reader.line_num}"
      if not names:
        names = _check_header(where, fields, columns, optional)
      elif len(fields) != len(names):
        raise InputError(
          f"{where}: expected {len(names)} fields separated by {delimiter!r},"
          f" got {len(fields)}"
        )
      elif header or rows or fields != names:  # else it has its header
        rows.append(Row(where, dict(zip(names, fields, strict=True))))
  except csv.Error as error:
    raise InputError(f"{path}, line {reader.line_num}: {error}") from error
  if not rows:
    raise InputError(f"{path} has no rows")
  return rows


def class_list(path: Path) -> tuple[str, ...]:
  """Reads the C names of a file with one class a line; the line is the index.

  Of a line with a TAB in it the first column is kept, and spaces around a name
  are dropped; both are logged.

  Raises:
    InputError: naming the file, and the line, if it is missing or empty, or
      has an empty line or a name twice.
  """
  names: dict[str, int] = {}
  for number, line in enumerate(_read_text(path).split("\n"), 1):
    where = f"{path}, line {number}"
    name = line.split("\t")[0].strip()
    if not name:
      raise InputError(f"{where}: expected a class name, got {line!r}")
    if name in names:
      raise InputError(f"{where}: {name!r} is already on line {names[name]}")
    if name != line:
      _log.warning("%s: %r read as the class %r", where, line, name)
    names[name] = number
  return tuple(names)


def read_second(where: str, column: str, text: str) -> int:
  """The whole second, 0..TIME, that a cell holds.

  Raises:
    InputError: beginning with `where`, if it holds anything else.
  """
  if not re.fullmatch("[0-9]{1,2}", text) or int(text) > TIME:
    raise InputError(
      f"{where}: {column} must be a whole second in 0..{TIME}, got {text!r}"
    )
  return int(text)


def read_order(path: Path, size: int) -> np.ndarray:
  """Reads the sample indices (N,) of a `*_order.h5`, int64 in file order.

  Args:
    path: the file; its dataset is `order`.
    size: number of samples that the indices point into.

  Raises:
    InputError: as `hdf5.array`, or if they are not distinct integers in
      0..size - 1.
  """
  order_N = hdf5.array(path, "order")
  if order_N.ndim != 1 or order_N.dtype.kind not in "iu":
    raise InputError(
      f"{path}: order must be integers (N,), got {order_N.dtype} of shape"
      f" {order_N.shape}"
    )
  again_N = np.ones(len(order_N), bool)
  again_N[np.unique(order_N, return_index=True)[1]] = False
  bad = np.flatnonzero((order_N < 0) | (order_N >= size) | again_N)
  if bad.size:
    raise InputError(
      f"{path}, row {bad[0]}: the index {order_N[bad[0]]} is not in"
      f" 0..{size - 1}, or is there twice"
    )
  return order_N.astype(np.int64)


def _read_text(path: Path) -> str:
  """The text with LF line ends, without the empty lines at its end."""
  text = guard.read_text(path).rstrip("\n")
  if not text:
    raise InputError(f"{path} is empty")
  return text


def _check_header(
  where: str,
  fields: list[str],
  columns: Sequence[str],
  optional: Sequence[str],
) -> list[str]:
  allowed = {*columns, *optional}
  if not set(columns) <= set(fields) <= allowed or len(set(fields)) < len(
    fields
  ):
    more = f" and maybe {', '.join(optional)}" if optional else ""
    raise InputError(
      f"{where}: the columns must be {', '.join(columns)}{more}, got"
      f" {', '.join(fields)}"
    )
  return fields
