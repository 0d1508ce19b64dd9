"""What users give a frozen model, checked.

Dimensions: B samples, T time, F feature width, D code width.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.runtime.errors import InputError


class Given(NamedTuple):
  """Features of a modality, stacked.

  Attributes:
    x: (B, T, ...), zeros at padding.
    length_B: valid steps of each sample.
    ragged: whether they came as a list.
    lacks_B: True for samples that have none.
  """

  x: np.ndarray
  length_B: np.ndarray
  ragged: bool
  lacks_B: np.ndarray

  @property
  def valid_BxT(self) -> np.ndarray:
    """True but at padding."""
    return np.arange(self.x.shape[1]) < self.length_B[:, None]

  def cut(self, x: np.ndarray) -> Any:
    """Results (B, T, ...) as the features came: a list without padding."""
    if not self.ragged:
      return x
    return [row[:n] for row, n in zip(x, self.length_B, strict=True)]


def checked(name: str, x: Any, axes: Sequence[str], width: int) -> Any:
  """Features as float32.

  Args:
    name: of the modality.
    x: an array (B, T, ...), or a list of B arrays (T, ...) that may differ in
      T; an axis less means one time step.
    axes: of a time step's features, the width last.
    width: how wide they must be.

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


def lacking(
  features: Mapping[str, Any], allowed: bool
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Zeros for samples that are all NaN, where that may say that they lack it.

  Returns:
    The features, and for each modality (B,) bool, True there.
  """
  whole, lacks = {}, {}
  for m, x in features.items():
    ragged = isinstance(x, list | tuple)
    parts = [np.asarray(part) for part in x] if ragged else np.asarray(x)
    rows = parts if ragged or np.ndim(parts) > 1 else ()  # or it is refused
    lacks[m] = np.array([_is_nan(x) for x in rows if allowed], bool)
    if lacks[m].any():
      pairs = zip(parts, lacks[m], strict=True)
      parts = [np.zeros_like(x) if lacks_it else x for x, lacks_it in pairs]
      parts = parts if ragged else np.stack(parts)
    whole[m] = parts
  return whole, lacks


def _is_nan(x: np.ndarray) -> bool:
  return x.dtype.kind == "f" and x.size > 0 and bool(np.isnan(x).all())


def given(name: str, x: Any, length: Any, lacks_B: np.ndarray) -> Given:
  """Checked features as arrays, whatever they came as.

  Args:
    name: of the modality.
    x: see `checked`.
    length: valid steps of each sample of an array, or None for all.
    lacks_B: see `lacking`; empty where nothing may lack.

  Raises:
    InputError: for lengths that do not fit.
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
  lacks_B = lacks_B if lacks_B.size else np.zeros(len(x), bool)
  return Given(x, length_B, ragged, lacks_B)


def stack(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Samples (T, ...) that differ in T -> (B, T, ...) with zeros, and each T."""
  length_B = np.array([len(part) for part in parts])
  shape = (len(parts), length_B.max(), *parts[0].shape[1:])
  out = np.zeros(shape, parts[0].dtype)
  for row, part in zip(out, parts, strict=True):
    row[: len(part)] = part
  return out, length_B


def codes(codes: Any, size: int) -> np.ndarray:
  """Codes (B, T) as an array.

  Args:
    codes: integers, -1 for none.
    size: K, the number of codes there are.

  Raises:
    InputError: for what is no array (B, T) of such codes.
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
  with np.errstate(over="ignore"):  # the check below says it
    x = x.astype(np.float32)
  if not np.isfinite(x).all():
    raise InputError(f"{name!r} holds NaN or infinity; clean the features")
  return x


def dimensions(keep: Any, dim: int) -> np.ndarray:
  """Indices of the dimensions that a mask (D,), or indices, keep.

  Raises:
    InputError: for what is neither.
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
