"""Your own features: arrays in memory or one npz file.

Shapes: N samples, T time, F feature width, H/W grid.
"""

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from unirep import files
from unirep.data.sample import PRESENT, Sample
from unirep.errors import InputError

_LENGTH, _LABEL = "length/", "label/"


class Arrays:
  """A source over arrays whose first axis is the sample.

  Args:
    features: per modality (N, F) vectors, (N, T, F) sequences or (N, T, H, W,
      F) grids of real numbers; vectors become sequences of one step. Kept as
      float32, without a copy where they already are.
    lengths: per modality (N,) integers in 1..T; the steps beyond are padding.
    labels: per name (N, ...) integers.
    present: per modality that samples lack (N,) bool, see `absent`.

  Raises:
    InputError: for a wrong rank or dtype, unequal N, NaN or infinity, or a
      length outside 1..T; if no sample has a modality, or one has none.
  """

  def __init__(
    self,
    features: Mapping[str, np.ndarray],
    lengths: Mapping[str, np.ndarray] | None = None,
    labels: Mapping[str, np.ndarray] | None = None,
    present: Mapping[str, np.ndarray] | None = None,
  ):
    if not features:
      raise InputError("features is empty; give at least one modality")
    self.features = {k: _feature(k, v) for k, v in features.items()}
    self._size = len(next(iter(self.features.values())))
    self.lengths = {k: self._length(k, v) for k, v in (lengths or {}).items()}
    self.labels = {
      k: _integers(f"labels[{k!r}]", v) for k, v in (labels or {}).items()
    }
    self.present = {k: np.asarray(v) for k, v in (present or {}).items()}
    for part in ("features", "lengths", "labels", "present"):
      for name, value in getattr(self, part).items():
        if len(value) != self._size:
          raise InputError(
            f"{part}[{name!r}] has {len(value)} samples, but"
            f" {next(iter(self.features))!r} has {self._size}"
          )
    _check_present(self.features, self.present)

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int, /) -> Sample:
    index = range(self._size)[index]
    item: Sample = {
      "features": {k: v[index] for k, v in self.features.items()},
      "lengths": {k: v[index] for k, v in self.lengths.items()},
      "labels": {k: v[index] for k, v in self.labels.items()},
    }
    if self.present:
      item[PRESENT] = {k: v[index] for k, v in self.present.items()}
    return item

  def take(self, indices: np.ndarray) -> "Arrays":
    """A new source of the samples at `indices`, copied."""
    return Arrays(
      *(
        {k: v[indices] for k, v in part.items()}
        for part in (self.features, self.lengths, self.labels, self.present)
      )
    )

  def _length(self, name: str, value: np.ndarray) -> np.ndarray:
    if name not in self.features:
      raise InputError(
        f"lengths[{name!r}] has no modality of that name; features are"
        f" {', '.join(self.features)}"
      )
    value = _integers(f"lengths[{name!r}]", value)
    time = self.features[name].shape[1]
    if value.ndim != 1:
      raise InputError(f"lengths[{name!r}] must be (N,), got {value.shape}")
    bad = value[(value < 1) | (value > time)]
    if bad.size:
      raise InputError(f"lengths[{name!r}] must lie in 1..{time}, got {bad[0]}")
    return value


def load_npz(
  path: str | os.PathLike[str],
  *,
  modalities: Sequence[str] | None = None,
  missing: bool = False,
) -> Arrays:
  """Reads an npz file written with `np.savez`.

  Its keys are `<modality>`, `length/<modality>` and `label/<name>`; the arrays
  are as in `Arrays`. Pickled objects are refused.

  Args:
    path: the file.
    modalities: the ones to read, in this order; all of them if None.
    missing: whether samples may lack modalities, see `absent`.

  Raises:
    InputError: if the file is missing or broken, lacks a modality or holds
      what `Arrays` refuses.
  """
  contents = _read_npz(path)
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
  features = {k: contents[k] for k in chosen}
  lengths = {
    k.removeprefix(_LENGTH): v
    for k, v in contents.items()
    if k.startswith(_LENGTH) and k not in dropped
  }
  present: dict[str, np.ndarray] = {}
  try:
    if missing:
      features, lengths, present = absent(features, lengths)
    return Arrays(
      features,
      lengths,
      {
        k.removeprefix(_LABEL): v
        for k, v in contents.items()
        if k.startswith(_LABEL)
      },
      present,
    )
  except InputError as error:
    raise InputError(f"{path}: {error}") from error


