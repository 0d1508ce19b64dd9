"""What can be seen or heard of samples: the raw side of their features.

A source that has it answers `raw()` with a `Raw` for every modality of that
kind; all others have nothing to show. Shapes: T time, H/W rows and columns, C
channels, F frames.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from unirep.data.sample import Source
from unirep.runtime.errors import InputError

PICTURES, JOINTS, SOUND, CURVES = "pictures", "joints", "sound", "curves"


class Spectrum(NamedTuple):
  """How frames of a sound were made.

  Attributes:
    rate: samples a second.
    window: samples of a Hann window.
    hop: samples from one frame to the next.
    size: of the Fourier transform.
  """

  rate: int
  window: int
  hop: int
  size: int


class Shown(NamedTuple):
  """Something that a person understands.

  Attributes:
    kind: `PICTURES` (F, H, W), 0 black to 1 white; `JOINTS` (F, J, 3): right,
      up and away, in meters; `SOUND` (F, size / 2 + 1), magnitudes of a Fourier
      transform; `CURVES` (F, C), in units of their deviation.
    values: see there.
    seconds: how long all of it takes, where it has a length.
    bones: of joints: pairs that are connected.
    spectrum: of a sound.
  """

  kind: str
  values: np.ndarray
  seconds: float | None = None
  bones: tuple[tuple[int, int], ...] = ()
  spectrum: Spectrum | None = None


def magnitudes(energy_FxM: np.ndarray, weight_KxM: np.ndarray) -> np.ndarray:
  """What bands were summed from, by least squares and not below 0: (F, K)."""
  return np.maximum(energy_FxM @ np.linalg.pinv(weight_KxM), 0)


class Raw(NamedTuple):
  """One modality of a source.

  Attributes:
    at: index of a sample -> its steps (T, H, W, C) float32: what is generated.
      H is time within a step, or rows of a picture.
    show: such steps -> what is seen or heard of them.
  """

  at: Callable[[int], np.ndarray]
  show: Callable[[np.ndarray], Shown]


def of(source: Source, modality: str, where: str) -> Raw:
  """The raw side of one modality.

  Raises:
    InputError: naming `where`, if there is none.
  """
  known = getattr(source, "raw", dict)()
  if modality not in known:
    has = f"only of {', '.join(known)}" if known else "of no modality"
    raise InputError(
      f"{where} has nothing of {modality!r} that can be seen or heard, {has};"
      " sources that have are digits, grid and utd, and your own with `raw()`"
    )
  return known[modality]


def stack(raw: Raw, count: int) -> np.ndarray:
  """The raw steps of the first `count` samples: (N, T, H, W, C)."""
  return np.stack([raw.at(i) for i in range(count)])
