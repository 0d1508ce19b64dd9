"""The Free Spoken Digit Dataset: finding it, reading it, its log-mel bank.

Recordings are `{digit}_{speaker}_{take}.wav`, mono, 8 kHz, in a folder or a
zip at any depth (upstream keeps them in `recordings/`).

Shapes: N recordings, S audio samples, L frames, B mel bands, F features.
"""

import contextlib
import functools
import io
import os
import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import soundfile

from unirep.data import raw
from unirep.data.raw import Spectrum
from unirep.files import guard, zips
from unirep.runtime.errors import InputError

RATE = 8000  # Hz
_BINS, _BANDS = 8, 16
SHAPE = _BINS, _BANDS  # of a second
WIDTH = _BINS * _BANDS
_WINDOW, _HOP, _NFFT = 200, 80, 256  # 25 ms and 10 ms
_LOW_HZ, _HIGH_HZ = 60.0, 4000.0
SPECTRUM = Spectrum(RATE, _WINDOW, _HOP, _NFFT)
_MOST = 2**24  # bytes of a recording
_FLOOR = 1e-4  # of power; about the room noise of a peak-normalized recording

_NAME = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")
_URL = "https://github.com/Jakobovski/free-spoken-digit-dataset"
_HOW = (
  f"download the zip of {_URL} and give its path (or that of its recordings"
  " folder) as fsdd, or in the environment variable UNIREP_FSDD"
)


class Speech(NamedTuple):
  """All recordings of one copy of the dataset, in the order of their names.

  Attributes:
    logmel_NxF: float32 log-mel features, not standardized.
    digit_N: 0..9.
    speaker_N: names.
    take_N: 0..49.
  """

  logmel_NxF: np.ndarray
  digit_N: np.ndarray
  speaker_N: np.ndarray
  take_N: np.ndarray


def load_speech(fsdd: str = "") -> Speech:
  """Reads every recording; a few seconds, once per process and path.

  Args:
    fsdd: folder or zip; empty means the environment variable UNIREP_FSDD, or
      else TFDS `spoken_digit`, which holds five of the six speakers and needs
      TensorFlow and pydub installed.

  Raises:
    InputError: if there is no such path, no recording in it or a broken one.
  """
  return _load(fsdd or os.environ.get("UNIREP_FSDD", ""))


@functools.lru_cache(maxsize=2)
def _load(path: str) -> Speech:
  clips = dict(_read_path(path) if path else _read_tfds())  # one per name
  if not clips:
    raise InputError(
      f"{path or 'TFDS spoken_digit'} holds no"
      f" {{digit}}_{{speaker}}_{{take}}.wav; {_HOW}"
    )
  names = sorted(clips)
  parts = [name.removesuffix(".wav").split("_") for name in names]
  return Speech(
    logmel_NxF=log_mel(np.stack([clips[name] for name in names])),
    digit_N=np.array([int(p[0]) for p in parts]),
    speaker_N=np.array([p[1] for p in parts]),
    take_N=np.array([int(p[2]) for p in parts]),
  )


