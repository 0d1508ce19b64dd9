"""Stores of features of clips: a zip a clip, or the rows of an HDF5 file.

Shapes: T time.
"""

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from unirep.data import values
from unirep.data.columns import Column, hdf5_parts
from unirep.data.datasets.clips import Stored
from unirep.data.release import pickles
from unirep.files import guard, zips
from unirep.runtime.errors import InputError

LARGEST = 2**26  # bytes of a row of HDF5


class Zips:
  """A folder of `ID.zip`.

  Args:
    folder: of the archives.
    axes: number of axes of an array, time first; an array without time is one
      step.
    steps: T of every clip; 0: any.
    fill: whether a shorter clip repeats its last step up to T, and a longer
      one is cut, as the authors do with audio. Otherwise both are refused.
    limit: bytes that an archive, and the pickle in it, may have.
  """

  def __init__(
    self, folder: pathlib.Path, axes: int, steps: int, fill: bool, limit: int
  ):
    self.folder, self._axes, self._steps = folder, axes, steps
    self._fill, self._limit = fill, limit
    self._shape: tuple[int, ...] | None = None

  def path(self, name: str) -> pathlib.Path:
    """The file of a clip.

    Raises:
      InputError: for a name that leads out of the folder.
    """
    if not name or name.startswith(".") or {*name} & {"/", "\\", "\0"}:
      raise InputError(f"{self.folder}: {name[:80]!r} is no name of a clip")
    return self.folder / f"{name}.zip"

  def missing(self, names: Iterable[str]) -> list[str]:
    """The clips among `names` that are not there.

    Raises:
      InputError: if there is no such folder.
    """
    try:
      there = {*os.listdir(self.folder)}
    except OSError as error:
      raise InputError(f"{self.folder}: {error.strerror}") from error
    return [x for x in dict.fromkeys(names) if self.path(x).name not in there]

  def read(self, name: str) -> np.ndarray:
    """A clip's features, finite float32 (T, ...).

    Raises:
      InputError: for a clip that is missing, broken or of another shape.
    """
    path = self.path(name)
    x = array(path, self._limit)
    if x.ndim == self._axes - 1:
      x = x[None]
    if x.ndim != self._axes or 0 in x.shape:
      raise InputError(f"{path}: its shape is {x.shape}, of {self._axes} axes")
    if self._steps and len(x) != self._steps:
      if not self._fill:
        raise InputError(
          f"{path}: it has {len(x)} steps instead of {self._steps}"
        )
      x = x[np.minimum(np.arange(self._steps), len(x) - 1)]
    same = x.shape[0 if self._steps else 1 :]
    self._shape = self._shape or same
    if same != self._shape:
      raise InputError(f"{path}: its shape ends in {same}, not {self._shape}")
    x = values.float32(np.ascontiguousarray(x))
    if not np.isfinite(x).all():
      raise InputError(f"{path}: it holds NaN or infinity; leave it out")
    return x

  def files(self) -> list[str]:
    """No files: they are too many to look at each time."""
    return []


class Rows:
  """The rows of one dataset of an HDF5 file.

  Args:
    path: the file.
    key: the name of the dataset.
    size: rows that it must have.
    axes: of a row, time first.

  Raises:
    InputError: if it is missing, broken, or of another size.
  """

  def __init__(self, path: pathlib.Path, key: str, size: int, axes: int):
    if not path.exists():
      raise InputError(f"{path}: no such file")
    parts = hdf5_parts(path)
    if key not in parts:
      raise InputError(f"{path}: no {key!r}; it has {', '.join(parts)}")
    self._column = Column([parts[key]])
    if len(self._column) != size:
      raise InputError(
        f"{path}: {len(self._column)} clips, but {size} annotations"
      )
    kind = self._column.dtype.kind
    if self._column.ndim != axes + 1 or kind not in "fiub":
      raise InputError(
        f"{path}: {key!r} is {self._column.dtype} {self._column.shape}; a clip"
        f" has {axes} axes of numbers"
      )
    if self._column.nbytes // max(1, size) > LARGEST:
      raise InputError(
        f"{path}: a clip of {self._column.shape[1:]} is too large"
      )
    self._path = path

  def path(self, row: int) -> pathlib.Path:
    """The file."""
    del row
    return self._path

  def missing(self, rows: Sequence[int]) -> list[int]:
    """An empty list: all rows are there."""
    del rows
    return []

  def read(self, row: int) -> np.ndarray:
    """A clip's features, finite float32 (T, ...).

    Raises:
      InputError: for a row that can't be read, or is not finite.
    """
    x = values.float32(self._column[int(row)])
    if not np.isfinite(x).all():
      raise InputError(f"{self._path}, row {row}: it holds NaN or infinity")
    return x

  def files(self) -> list[str]:
    """The file, see `data.identity`."""
    return [str(self._path)]


LIST = 2**16  # bytes of a list of members: an archive has one or a few


def array(path: pathlib.Path, limit: int) -> np.ndarray:
  """The array in an archive; of several the last, as the authors take it.

  Args:
    path: the file.
    limit: bytes that the file, and the pickle in it, may have.

  Raises:
    InputError: for a file that is missing, broken, too large or no archive, or
      with a pickle of anything but an array of numbers.
  """
  try:
    guard.check(path)
    with zips.opened(path, LIST) as archive:
      size = os.stat(path).st_size
      if size > limit:
        raise ValueError(f"it has {size} bytes, more than {limit}")
      infos = [x for x in zips.members(archive) if x.filename.endswith(".pkl")]
      if not infos:
        raise ValueError("it holds no .pkl")
      return pickles.array(zips.read(archive, infos[-1], limit))
  except InputError as error:
    raise InputError(
      f"{error}; fetch it again, or leave it out by data.exclude"
    ) from error


STEPS = 10  # seconds of a clip


def pair(options: Mapping[str, Any], id_N: np.ndarray) -> dict[str, Stored]:
  """Video and audio of clips.

  Args:
    options: `features`, the folder of both, and `limit`, in MB.
    id_N: names of the clips.
  """
  return {
    "video": Stored(video(options["features"], options), id_N),
    "audio": Stored(audio(options["features"], options), id_N),
  }


def video(folder: str, options: Mapping[str, Any], fill: bool = False) -> Zips:
  """Grids of ten seconds; clips of other lengths are refused, or filled."""
  place = pathlib.Path(folder, "video", "zip")
  return Zips(place, 4, STEPS, fill, options["limit"] * 2**20)


def pictures(folder: str, options: Mapping[str, Any]) -> Zips:
  """Grids of any number of seconds, or of a photo."""
  place = pathlib.Path(folder, "video", "zip")
  return Zips(place, 4, 0, False, options["limit"] * 2**20)


def audio(folder: str, options: Mapping[str, Any]) -> Zips:
  """Vectors of ten seconds: the last one is repeated, or more are cut."""
  place = pathlib.Path(folder, "audio", "zip")
  return Zips(place, 2, STEPS, True, options["limit"] * 2**20)
