"""Log-mel energies, by default with the constants of VGGish and YAMNet.

Dimensions: N segments, S samples, F frames, B bins of a spectrum, M bands.
"""

import functools
from typing import NamedTuple

import numpy as np

from unirep.extract.extractor import Extractor, Loaded, means, parse, require
from unirep.runtime.errors import InputError

_BREAK, _SCALE = 700.0, 1127.0  # Hz, and mels in e-folds: the HTK formula


class LogMel(NamedTuple):
  """How a waveform becomes log-mel energies, and those become features.

  Attributes:
    rate: samples a second.
    frame: seconds of a frame.
    hop: seconds from one frame to the next.
    bands: of the mel scale.
    low: where the lowest band begins, in Hz.
    high: where the highest one ends, in Hz.
    offset: what is added before the logarithm.
    parts: in how many equal parts of a segment frames are averaged.
  """

  rate: int = 16000
  frame: float = 0.025
  hop: float = 0.010
  bands: int = 64
  low: float = 125.0
  high: float = 7500.0
  offset: float = 0.01
  parts: int = 4


def extractor(argument: str = "") -> Extractor:
  """The bands of each part of a segment, one behind the other."""
  how: LogMel = parse("logmel", argument, LogMel())
  least = {"rate": 1000, "frame": 0.001, "hop": 0.001, "bands": 1, "parts": 1}
  require("logmel", how, **least, low=0, offset=1e-12)
  if not how.low < how.high <= how.rate / 2:
    raise InputError(
      f"logmel: low={how.low} and high={how.high} must rise, up to half of"
      f" rate={how.rate}"
    )

  def run(wave_NxS):
    return means(log_mel(wave_NxS, how), how.parts, "logmel frames")

  return Extractor(
    name=f"logmel:{argument}" if argument else "logmel",
    takes="waveform",
    shape=(how.parts * how.bands,),
    rate=how.rate,
    window=how.frame + (how.parts - 1) * how.hop,  # a frame for every part
    load=lambda: Loaded(run, ""),
  )


def log_mel(wave_NxS: np.ndarray, how: LogMel) -> np.ndarray:
  """Log of mel-weighted magnitudes of frames that lie inside: (N, F, M).

  Frames have a periodic Hann window and are padded to a power of two; bands
  are triangles on the mel scale.

  Raises:
    InputError: for less than a frame.
  """
  length, hop = round(how.frame * how.rate), round(how.hop * how.rate)
  if wave_NxS.shape[-1] < length:
    raise InputError(
      f"logmel: a segment has {wave_NxS.shape[-1]} samples, a frame {length}"
    )
  frame_NxFxS = np.lib.stride_tricks.sliding_window_view(wave_NxS, length, -1)
  # In float64: a quiet band beside a loud one is rounding noise otherwise.
  window_S = np.hanning(length + 1)[:-1]
  size = transform(how)
  magnitude_NxFxB = np.abs(np.fft.rfft(frame_NxFxS[:, ::hop] * window_S, size))
  mel_NxFxM = magnitude_NxFxB @ _mel(how, size)
  return np.log(mel_NxFxM + how.offset).astype(np.float32)


def transform(how: LogMel) -> int:
  """The size of the Fourier transform of a frame."""
  return 1 << (round(how.frame * how.rate) - 1).bit_length()


def weights(how: LogMel) -> np.ndarray:
  """The weight of each bin of a spectrum in each band, (B, M)."""
  return _mel(how, transform(how))


@functools.cache
def _mel(how: LogMel, size: int) -> np.ndarray:
  """The weight of each bin in each band, (B, M); that of 0 Hz is zero."""

  def mels(hertz):
    return _SCALE * np.log1p(np.asarray(hertz) / _BREAK)

  bin_Bx1 = mels(np.fft.rfftfreq(size, 1 / how.rate))[:, None]
  edges = np.linspace(mels(how.low), mels(how.high), how.bands + 2)
  low_M, peak_M, high_M = edges[:-2], edges[1:-1], edges[2:]
  rise_BxM = (bin_Bx1 - low_M) / (peak_M - low_M)
  fall_BxM = (high_M - bin_Bx1) / (high_M - peak_M)
  weight_BxM = np.maximum(0, np.minimum(rise_BxM, fall_BxM))
  weight_BxM[0] = 0
  return weight_BxM
