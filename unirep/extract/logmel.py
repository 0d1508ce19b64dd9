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
  """Constants of the log-mel transform, and of its average over time.

  Attributes:
    rate: samples a second.
    frame: seconds of a frame.
    hop: seconds from one frame to the next.
    bands: number of bands of the mel scale.
    low: lower edge of the lowest band, in Hz.
    high: upper edge of the highest band, in Hz.
    offset: added to energies before the logarithm.
    parts: equal parts of a segment, over each of which frames are averaged.
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
  """Means of all bands over each part of a segment, concatenated."""
  options: LogMel = parse("logmel", argument, LogMel())
  least = {"rate": 1000, "frame": 0.001, "hop": 0.001, "bands": 1, "parts": 1}
  require("logmel", options, **least, low=0, offset=1e-12)
  if not options.low < options.high <= options.rate / 2:
    raise InputError(
      f"logmel: low={options.low} and high={options.high} must rise, up to"
      f" half of rate={options.rate}"
    )

  def run(wave_NxS):
    return means(log_mel(wave_NxS, options), options.parts, "logmel frames")

  return Extractor(
    name=f"logmel:{argument}" if argument else "logmel",
    takes="waveform",
    shape=(options.parts * options.bands,),
    rate=options.rate,
    # A frame for every part.
    window=options.frame + (options.parts - 1) * options.hop,
    load=lambda: Loaded(run, ""),
  )


def log_mel(wave_NxS: np.ndarray, options: LogMel) -> np.ndarray:
  """Logarithms of mel-weighted magnitudes of whole frames, (N, F, M).

  Frames have a periodic Hann window and are padded to a power of two; bands
  are triangles on the mel scale.

  Raises:
    InputError: for a waveform shorter than a frame.
  """
  length = round(options.frame * options.rate)
  hop = round(options.hop * options.rate)
  if wave_NxS.shape[-1] < length:
    raise InputError(
      f"logmel: a segment has {wave_NxS.shape[-1]} samples, a frame {length}"
    )
  frame_NxFxS = np.lib.stride_tricks.sliding_window_view(wave_NxS, length, -1)
  # In float64: a quiet band beside a loud one is rounding noise otherwise.
  window_S = np.hanning(length + 1)[:-1]
  size = transform(options)
  magnitude_NxFxB = np.abs(np.fft.rfft(frame_NxFxS[:, ::hop] * window_S, size))
  mel_NxFxM = magnitude_NxFxB @ _mel(options, size)
  return np.log(mel_NxFxM + options.offset).astype(np.float32)


def transform(options: LogMel) -> int:
  """The size of the Fourier transform of a frame."""
  return 1 << (round(options.frame * options.rate) - 1).bit_length()


def weights(options: LogMel) -> np.ndarray:
  """The weight of each bin of a spectrum in each band, (B, M)."""
  return _mel(options, transform(options))


@functools.cache
def _mel(options: LogMel, size: int) -> np.ndarray:
  """The weight of each bin in each band, (B, M); 0 Hz has weight 0."""

  def mels(hertz):
    return _SCALE * np.log1p(np.asarray(hertz) / _BREAK)

  bin_Bx1 = mels(np.fft.rfftfreq(size, 1 / options.rate))[:, None]
  edges = np.linspace(mels(options.low), mels(options.high), options.bands + 2)
  low_M, peak_M, high_M = edges[:-2], edges[1:-1], edges[2:]
  rise_BxM = (bin_Bx1 - low_M) / (peak_M - low_M)
  fall_BxM = (high_M - bin_Bx1) / (high_M - peak_M)
  weight_BxM = np.maximum(0, np.minimum(rise_BxM, fall_BxM))
  weight_BxM[0] = 0
  return weight_BxM