def log_mel(clips_NxS: np.ndarray) -> np.ndarray:
  """Log-mel features (N, 128) of one-second clips (N, 8000).

  The log power of 16 mel bands (25 ms Hann window, 10 ms hop, 256-point FFT,
  60-4000 Hz), averaged in 8 equal time bins; time is the slower axis.
  """
  weight_KxB = _mel_filters()
  window_W = np.hanning(_WINDOW).astype(np.float32)
  out = []
  for chunk in np.array_split(clips_NxS, len(clips_NxS) // 256 + 1):
    frames_NxLxW = np.lib.stride_tricks.sliding_window_view(
      chunk, _WINDOW, axis=1
    )[:, ::_HOP]
    power_NxLxK = np.abs(np.fft.rfft(frames_NxLxW * window_W, _NFFT)) ** 2
    log_NxLxB = np.log(power_NxLxK @ weight_KxB + _FLOOR)
    bins = np.array_split(log_NxLxB, _BINS, axis=1)
    out.append(np.stack([b.mean(axis=1) for b in bins], axis=1))
  return np.concatenate(out).reshape(len(clips_NxS), WIDTH).astype(np.float32)


def magnitudes(logmel_TxF: np.ndarray) -> np.ndarray:
  """Spectra (F, K) estimated from the (T, 128) features of seconds.

  All frames of a bin become the mean that the bin holds.
  """
  energy_TxLxB = np.exp(logmel_TxF.reshape(-1, *SHAPE)) - _FLOOR
  frames = (RATE - _WINDOW) // _HOP + 1
  counts = [len(part) for part in np.array_split(range(frames), _BINS)]
  energy_TxLxB = np.repeat(energy_TxLxB, counts, axis=1)
  whole = np.pad(energy_TxLxB, [(0, 0), (0, RATE // _HOP - frames), (0, 0)])
  power = raw.magnitudes(whole.reshape(-1, _BANDS), _mel_filters())
  return np.sqrt(power)


def _mel_filters() -> np.ndarray:
  """Triangles of height one, equally spaced in mel: (FFT bins, bands)."""
  low, high = (2595 * np.log10(1 + f / 700) for f in (_LOW_HZ, _HIGH_HZ))
  edges = 700 * (10 ** (np.linspace(low, high, _BANDS + 2) / 2595) - 1)
  hertz = np.fft.rfftfreq(_NFFT, 1 / RATE)[:, None]
  rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
  fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
  return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


def _one_second(wave_S: np.ndarray, where: str) -> np.ndarray:
  """The first second, zero-padded at its end, with a peak of 1."""
  clip_S = np.zeros(RATE, np.float32)
  clip_S[: len(wave_S)] = wave_S[:RATE]
  peak = np.abs(clip_S).max()
  if not 0 < peak < np.inf:
    raise InputError(
      f"{where} is empty, silent or not finite; replace the file"
    )
  return clip_S / peak


def _read_path(path: str) -> Iterator[tuple[str, np.ndarray]]:
  """Yields (base name, one second) of the recordings in a folder or a zip."""
  for name, where, data in _read_bytes(path):
    try:
      wrong = guard.riff_fault(io.BytesIO(data), len(data))
      if wrong:
        raise ValueError(wrong)
      # One second only: a packed file may claim any length.
      wave_S, rate = soundfile.read(
        io.BytesIO(data), frames=RATE, dtype="float32"
      )
    except (soundfile.SoundFileError, *guard.BROKEN) as error:
      raise InputError(
        f"{where} is not a readable wav ({guard.reason(error)}); replace the"
        " file"
      ) from error
    if rate != RATE or wave_S.ndim != 1:
      raise InputError(
        f"{where} must be mono at {RATE} Hz, got {wave_S.shape} at {rate} Hz"
      )
    yield name, _one_second(wave_S, where)


def _read_bytes(path: str) -> Iterator[tuple[str, str, bytes]]:
  """Yields (base name, full name for errors, file contents)."""
  root = pathlib.Path(path)
  if root.is_dir():
    for file in sorted(root.rglob("*.wav")):
      if _NAME.fullmatch(file.name):
        yield file.name, str(file), guard.read_bytes(file, _MOST)
    return
  if not root.exists():
    raise InputError(f"{path}: no such file or folder; {_HOW}")
  member = ""
  try:
    with zips.opened(path) as archive:
      for info in zips.members(archive):
        member = info.filename
        name = member.rsplit("/", 1)[-1]
        if _NAME.fullmatch(name):
          yield name, f"{path}/{member}", zips.read(archive, info, _MOST)
  except guard.BROKEN as error:
    raise InputError(
      f"{path} is not a readable zip ({member or 'archive'}:"
      f" {guard.reason(error)}); download it again"
    ) from error


def _read_tfds() -> Iterator[tuple[str, np.ndarray]]:
  """Yields the same from TFDS, whose import is slow and may fail."""
  try:
    # Without TensorFlow, TFDS prints a banner where one line is to come.
    with contextlib.redirect_stdout(io.StringIO()):
      import tensorflow_datasets as tfds

      examples = list(tfds.data_source("spoken_digit", split="train"))
  except Exception as error:  # TFDS, its network and its files raise any
    reason = (str(error).splitlines() or [type(error).__name__])[-1]
    reason = reason.rsplit('}": ', 1)[-1]  # without TFDS's arguments
    raise InputError(
      f"no spoken digits: TFDS spoken_digit failed ({reason}); {_HOW}"
    ) from error
  for example in examples:
    name = example["audio/filename"]
    name = name.decode() if isinstance(name, bytes) else str(name)
    yield name, _one_second(np.asarray(example["audio"], np.float32), name)
