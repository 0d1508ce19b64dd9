"""Your own features: arrays in memory or on disk.

Shapes: N samples, T time, F feature width, H/W grid.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from unirep.data import formats, grouping, presence, values
from unirep.data.columns import Column
from unirep.data.pipeline import Subset
from unirep.data.sample import PRESENT, Sample, Source
from unirep.runtime.errors import InputError

_LENGTH, _LABEL = "length/", "label/"


class Arrays:
  """A source over arrays whose first axis is the sample.

  Features keep their type, or become float32 if theirs is wider; each sample is
  float32. Arrays in memory are checked as a whole, and so are columns on disk
  of up to `formats.CHECKED` bytes in all. In larger columns, values that are
  not finite raise an InputError when their sample is read.

  Args:
    features: per modality (N, F) vectors, (N, T, F) sequences or (N, T, H, W,
      F) grids of real numbers; vectors become sequences of one step.
    lengths: per modality (N,) integers in 1..T; the steps beyond are padding.
    labels: per name (N, ...) integers. Like lengths they are held in memory.
    present: per modality that samples lack (N,) bool, see `presence.absent`.
    missing: whether rows of large columns that are all NaN mean a missing
      modality; they are found when they are read.

  Raises:
    InputError: for a wrong rank or dtype, unequal N, NaN or infinity, or a
      length outside 1..T; if no sample has a modality, or one has none.
  """

  concurrent = True

  def __init__(
    self,
    features: Mapping[str, values.Values],
    lengths: Mapping[str, values.Values] | None = None,
    labels: Mapping[str, values.Values] | None = None,
    present: Mapping[str, np.ndarray] | None = None,
    *,
    missing: bool = False,
  ):
    if not features:
      raise InputError("features is empty; give at least one modality")
    self.features = {k: values.feature(k, v) for k, v in features.items()}
    self._size = len(next(iter(self.features.values())))
    self.lengths = {k: self._length(k, v) for k, v in (lengths or {}).items()}
    self.labels = {
      k: values.integers(f"labels[{k!r}]", v) for k, v in (labels or {}).items()
    }
    self.present = {k: np.asarray(v) for k, v in (present or {}).items()}
    for part in ("features", "lengths", "labels", "present"):
      for name, value in getattr(self, part).items():
        if len(value) != self._size:
          raise InputError(
            f"{part}[{name!r}] has {len(value)} samples, but"
            f" {next(iter(self.features))!r} has {self._size}"
          )
    presence.check(self.features, self.present)
    stored = {k: v for k, v in self.features.items() if isinstance(v, Column)}
    large = formats.large(stored)
    self._unchecked = frozenset(stored) if large else frozenset()
    self._missing = missing
    if not large:
      for name, column in stored.items():
        values.check_all(name, column.chunks())

  def __len__(self) -> int:
    return self._size

  def files(self) -> list[str]:
    """The files of features on disk, see `data.identity`."""
    stored = [x for x in self.features.values() if isinstance(x, Column)]
    return [part.path for column in stored for part in column.parts]

  def __getitem__(self, index: int, /) -> Sample:
    return values.widened(self.stored(index))

  def stored(self, index: int) -> Sample:
    """See `data.sample.stored`."""
    index = range(self._size)[index]
    present = {k: v[index] for k, v in self.present.items()}
    features = {}
    for name in self.features:
      features[name], here = self._row(name, index)
      if here is not None:
        present[name] = np.array(here)
    if present.keys() >= features.keys() and not any(present.values()):
      raise InputError(f"sample {index} lacks every modality")
    item: Sample = {
      "features": features,
      "lengths": {k: v[index] for k, v in self.lengths.items()},
      "labels": {k: v[index] for k, v in self.labels.items()},
    }
    if present:
      item[PRESENT] = present
    return item

  def _row(self, name: str, index: int) -> tuple[np.ndarray, bool | None]:
    """One sample's features (T, ...), and whether they are present."""
    column, here = self.features[name], None
    x = column[index]
    if column.dtype != np.float16:  # parts of a column may have several types
      x = values.float32(x)
    if name in self._unchecked and isinstance(column, Column):
      if self._missing:
        here = not np.isnan(x).all()
        x = x if here else np.zeros_like(x)
      values.check_finite(name, x[None], index, f"{column.place(index)}: ")
    return (x if x.ndim > 1 else x[None]), here

  def _length(self, name: str, value: values.Values) -> np.ndarray:
    if name not in self.features:
      raise InputError(
        f"lengths[{name!r}] has no modality of that name; features are"
        f" {', '.join(self.features)}"
      )
    value = values.integers(f"lengths[{name!r}]", value)
    shape = self.features[name].shape
    time = shape[1] if len(shape) > 2 else 1
    if value.ndim != 1:
      raise InputError(f"lengths[{name!r}] must be (N,), got {value.shape}")
    bad = value[(value < 1) | (value > time)]
    if bad.size:
      raise InputError(f"lengths[{name!r}] must lie in 1..{time}, got {bad[0]}")
    return value


def load(
  path: str | os.PathLike[str],
  *,
  modalities: Sequence[str] | None = None,
  missing: bool = False,
) -> Arrays:
  """Opens features of any size on disk, in one of the `formats`.

  Only lengths and labels are read into memory.

  Args:
    path: a file or a folder.
    modalities: those to read, in this order; all if None.
    missing: whether samples may lack modalities, see `presence.absent`.

  Raises:
    InputError: if the path is missing or broken, lacks a modality or holds
      arrays that `Arrays` refuses.
  """
  return _assemble(path, formats.read(path), modalities, missing)


def split(source: Source, holdout: float, seed: int) -> tuple[Subset, Subset]:
  """Splits at random into (train, test), at least one sample each.

  No recording is on both sides, see `grouping.hold_out`. `test.note` says so
  where samples share recordings.

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
  rows = grouping.hold_out(source, holdout, seed)
  train, test = Subset(source, rows.train), Subset(source, rows.test)
  test.note = rows.note
  return train, test


def _assemble(
  path, contents: Mapping[str, values.Values], modalities, missing
) -> Arrays:
  """A source of the arrays that a file holds under its keys."""
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

  features, lengths = {k: contents[k] for k in chosen}, below(_LENGTH)
  formats.check_room(path, features | lengths | below(_LABEL))
  present: dict[str, np.ndarray] = {}
  try:
    if missing and not formats.large(features):
      whole = {k: np.asarray(v) for k, v in features.items()}
      steps = {k: np.asarray(v) for k, v in lengths.items()}
      features, lengths, present = presence.absent(whole, steps)
    return Arrays(features, lengths, below(_LABEL), present, missing=missing)
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
