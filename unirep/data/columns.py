"""Arrays on disk whose rows are read when they are asked for.

Rows are read into memory of their own. A memory map (`np.load(mmap_mode)`)
would end the process with SIGBUS if a file is cut meanwhile, count the rows
that were read as memory of the process, and does not work for .npz. No file
stays open, except HDF5. Columns pickle as paths and shapes.
"""

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from unirep.data import hdf5
from unirep.data.values import CHUNK
from unirep.files import guard, npy, zips
from unirep.runtime.errors import InputError


class Part:
  """The rows of one array in a file, which is opened at first use.

  Args:
    path: the file.
    dtype: of the values.
    shape: of the array, rows first.
    key: the name of the array in the file.
  """

  def __init__(self, path: str, dtype: np.dtype, shape: Any, key: str = ""):
    self.path, self.dtype, self.key = path, dtype, key
    self.shape: tuple[int, ...] = tuple(shape)
    self._rows: Any = None

  @property
  def nbytes(self) -> int:
    """Bytes of the array."""
    return math.prod(self.shape) * self.dtype.itemsize

  def read(self, start: int, stop: int) -> np.ndarray:
    """Rows from `start` on, up to `stop`."""
    if self._rows is None:
      self._rows = self.open()
    return self._rows[start:stop]

  def open(self) -> Any:
    """An array, or a dataset that is indexed like one."""
    raise NotImplementedError

  def __getstate__(self):
    return self.__dict__ | {"_rows": None}  # each process opens its own


class Raw(Part):
  """Rows that lie one behind the other: .npy, or a plain member of .npz.

  Args:
    path: the file.
    dtype: of the values.
    shape: of the array, rows first.
    offset: the byte of the file that the rows begin at.
  """

  def __init__(self, path: str, dtype: np.dtype, shape: Any, offset: int):
    super().__init__(path, dtype, shape)
    self.offset = offset

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


class Hdf5(Part):
  """A dataset of an HDF5 file, read at random."""

  def open(self):
    """See `Part`; the file is open as long as the dataset lives."""
    return hdf5.dataset(self.path, self.key)


class Packed(Part):
  """A member of .npz without rows: compressed, or in Fortran order.

  All of it is in memory once a row was asked for.
  """

  def open(self):
    """See `Part`."""
    with zips.opened(self.path) as archive:
      x = npy.member(archive, self.key, npy.keyed(archive)[self.key])
    if (x.dtype, x.shape) != (self.dtype, self.shape):
      raise ValueError("it has changed")
    return x


class Column:
  """Parts, one behind the other, as one array of N rows.

  Args:
    parts: arrays that agree in all axes but the first.
  """

  def __init__(self, parts: Sequence[Part]):
    self.parts = tuple(parts)
    sizes = [part.shape[0] for part in parts]
    self._ends = list(itertools.accumulate(sizes))
    self.shape = (self._ends[-1], *parts[0].shape[1:])
    self.dtype = np.result_type(*(part.dtype for part in parts))

  @property
  def ndim(self) -> int:
    """The number of axes."""
    return len(self.shape)

  @property
  def nbytes(self) -> int:
    """Bytes of the whole array."""
    return math.prod(self.shape) * self.dtype.itemsize

  def __len__(self) -> int:
    return self.shape[0]

  def __getitem__(self, index: int, /) -> np.ndarray:
    part, row = self._find(index)
    return _read(part, row, row + 1)[0]

  def place(self, index: int) -> str:
    """The file of a row, and its number in that file."""
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


def hdf5_parts(path: guard.Path) -> dict[str, Hdf5]:
  """The datasets of an HDF5 file by name, on disk.

  Raises:
    InputError: for a broken file.
  """
  return {
    key: Hdf5(str(path), dtype, shape, key)
    for key, (dtype, shape) in hdf5.datasets(path).items()
  }
