"""Raw media of samples, which can be seen or heard.

A source that has them has a method `raw()`: modality -> `Raw`, for modalities
that can be shown. Shapes: T time, H/W rows and columns, C channels, F frames.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from unirep.data.sample import Source
from unirep.runtime.errors import InputError

PICTURES, JOINTS, SOUND, CURVES = "pictures", "joints", "sound", "curves"


class Spectrum(NamedTuple):
  """Settings of the Fourier transform that frames of a sound come from.

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
  """Pictures, a sound or curves, for a person to look at or listen to.

  Attributes:
    kind: `PICTURES` (F, H, W), 0 black to 1 white; `JOINTS` (F, J, 3): right,
      up and away, in meters; `SOUND` (F, size / 2 + 1), magnitudes of a Fourier
      transform; `CURVES` (F, C), in units of their deviation.
    values: an array of the shape that belongs to the kind.
    seconds: its duration, if it has one.
    bones: pairs of joints that are connected.
    spectrum: the settings of a sound.
  """

  kind: str
  values: np.ndarray
  seconds: float | None = None
  bones: tuple[tuple[int, int], ...] = ()
  spectrum: Spectrum | None = None


def magnitudes(energy_FxM: np.ndarray, weight_KxM: np.ndarray) -> np.ndarray:
  """Spectra (F, K) whose sums in bands are given, by least squares, >= 0."""
  return np.maximum(energy_FxM @ np.linalg.pinv(weight_KxM), 0)


class Raw(NamedTuple):
  """Raw media of one modality of a source.

  Attributes:
    at: index of a sample -> its steps (T, H, W, C) float32, as generators learn
      them. H is time within a step, or rows of a picture.
    show: such steps -> pictures, a sound or curves.
  """

  at: Callable[[int], np.ndarray]
  show: Callable[[np.ndarray], Shown]


def of(source: Source, modality: str, where: str) -> Raw:
  """The raw media of one modality.

  Raises:
    InputError: naming `where`, if the source has none.
  """
  media = getattr(source, "raw", dict)()
  if modality not in media:
    has = f"only of {', '.join(media)}" if media else "of no modality"
    raise InputError(
      f"{where} has nothing of {modality!r} that can be seen or heard, {has};"
      " sources that have are digits, grid and utd, and your own with `raw()`"
    )
  return media[modality]


def stack(raw: Raw, count: int) -> np.ndarray:
  """The raw steps of the first `count` samples: (N, T, H, W, C)."""
  return np.stack([raw.at(i) for i in range(count)])
