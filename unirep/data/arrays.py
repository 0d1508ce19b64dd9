"""Your own features: arrays in memory or on disk.

Shapes: N samples, T time, F feature width, H/W grid.
"""

import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from unirep import files
from unirep.data import formats
from unirep.data.columns import CHUNK, Column
from unirep.data.pipeline import Subset
from unirep.data.sample import Sample, Source
from unirep.errors import InputError

Values = np.ndarray | Column

_LENGTH, _LABEL = "length/", "label/"


class Arrays:
  """A source over arrays whose first axis is the sample.

  Features keep their type, or become float32 if theirs is wider; each sample is
  float32. Arrays in memory are looked at as a whole. Of columns on disk that is
  true up to `formats.CHECKED` bytes in all; of larger ones, what is not finite
  is found when it is read, and a sample of it raises an InputError.

  Args:
    features: per modality (N, F) vectors, (N, T, F) sequences or (N, T, H, W,
      F) grids of real numbers; vectors become sequences of one step.
    lengths: per modality (N,) integers in 1..T; the steps beyond are padding.
    labels: per name (N, ...) integers. Like lengths they are held in memory.

  Raises:
    InputError: for a wrong rank or dtype, unequal N, NaN or infinity, or a
      length outside 1..T.
  """

  def __init__(
    self,
    features: Mapping[str, Values],
    lengths: Mapping[str, Values] | None = None,
    labels: Mapping[str, Values] | None = None,
  ):
    if not features:
      raise InputError("features is empty; give at least one modality")
    self.features = {k: _feature(k, v) for k, v in features.items()}
    self._size = len(next(iter(self.features.values())))
    self.lengths = {k: self._length(k, v) for k, v in (lengths or {}).items()}
    self.labels = {
      k: _integers(f"labels[{k!r}]", v) for k, v in (labels or {}).items()
    }
    for part in ("features", "lengths", "labels"):
      for name, value in getattr(self, part).items():
        if len(value) != self._size:
          raise InputError(
            f"{part}[{name!r}] has {len(value)} samples, but"
            f" {next(iter(self.features))!r} has {self._size}"
          )
    stored = {k: v for k, v in self.features.items() if isinstance(v, Column)}
    large = sum(v.nbytes for v in stored.values()) > formats.CHECKED
    self._unchecked = frozenset(stored) if large else frozenset()
    if not large:
      for name, column in stored.items():
        _check_all(name, column.chunks())

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int, /) -> Sample:
    index = range(self._size)[index]
    return {
      "features": {k: self._row(k, index) for k in self.features},
      "lengths": {k: v[index] for k, v in self.lengths.items()},
      "labels": {k: v[index] for k, v in self.labels.items()},
    }

  def _row(self, name: str, index: int) -> np.ndarray:
    """One sample's features, float32 (T, ...)."""
    column = self.features[name]
    x = _float32(column[index])
    if name in self._unchecked and isinstance(column, Column):
      _check_finite(name, x[None], index, f"{column.place(index)}: ")
    return x if x.ndim > 1 else x[None]

  def _length(self, name: str, value: Values) -> np.ndarray:
    if name not in self.features:
      raise InputError(
        f"lengths[{name!r}] has no modality of that name; features are"
        f" {', '.join(self.features)}"
      )
    value = _integers(f"lengths[{name!r}]", value)
    shape = self.features[name].shape
    time = shape[1] if len(shape) > 2 else 1
    if value.ndim != 1:
      raise InputError(f"lengths[{name!r}] must be (N,), got {value.shape}")
    bad = value[(value < 1) | (value > time)]
    if bad.size:
      raise InputError(f"lengths[{name!r}] must lie in 1..{time}, got {bad[0]}")
    return value


def load(
  path: str | os.PathLike[str], *, modalities: Sequence[str] | None = None
) -> Arrays:
  """Opens features of any size where they lie; see `formats` for what may be.

  Only lengths and labels are read into memory.

  Args:
    path: a file or a folder.
    modalities: the ones to read, in this order; all of them if None.

  Raises:
    InputError: if it is missing or broken, lacks a modality or holds what
      `Arrays` refuses.
  """
  return _assemble(path, formats.read(path), modalities)


def load_npz(
  path: str | os.PathLike[str], *, modalities: Sequence[str] | None = None
) -> Arrays:
  """Reads an npz file written with `np.savez` into memory.

  Its keys are `<modality>`, `length/<modality>` and `label/<name>`; the arrays
  are as in `Arrays`. Pickled objects are refused.

  Args:
    path: the file.
    modalities: the ones to read, in this order; all of them if None.

  Raises:
    InputError: if the file is missing or broken, lacks a modality or holds
      what `Arrays` refuses.
  """
  return _assemble(path, _read_npz(path), modalities)


def save_npz(
  path: os.PathLike[str], contents: Mapping[str, np.ndarray]
) -> None:
  """Writes a compressed npz file: a whole one or none."""
  with files.whole(path) as part, part.open("wb") as file:
    np.savez_compressed(file, allow_pickle=False, **contents)


