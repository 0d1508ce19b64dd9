"""Checks of the values of arrays: real numbers, finite, or integers.

Shapes: N samples, T time, F feature width, H/W grid.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

from unirep.data.sample import LARGEST, Sample
from unirep.files import guard
from unirep.runtime.errors import InputError

CHUNK = 2**25  # bytes that are read at once to check all rows


@runtime_checkable
class OnDisk(Protocol):
  """Rows on disk, such as a `columns.Column`; they are read one by one."""

  dtype: np.dtype
  shape: tuple[int, ...]

  @property
  def ndim(self) -> int:
    """Axes, that of the rows included."""
    ...

  @property
  def nbytes(self) -> int:
    """Bytes of all rows."""
    ...

  def __len__(self) -> int: ...

  def __getitem__(self, row: Any, /) -> np.ndarray: ...

  def chunks(self) -> Iterator[np.ndarray]:
    """All rows in order, some at a time."""
    ...

  def place(self, index: int) -> str:
    """The file of a row, for errors."""
    ...


Values = np.ndarray | OnDisk
HUGE = 1e6  # networks are not made for larger features

_log = logging.getLogger(__name__)
# All values of float16, which NumPy converts one by one.
_WIDE = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)


def feature(name: str, value: Values) -> Values:
  """Features of N samples, unchanged or as float32.

  Raises:
    InputError: for a wrong rank or type, and, in memory, NaN or infinity.
  """
  value = value if isinstance(value, OnDisk) else np.asarray(value)
  if value.dtype.kind not in "fiub":
    raise InputError(
      f"features[{name!r}] must hold real numbers, got {value.dtype}"
    )
  if value.ndim < 2 or 0 in value.shape:
    raise InputError(
      f"features[{name!r}] must be a non-empty (N, F), (N, T, F), (N, T, H, W,"
      f" F) or the like, got {value.shape}"
    )
  if isinstance(value, OnDisk):
    one = f"a sample of features[{name!r}]"
    guard.check_room(one, value.nbytes // len(value))
    return value
  if value.dtype.itemsize > 4:
    value = float32(value)
  check_all(name, _chunks(value))
  return value[:, None] if value.ndim == 2 else value


def check_all(name: str, chunks: Iterable[np.ndarray]) -> None:
  """Raises InputError for values that are not finite, or too large.

  Features that all have one value, or are huge, are logged.
  """
  first, low, high = 0, np.inf, -np.inf
  for x in chunks:
    x = float32(x)
    check_finite(name, x, first)
    low, high = min(low, x.min()), max(high, x.max())
    first += len(x)
  if low == high:
    _log.warning(
      "features[%r] are %g everywhere: there is nothing to learn", name, low
    )
  elif max(-low, high) > HUGE:
    _log.warning(
      "features[%r] reach from %g to %g: scale them to a deviation of 1",
      *(name, low, high),
    )


def _chunks(value: np.ndarray) -> Iterator[np.ndarray]:
  step = max(1, CHUNK * len(value) // value.nbytes)
  for start in range(0, len(value), step):
    yield value[start : start + step]


def check_finite(name: str, x: np.ndarray, first: int, where: str = "") -> None:
  """Raises InputError for values that have no finite square.

  Args:
    name: the modality, for the error.
    x: features of some samples.
    first: the index of the first of these.
    where: the beginning of the error.
  """
  if x.dtype == np.float16:  # by its bits, which is ten times as fast
    bits = x.view(np.uint16) & 0x7FFF
    if bits.max(initial=0) < 0x7C00:
      return
  finite = np.isfinite(x)
  if not finite.all():
    at, *rest = np.argwhere(~finite)[0].tolist()
    raise InputError(
      f"{where}features[{name!r}] holds NaN or infinity (as float32), first at"
      f" {(first + at, *rest)}; clean or clip it"
    )
  large = np.abs(x) > LARGEST
  if large.any():
    at, *rest = np.argwhere(large)[0].tolist()
    raise InputError(
      f"{where}features[{name!r}] holds {x[at, *rest]:g} at"
      f" {(first + at, *rest)}, whose square is infinite as float32; scale it"
    )


def float32(x: np.ndarray) -> np.ndarray:
  """The same as float32; values that are too large become infinity."""
  if x.dtype == np.float16 and x.ndim:
    return np.take(_WIDE, x.view(np.uint16))
  with np.errstate(over="ignore"):  # a later check finds infinity
    return x.astype(np.float32, copy=False)


def widened(sample: Sample) -> Sample:
  """The same sample with features as float32."""
  features = {m: float32(x) for m, x in sample["features"].items()}
  return {**sample, "features": features}


def integers(name: str, value: Values) -> np.ndarray:
  """Integers as int32.

  Raises:
    InputError: naming `name`, for other types, or values that do not fit.
  """
  value = value if isinstance(value, OnDisk) else np.asarray(value)
  if value.dtype.kind not in "iub" or value.ndim < 1:
    raise InputError(
      f"{name} must hold one integer or more per sample, got {value.dtype} of"
      f" shape {value.shape}"
    )
  guard.check_room(name, value.nbytes)
  value = np.asarray(value)
  if value.size and (value.max() >= 2**31 or value.min() < -(2**31)):
    raise InputError(f"{name} must fit in 32 bits, got {value.max()}")
  return value.astype(np.int32, copy=False)