def absent(
  features: Mapping[str, np.ndarray], lengths: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Takes features of a sample that are all NaN for a modality that it lacks.

  Other NaN stay, for `Arrays` to refuse.

  Args:
    features: per modality (N, ...).
    lengths: per modality (N,), of any value where the modality is missing.

  Returns:
    Features with zeros in their place, lengths with 1, and per modality that a
    sample lacks (N,) bool, False there.
  """
  features, lengths, present = dict(features), dict(lengths), {}
  for m, x in features.items():
    if x.dtype.kind != "f" or x.ndim < 2 or not x.size:
      continue  # nothing is missing, or `Arrays` refuses it
    here_N = ~np.isnan(x.reshape(len(x), -1)[:, 0])
    maybe = np.flatnonzero(~here_N)  # few, so that few are read as wholes
    here_N[maybe] = [not np.isnan(x[i]).all() for i in maybe]
    if here_N.all():
      continue
    present[m] = here_N
    features[m] = x.copy()
    features[m][~here_N] = 0
    if m in lengths and np.shape(lengths[m]) == here_N.shape:
      lengths[m] = np.where(here_N, lengths[m], 1)
  return features, lengths, present


def save_npz(
  path: os.PathLike[str], contents: Mapping[str, np.ndarray]
) -> None:
  """Writes a compressed npz file: a whole one or none."""
  with files.whole(path) as part, part.open("wb") as file:
    np.savez_compressed(file, allow_pickle=False, **contents)


def split(arrays: Arrays, holdout: float, seed: int) -> tuple[Arrays, Arrays]:
  """Splits at random into disjoint (train, test), at least one sample each.

  Args:
    arrays: two samples or more.
    holdout: the share of the test part, between 0 and 1.
    seed: of the permutation.

  Raises:
    InputError: for fewer than two samples, or a share not inside (0, 1).
  """
  if not 0 < holdout < 1:
    raise InputError(f"holdout must lie between 0 and 1, got {holdout}")
  if len(arrays) < 2:
    raise InputError(f"a split needs 2 samples or more, got {len(arrays)}")
  if seed < 0:
    raise InputError(f"seed must not be negative, got {seed}")
  count = min(max(round(holdout * len(arrays)), 1), len(arrays) - 1)
  order = np.random.default_rng(seed).permutation(len(arrays))
  return arrays.take(np.sort(order[count:])), arrays.take(
    np.sort(order[:count])
  )


def _check_present(features, present):
  """Raises InputError for a modality or a sample that there is not."""
  for m, here_N in present.items():
    if m not in features:
      raise InputError(f"present[{m!r}] has no modality of that name")
    if here_N.dtype != bool or here_N.ndim != 1:
      raise InputError(
        f"present[{m!r}] must be (N,) bool, got {here_N.dtype} of shape"
        f" {here_N.shape}"
      )
    if not here_N.any():
      raise InputError(
        f"features[{m!r}] is missing from all {len(here_N)} samples"
      )
  if present and present.keys() >= features.keys():
    none_N = ~np.any([*present.values()], 0)
    if none_N.any():
      raise InputError(f"sample {none_N.argmax()} lacks every modality")


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


def _feature(name: str, value: np.ndarray) -> np.ndarray:
  value = np.asarray(value)
  if value.dtype.kind not in "fiub":
    raise InputError(
      f"features[{name!r}] must hold real numbers, got {value.dtype}"
    )
  if value.ndim < 2 or 0 in value.shape:
    raise InputError(
      f"features[{name!r}] must be a non-empty (N, F), (N, T, F), (N, T, H, W,"
      f" F) or the like, got {value.shape}"
    )
  with np.errstate(over="ignore"):  # the check below names the key
    value = value.astype(np.float32, copy=False)
  bad = np.argwhere(~np.isfinite(value))
  if len(bad):
    raise InputError(
      f"features[{name!r}] holds NaN or infinity (as float32), first at"
      f" {tuple(bad[0].tolist())}; clean or clip it"
    )
  return value[:, None] if value.ndim == 2 else value


def _integers(what: str, value: np.ndarray) -> np.ndarray:
  value = np.asarray(value)
  if value.dtype.kind not in "iub" or value.ndim < 1:
    raise InputError(
      f"{what} must hold one integer or more per sample, got {value.dtype} of"
      f" shape {value.shape}"
    )
  if value.size and (value.max() >= 2**31 or value.min() < -(2**31)):
    raise InputError(f"{what} must fit in 32 bits, got {value.max()}")
  return value.astype(np.int32, copy=False)