def split(source: Source, holdout: float, seed: int) -> tuple[Subset, Subset]:
  """Splits at random into disjoint (train, test), at least one sample each.

  Args:
    source: two samples or more; they are not copied.
    holdout: the share of the test part, between 0 and 1.
    seed: of the permutation.

  Raises:
    InputError: for fewer than two samples, or a share not inside (0, 1).
  """
  if not 0 < holdout < 1:
    raise InputError(f"holdout must lie between 0 and 1, got {holdout}")
  size = len(source)
  if size < 2:
    raise InputError(f"a split needs 2 samples or more, got {size}")
  if seed < 0:
    raise InputError(f"seed must not be negative, got {seed}")
  count = min(max(round(holdout * size), 1), size - 1)
  order = np.random.default_rng(seed).permutation(size)
  train, test = np.sort(order[count:]), np.sort(order[:count])
  return Subset(source, train), Subset(source, test)


def _assemble(path, contents: Mapping[str, Values], modalities) -> Arrays:
  """Arrays of what a file holds under its keys."""
  keys = [k for k in contents if not k.startswith((_LENGTH, _LABEL))]
  unknown = [k for k in keys if "/" in k]
  if unknown:
    raise InputError(
      f"{path}: unknown key {unknown[0]!r}; keys are <modality>,"
      f" {_LENGTH}<modality> and {_LABEL}<name>"
    )
  chosen = keys if modalities is None else list(modalities)
  for name in chosen:
    if name not in keys:
      raise InputError(
        f"{path}: no modality {name!r}; it has {', '.join(keys) or 'none'}"
      )
  dropped = {_LENGTH + k for k in keys if k not in chosen}

  def below(prefix):
    return {
      k.removeprefix(prefix): v
      for k, v in contents.items()
      if k.startswith(prefix) and k not in dropped
    }

  try:
    return Arrays(
      {k: contents[k] for k in chosen}, below(_LENGTH), below(_LABEL)
    )
  except InputError as error:
    raise InputError(f"{path}: {error}") from error


def _read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  key = ""
  try:
    archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
      raise InputError(f"{path} is not an npz file; write it with np.savez")
    with archive:
      contents = {}
      for key in archive.files:
        contents[key] = archive[key]
  except FileNotFoundError as error:
    raise InputError(f"{path}: no such file") from error
  except InputError:
    raise
  except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as e:
    what = f"key {key!r}" if key else "the file"
    raise InputError(
      f"{path}: cannot read {what} ({e}); write plain numeric arrays with"
      " np.savez"
    ) from e
  return contents


def _feature(name: str, value: Values) -> Values:
  value = value if isinstance(value, Column) else np.asarray(value)
  if value.dtype.kind not in "fiub":
    raise InputError(
      f"features[{name!r}] must hold real numbers, got {value.dtype}"
    )
  if value.ndim < 2 or 0 in value.shape:
    raise InputError(
      f"features[{name!r}] must be a non-empty (N, F), (N, T, F), (N, T, H, W,"
      f" F) or the like, got {value.shape}"
    )
  if isinstance(value, Column):
    return value
  if value.dtype.itemsize > 4:
    value = _float32(value)
  _check_all(name, _chunks(value))
  return value[:, None] if value.ndim == 2 else value


def _check_all(name: str, chunks: Iterable[np.ndarray]) -> None:
  first = 0
  for x in chunks:
    _check_finite(name, _float32(x), first)
    first += len(x)


def _chunks(value: np.ndarray) -> Iterator[np.ndarray]:
  step = max(1, CHUNK * len(value) // value.nbytes)
  for start in range(0, len(value), step):
    yield value[start : start + step]


def _check_finite(
  name: str, x: np.ndarray, first: int, where: str = ""
) -> None:
  """Raises InputError where x, from sample `first` on, is not finite."""
  finite = np.isfinite(x)
  if not finite.all():
    at, *rest = np.argwhere(~finite)[0].tolist()
    raise InputError(
      f"{where}features[{name!r}] holds NaN or infinity (as float32), first at"
      f" {(first + at, *rest)}; clean or clip it"
    )


def _float32(x: np.ndarray) -> np.ndarray:
  with np.errstate(over="ignore"):  # a later check finds infinity
    return x.astype(np.float32, copy=False)


def _integers(what: str, value: Values) -> np.ndarray:
  value = value if isinstance(value, Column) else np.asarray(value)
  if value.dtype.kind not in "iub" or value.ndim < 1:
    raise InputError(
      f"{what} must hold one integer or more per sample, got {value.dtype} of"
      f" shape {value.shape}"
    )
  value = np.asarray(value)
  if value.size and (value.max() >= 2**31 or value.min() < -(2**31)):
    raise InputError(f"{what} must fit in 32 bits, got {value.max()}")
  return value.astype(np.int32, copy=False)
