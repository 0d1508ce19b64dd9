"""The sample contract, and checks that a source keeps to it.

A sample is a nested dict of NumPy arrays with these keys, the last if needed:

  features: {modality: float32 (T, ...)}, T >= 1; a sequence is (T, F), a vector
    is (1, F), a grid is (T, H, W, F). Modalities may differ in T.
  lengths: {modality: int32 ()}, the number of valid leading time steps, 1..T;
    the steps beyond it are padding. A modality without an entry is all valid.
  labels: {name: integer array}, maybe empty. Pretraining never reads them.
  present: {modality: bool ()}, False where the modality is missing. Its
    features are zeros then, and count nowhere. A modality without an entry is
    always there, and every sample has at least one modality.

A batch is the same dict with one more leading axis. A source is a picklable
object with `len(source)` and `source[i]`. `source[i]` depends on nothing but
`i`, and all samples have the same keys, shapes and dtypes.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from unirep.runtime.errors import InputError

Sample = dict[str, dict[str, np.ndarray]]
Batch = dict[str, dict[str, np.ndarray]]

PARTS = ("features", "lengths", "labels")
PRESENT = "present"
LARGEST = 1e18  # above it sums of squares overflow


class Source(Protocol):
  """Random access to samples; deterministic by index.

  Several threads may read a source if its attribute `concurrent` is true.
  """

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> Sample: ...


def stored(source: Source, index: int) -> Sample:
  """A sample whose features may have the narrower type of their file.

  It is `source.stored(index)` if the source has that method, else
  `source[index]`.
  """
  return getattr(source, "stored", source.__getitem__)(index)


def check_sample(sample: Any, where: str) -> None:
  """Checks one sample against the contract of this module.

  Args:
    sample: the sample, from a source.
    where: its name in the error, e.g. "train[3]".

  Raises:
    InputError: naming `where`, the key and the wrong value.
  """
  if not isinstance(sample, Mapping) or {*sample} - {PRESENT} != {*PARTS}:
    got = sorted(sample) if isinstance(sample, Mapping) else type(sample)
    raise InputError(
      f"{where}: a sample is a dict with the keys {', '.join(PARTS)} (maybe"
      f" empty dicts for the last two) and maybe {PRESENT}, got {got}"
    )
  for part in sample:
    if not isinstance(sample[part], Mapping):
      raise InputError(
        f"{where}: {part} must be a dict of arrays, got {type(sample[part])}"
      )
    for name, value in sample[part].items():
      if not isinstance(value, np.ndarray | np.generic):
        raise InputError(
          f"{where}: {part}[{name!r}] must be a NumPy array, got {type(value)}"
        )
  if not sample["features"]:
    raise InputError(f"{where}: features is empty; give at least one modality")
  for name, value in sample["features"].items():
    _check_feature(value, f"{where}: features[{name!r}]")
  for name, value in sample["lengths"].items():
    _check_length(name, value, sample["features"], where)
  for name, value in sample["labels"].items():
    if not np.issubdtype(value.dtype, np.integer):
      raise InputError(
        f"{where}: labels[{name!r}] must hold integers, got {value.dtype}"
      )
  _check_present(sample, where)


def check_source(source: Source, where: str) -> None:
  """Checks that a source has samples, and its first, middle and last one.

  Three samples catch a wrong layout, not a stray NaN in the millionth sample:
  `Arrays` checks all of its values; other sources must check their own.

  Raises:
    InputError: if the source is empty, breaks the contract, or has samples of
      different keys, shapes or dtypes.
  """
  size = len(source)
  if size < 1:
    raise InputError(f"{where}: the source is empty; it needs a sample or more")
  first = None
  for index in sorted({0, size // 2, size - 1}):
    sample = source[index]
    check_sample(sample, f"{where}[{index}]")
    layout = _layout(sample)
    first = first or layout
    if layout != first:
      key = min(set(layout.items()) ^ set(first.items()))[0]
      raise InputError(
        f"{where}[{index}]: {key} is {layout.get(key, 'missing')} but"
        f" {first.get(key, 'missing')} in {where}[0]; pad samples to one shape"
      )


def _check_feature(value: np.ndarray, name: str) -> None:
  if value.dtype != np.float32:
    raise InputError(f"{name} must be float32, got {value.dtype}")
  if value.ndim < 2 or 0 in value.shape:
    raise InputError(
      f"{name} must be a non-empty (T, F), (T, H, W, F) or the like, got "
      f"{value.shape}"
    )
  if not np.isfinite(value).all():
    raise InputError(f"{name} holds NaN or infinity; clean the features")
  if np.abs(value).max() > LARGEST:
    raise InputError(
      f"{name} holds {np.abs(value).max():g}, whose square is infinite as"
      " float32; scale the features"
    )


def _check_length(
  name: str, value: np.ndarray, features: Mapping[str, np.ndarray], where: str
) -> None:
  if name not in features:
    raise InputError(
      f"{where}: lengths[{name!r}] has no modality of that name; features are"
      f" {', '.join(features)}"
    )
  if value.dtype != np.int32 or value.shape != ():
    raise InputError(
      f"{where}: lengths[{name!r}] must be an int32 scalar, got {value.dtype}"
      f" of shape {value.shape}"
    )
  if not 1 <= value <= len(features[name]):
    raise InputError(
      f"{where}: lengths[{name!r}] must lie in 1..{len(features[name])}, got"
      f" {value}"
    )


def _check_present(sample, where) -> None:
  present = sample.get(PRESENT, {})
  for name, value in present.items():
    if name not in sample["features"]:
      raise InputError(
        f"{where}: present[{name!r}] has no modality of that name; features are"
        f" {', '.join(sample['features'])}"
      )
    if value.dtype != bool or value.shape != ():
      raise InputError(
        f"{where}: present[{name!r}] must be a bool, got {value.dtype} of shape"
        f" {value.shape}"
      )
  if not any(present.get(m, True) for m in sample["features"]):
    raise InputError(f"{where}: the sample lacks all of its modalities")


def _layout(sample: Sample) -> dict[str, str]:
  """One line of dtype and shape for every leaf."""
  return {
    f"{part}[{name!r}]": f"{value.dtype}{value.shape}"
    for part in sample
    for name, value in sample[part].items()
  }
