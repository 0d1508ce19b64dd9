"""Checks of the features, codes and masks that users pass to a frozen model.

Dimensions: B samples, T time, F feature width, K codes, D code width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.runtime.errors import InputError


class Padded(NamedTuple):
  """Features of a modality, padded to one number of steps.

  Attributes:
    x: (B, T, ...), zeros at padding and at missing modalities.
    length_B: number of valid steps of each sample.
    ragged: whether the user passed a list.
    missing_B: True for samples without the modality.
  """

  x: np.ndarray
  length_B: np.ndarray
  ragged: bool
  missing_B: np.ndarray

  @property
  def valid_BxT(self) -> np.ndarray:
    """False at padding."""
    return np.arange(self.x.shape[1]) < self.length_B[:, None]

  def unpad(self, x: np.ndarray) -> Any:
    """Results (B, T, ...) in the form of the input: a list if it was one."""
    if not self.ragged:
      return x
    return [row[:n] for row, n in zip(x, self.length_B, strict=True)]


def checked(name: str, x: Any, axes: Sequence[str], width: int) -> Any:
  """Features as float32: an array (B, T, ...), or a list of B arrays (T, ...).

  Args:
    name: name of the modality.
    x: an array (B, T, ...), or a list of B arrays (T, ...) that may differ in
      T. Without the axis of time there is one step.
    axes: names of the axes of a step's features, the width last.
    width: the width that the model takes.

  Raises:
    InputError: for a wrong rank, width or type, NaN, or no samples.
  """
  if not isinstance(x, list | tuple):
    return _array(name, x, 1, axes, width)
  parts = [_array(name, part, 0, axes, width) for part in x]
  if not parts:
    raise InputError(f"{name!r}: the list of samples is empty")
  shapes = {part.shape[1:] for part in parts}
  if len(shapes) > 1:
    raise InputError(f"{name!r}: samples differ beyond time: {shapes}")
  return parts


def fill_missing(
  features: Mapping[str, Any], allowed: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Replaces samples that are all NaN, which stand for a missing modality.

  Args:
    features: modality -> features, as `checked` takes them.
    allowed: whether the model was trained with missing modalities; otherwise
      nothing is replaced.

  Returns:
    The features with zeros for such samples, and modality -> (B,) bool, True
    for such samples; empty where nothing may be missing.
  """
  filled, missing = {}, {}
  for m, x in features.items():
    ragged = isinstance(x, list | tuple)
    samples = [np.asarray(part) for part in x] if ragged else np.asarray(x)
    # `checked` refuses arrays of another rank.
    rows = samples if ragged or np.ndim(samples) > 1 else ()
    missing[m] = np.array([_is_nan(x) for x in rows if allowed], bool)
    if missing[m].any():
      pairs = zip(samples, missing[m], strict=True)
      samples = [np.zeros_like(x) if absent else x for x, absent in pairs]
      samples = samples if ragged else np.stack(samples)
    filled[m] = samples
  return filled, missing


def _is_nan(x: np.ndarray) -> bool:
  return x.dtype.kind == "f" and x.size > 0 and bool(np.isnan(x).all())


def padded(name: str, x: Any, length: Any, missing_B: np.ndarray) -> Padded:
  """Pads checked features to one number of steps.

  Args:
    name: name of the modality.
    x: result of `checked`.
    length: number of valid steps of each sample of an array, or None for all.
    missing_B: see `fill_missing`.

  Raises:
    InputError: for lengths that do not fit the features.
  """
  ragged = isinstance(x, list)
  if ragged:
    x, length = stack(x)
  elif length is None:
    length = np.full(len(x), x.shape[1])
  length_B = np.asarray(length)
  if length_B.shape != x.shape[:1] or not (
    np.issubdtype(length_B.dtype, np.integer)
    and ((length_B >= 1) & (length_B <= x.shape[1])).all()
  ):
    raise InputError(
      f"lengths of {name!r} must be {len(x)} integers in 1..{x.shape[1]}"
    )
  missing_B = missing_B if missing_B.size else np.zeros(len(x), bool)
  return Padded(x, length_B, ragged, missing_B)


def stack(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Samples (T, ...) padded with zeros to (B, T, ...), and their lengths."""
  length_B = np.array([len(part) for part in parts])
  shape = (len(parts), length_B.max(), *parts[0].shape[1:])
  out = np.zeros(shape, parts[0].dtype)
  for row, part in zip(out, parts, strict=True):
    row[: len(part)] = part
  return out, length_B


def codes(codes: Any, size: int) -> np.ndarray:
  """Codes (B, T) as an array.

  Args:
    codes: integers (B, T), -1 for none.
    size: K.

  Raises:
    InputError: for another shape or type, or codes out of range.
  """
  even = not isinstance(codes, list) or len({np.shape(x) for x in codes}) == 1
  idx_BxT = np.asarray(codes if even and np.ndim(codes) else 0.0)
  if idx_BxT.ndim != 2 or not np.issubdtype(idx_BxT.dtype, np.integer):
    raise InputError(
      f"codes must be integers (B, T), got {idx_BxT.dtype} of shape"
      f" {idx_BxT.shape}"
    )
  if not idx_BxT.size or not (idx_BxT.min() >= -1 and idx_BxT.max() < size):
    raise InputError(f"codes must lie in 0..{size - 1}, or be -1 for none")
  return idx_BxT


def _array(name, x, leading, axes, width) -> np.ndarray:
  x = np.asarray(x)
  wanted = ", ".join([*(("B",) * leading), "T", *axes[:-1], str(width)])
  if x.dtype.kind not in "fiub":
    raise InputError(f"{name!r} must hold numbers, got {x.dtype}")
  rank = leading + 1 + len(axes)
  if x.ndim == rank - 1:
    x = np.expand_dims(x, leading)
  if x.ndim != rank or x.shape[-1] != width or not x.size:
    raise InputError(f"{name!r} must be a non-empty ({wanted}), got {x.shape}")
  with np.errstate(over="ignore"):  # overflow is reported as infinity below
    x = x.astype(np.float32)
  if not np.isfinite(x).all():
    raise InputError(f"{name!r} holds NaN or infinity; clean the features")
  return x


def dimensions(keep: Any, dim: int) -> np.ndarray:
  """Indices of the dimensions to keep.

  Args:
    keep: a mask (D,) of bool, or indices.
    dim: D.

  Raises:
    InputError: for anything else.
  """
  keep = np.asarray(keep)
  if keep.dtype == bool and keep.shape != (dim,):
    raise InputError(f"keep is a mask of shape {keep.shape}, not ({dim},)")
  if keep.dtype != bool and not (
    keep.ndim == 1
    and np.issubdtype(keep.dtype, np.integer)
    and ((keep >= 0) & (keep < dim)).all()
  ):
    raise InputError(f"keep must hold dimensions in 0..{dim - 1}")
  return np.flatnonzero(keep) if keep.dtype == bool else keep
