"""Arrays on disk whose rows are read when they are asked for.

Rows are read into memory of their own, not mapped: what was read of a file that
is larger than memory is given back at once, and no file stays open (but HDF5).
All of it pickles as paths and shapes.

A part has `path`, `dtype`, `shape`, and `read(start, stop)` for some rows.
"""

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from unirep.data import hdf5
from unirep.files import guard, npy, zips
from unirep.runtime.errors import InputError

CHUNK = 2**25  # bytes that are read at once where all rows are looked at


class Part(Protocol):
  """Rows of one file."""

  @property
  def path(self) -> str:
    """The file."""
    ...

  @property
  def dtype(self) -> np.dtype:
    """Of its values."""
    ...

  @property
  def shape(self) -> tuple[int, ...]:
    """Rows first."""
    ...

  def read(self, start: int, stop: int) -> np.ndarray:
    """Rows from `start` on, up to `stop`."""
    ...


class Raw(NamedTuple):
  """Rows one behind the other from `offset` on: .npy, or a member of .npz."""

  path: str
  dtype: np.dtype
  shape: tuple[int, ...]
  offset: int

  def read(self, start: int, stop: int) -> np.ndarray:
    """See `Part`."""
    row = math.prod(self.shape[1:])
    offset = self.offset + start * row * self.dtype.itemsize
    count = (stop - start) * row
    guard.check(self.path)
    x = np.fromfile(self.path, self.dtype, count, offset=offset)
    if x.size < count:
      raise ValueError(f"it ends before row {stop}")
    return x.reshape(stop - start, *self.shape[1:])


class Lazy:
  """Rows of what is opened at first use, anew in each process.

  Args:
    path: the file.
    key: the name of the array in there.
    dtype: of its values.
    shape: of the array.
  """

  def __init__(self, path: str, key: str, dtype: np.dtype, shape: Any):
    self.path, self.key, self.dtype = path, key, dtype
    self.shape = tuple(shape)
    self._rows: Any = None

  @property
  def nbytes(self) -> int:
    """As of an array."""
    return math.prod(self.shape) * self.dtype.itemsize

  def read(self, start: int, stop: int) -> np.ndarray:
    """See `Part`."""
    if self._rows is None:
      self._rows = self.open()
    return self._rows[start:stop]

  def open(self) -> Any:
    """What has the rows, to be indexed."""
    raise NotImplementedError

  def __getstate__(self):
    return self.__dict__ | {"_rows": None}


class Hdf5(Lazy):
  """A dataset of an HDF5 file, read at random."""

  def open(self):
    """The dataset; its file is open as long as that lives."""
    return hdf5.dataset(self.path, self.key)


class Packed(Lazy):
  """A member of .npz that has no rows: compressed, or in Fortran order.

  All of it is in memory once a row was asked for.
  """

  def open(self):
    """The whole array."""
    with zips.opened(self.path) as archive:
      x = npy.member(archive, self.key, npy.keyed(archive)[self.key])
    if (x.dtype, x.shape) != (self.dtype, self.shape):
      raise ValueError("it has changed")
    return x


class Column:
  """Parts, one behind the other, as one array of N rows.

  Args:
    parts: that agree in all of their shape but the first axis.
  """

  def __init__(self, parts: Sequence[Part]):
    self.parts = tuple(parts)
    sizes = [part.shape[0] for part in parts]
    self._ends = list(itertools.accumulate(sizes))
    self.shape = (self._ends[-1], *parts[0].shape[1:])
    self.dtype = np.result_type(*(part.dtype for part in parts))

  @property
  def ndim(self) -> int:
    """As of an array."""
    return len(self.shape)

  @property
  def nbytes(self) -> int:
    """As of an array."""
    return math.prod(self.shape) * self.dtype.itemsize

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, index: int, /) -> np.ndarray:
    part, row = self._find(index)
    return _read(part, row, row + 1)[0]

  def place(self, index: int) -> str:
    """The file of a row, and which one it is in there."""
    part, row = self._find(index)
    return f"{part.path}, row {row}"

  def chunks(self) -> Iterator[np.ndarray]:
    """Yields all rows in order, about `CHUNK` bytes at once."""
    step = max(1, CHUNK * len(self) // max(1, self.nbytes))
    for part in self.parts:
      for start in range(0, part.shape[0], step):
        yield _read(part, start, min(start + step, part.shape[0]))

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    del copy  # there is nothing to share
    return np.concatenate([*self.chunks()]).astype(dtype or self.dtype)

  def _find(self, index):
    index = range(len(self))[index]
    i = bisect.bisect_right(self._ends, index)
    return self.parts[i], index - self._ends[i] + self.parts[i].shape[0]


def _read(part, start, stop):
  try:
    return part.read(start, stop)
  except guard.BROKEN as error:
    raise InputError(
      f"{part.path}: cannot read rows {start} to {stop - 1}"
      f" ({guard.reason(error)})"
    ) from error
