"""Numeric series of sensors: .npy, or .csv with one sample a line.

Dimensions: S samples, C channels.
"""

import csv
import itertools
import pathlib
import struct

import numpy as np

from unirep.extract.broken import BrokenError, one_line, regular
from unirep.files import npy

SUFFIXES = (".npy", ".csv", ".tsv")
MOST = 2**28  # bytes of a file ...
MOST_TEXT = 2**26  # ... and of a table, whose numbers need more memory
TIME = "time"  # the name of a column of seconds


def read(path: str, rate: int) -> np.ndarray:
  """Reads a series at `rate` samples a second, (S, C) float32.

  A table whose first column is named "time" is interpolated to the rate. Any
  other file is assumed to have the rate.

  Raises:
    BrokenError: if the file is no series, or has numbers that are not finite.
  """
  regular(path, MOST)
  kinds = {".npy": _array, ".csv": _table, ".tsv": _table}
  suffix = pathlib.Path(path).suffix.lower()
  if suffix not in kinds:
    raise BrokenError(path, f"{suffix!r} is none of {', '.join(kinds)}")
  try:
    timed, x_SxC = kinds[suffix](path)
  except (ValueError, EOFError, struct.error, csv.Error) as error:
    raise BrokenError(path, f"is no series: {one_line(str(error))}") from error
  if x_SxC.ndim == 1:
    x_SxC = x_SxC[:, None]
  if x_SxC.ndim != 2 or not x_SxC.size or x_SxC.dtype.kind not in "fiu":
    raise BrokenError(
      path, f"is no series but {x_SxC.dtype} of shape {x_SxC.shape}"
    )
  with np.errstate(invalid="ignore"):  # the check below reports it
    x_SxC = x_SxC.astype(np.float64)
  if not np.isfinite(x_SxC).all():
    raise BrokenError(path, "holds numbers that are missing or not finite")
  if timed:
    x_SxC = _at_rate(path, x_SxC[:, 0], x_SxC[:, 1:], rate)
  return x_SxC.astype(np.float32)


def _array(path):
  return False, npy.read(path)


def _table(path):
  regular(path, MOST_TEXT)
  with open(path, encoding="utf-8-sig", newline="") as file:
    delimiter = "\t" if path.lower().endswith(".tsv") else ","
    rows = csv.reader(file, delimiter=delimiter)
    first = next(rows, [])
    numbers = [_is_number(x) for x in first]
    timed = first[:1] != [] and first[0].strip().lower() == TIME
    if any(numbers) and not all(numbers) and not timed:
      raise ValueError(f"its first line has {first[numbers.index(False)]!r}")
    begin = [first] if all(numbers) else []
    lines = itertools.chain(begin, filter(None, rows))
    values = [[float(x) for x in row] for row in lines]
  return timed and len(first) > 1, np.array(values, np.float64)


def _is_number(text):
  try:
    return bool(float(text) or True)
  except ValueError:  # a name
    return False


def _at_rate(path, time_S, x_SxC, rate):
  """Interpolates samples at equal distances, from the first one on."""
  if len(time_S) < 2 or not (np.diff(time_S) > 0).all():
    raise BrokenError(path, f"its column {TIME!r} does not rise")
  length = (time_S[-1] - time_S[0]) * rate
  if length > MOST / 8:
    raise BrokenError(path, f"its times span {length:g} samples")
  at = time_S[0] + np.arange(int(length + 1e-6) + 1) / rate
  return np.stack([np.interp(at, time_S, x) for x in x_SxC.T], 1)
