"""Spoken and handwritten digits: a real audio-visual-text source in seconds.

Audio is the Free Spoken Digit Dataset, video the 8x8 handwriting that
scikit-learn ships, text a caption around the digit word. No test recording and
no test image is ever in the train split.

Shapes: N bank rows, T time, F feature width, H/W grid.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn import datasets

from unirep.data import raw
from unirep.data.procedural import captions, draws, speech
from unirep.data.raw import Raw, Shown
from unirep.data.sample import Sample
from unirep.runtime.errors import InputError

# fmt: off
WORDS = ("zero", "one", "two", "three", "four",
         "five", "six", "seven", "eight", "nine")
# fmt: on
BACKGROUND = len(WORDS)  # its label, and its row group in a bank
TIME, MIN_EVENT = 10, 4  # segments
TEXT_TIME, TEXT_WIDTH = 10, 64
TEST_TAKES = 5  # upstream's own split: takes 0-4 are the test
TRAIN_IMAGES = 1400

_SIDE, _FILTER, _STRIDE, _FILTERS = 28, 16, 2, 64
_THRESHOLD = 0.35  # standard deviations; leaves 63 % zeros, like VGG's pool5
_POSITIVE_MEAN = 0.5
_NOISE_ROWS = 512
# The filters and word vectors stand for pretrained extractors: they are part
# of the data, so no seed of an experiment may change them.
_FILTER_SEED, _WORD_SEED, _NOISE_SEED = 0, 1, 2


class Frames(NamedTuple):
  """Frames sorted by digit, then background: a bank to draw segments from.

  Attributes:
    rows: (N, ...) float32.
    raw: (N, H, W, 1) float32, the media that the rows are features of.
    starts: (12,) row at which each of the 11 groups starts, and N.
  """

  rows: np.ndarray
  raw: np.ndarray
  starts: np.ndarray

  def draw(self, rng: np.random.Generator, ids_T: np.ndarray) -> np.ndarray:
    """Independent rows (T,) of the digits (or BACKGROUND) in `ids_T`."""
    counts = np.diff(self.starts)[ids_T]
    offsets = (rng.random(len(ids_T)) * counts).astype(np.int64)
    return self.starts[ids_T] + offsets


class Bank(NamedTuple):
  """All material of a split, from which sequences are composed.

  Attributes:
    audio: recordings.
    video: images.
    captions: words.
    scale: mean and deviation of log-mels of the train split, (F,) each.
  """

  audio: Frames
  video: Frames
  captions: captions.Captions
  scale: tuple[np.ndarray, np.ndarray]


class Digits:
  """A source of one-event sequences over real recordings and handwriting.

  A digit, and a window of 4 to 10 of the 10 one-second segments in which every
  segment plays a recording and shows an image of it, drawn independently;
  noise in both outside the window. A pure function of (seed, split, index)
  and the recordings. Samples hold
    features: audio (10, 128) standardized log-mel, video (10, 7, 7, 64)
      rectified filter responses, text (10, 64) zero-padded word vectors;
    lengths: text, the number of words;
    labels: class (); segments, segments/audio and segments/video (10,), the
      digit, or 10 for background (the three agree: the window is shared).

  Args:
    split: "train" or "test".
    size: number of sequences.
    seed: of the draws.
    fsdd: folder or zip of the recordings; see `speech.load_speech`.
    speaker_out: if given, the test split is this speaker's recordings and the
      train split those of all others; else takes 0-4 of everyone are the test.

  Raises:
    InputError: for a bad argument, a missing or broken recording, or a speaker
      or digit without recordings.
  """

  def __init__(
    self,
    split: str = "train",
    *,
    size: int = 4000,
    seed: int = 0,
    fsdd: str = "",
    speaker_out: str = "",
  ):
    draws.check_stream(size=size, seed=seed, split=split)
    self._size, self._seed, self._split = size, seed, split
    self._bank = make_bank(split, fsdd=fsdd, speaker_out=speaker_out)

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int, /) -> Sample:
    ids_T, (text_TxF, words), rows = self._drawn(index)
    digit = ids_T.min()
    return {
      "features": {
        "audio": self._bank.audio.rows[rows["audio"]],
        "video": self._bank.video.rows[rows["video"]],
        "text": text_TxF,
      },
      "lengths": {"text": words},
      "labels": {
        "class": np.array(digit, np.int32),
        "segments": ids_T,
        "segments/audio": ids_T,
        "segments/video": ids_T,
      },
    }

  def raw(self) -> dict[str, Raw]:
    """Images of 8 x 8 and log-mels of 8 x 16 (time, bands); see `data.raw`."""
    return show_bank(self._bank, lambda index: self._drawn(index)[2])

  def _drawn(self, index: int):
    """Labels of the segments, a caption, and the rows of their frames."""
    rng = draws.generator(self._seed, self._split, range(self._size)[index])
    digit = int(rng.integers(len(WORDS)))
    window = draws.draw_window(rng, TIME, MIN_EVENT, TIME)
    ids_T = draws.segment_ids(TIME, window, digit, BACKGROUND)
    caption = self._bank.captions.draw(rng, digit)
    rows = {"audio": self._bank.audio.draw(rng, ids_T)}
    rows["video"] = self._bank.video.draw(rng, ids_T)
    return ids_T, caption, rows


def show_bank(bank: Bank, rows: Callable[[int], Any]) -> dict[str, Raw]:
  """Raw media of samples; `rows` maps an index to rows by modality."""

  def pictures(x_TxHxWx1):
    return Shown(raw.PICTURES, x_TxHxWx1[..., 0].clip(0, 1))

  def sound(x_TxHxWx1):
    mean_F, deviation_F = bank.scale
    logmel_TxF = x_TxHxWx1.reshape(-1, speech.WIDTH) * deviation_F + mean_F
    return Shown(
      raw.SOUND,
      speech.magnitudes(logmel_TxF),
      spectrum=speech.SPECTRUM,
      seconds=float(len(logmel_TxF)),
    )

  return {
    "video": Raw(lambda i: bank.video.raw[rows(i)["video"]], pictures),
    "audio": Raw(lambda i: bank.audio.raw[rows(i)["audio"]], sound),
  }


def make_bank(split: str, *, fsdd: str = "", speaker_out: str = "") -> Bank:
  """Extracts the features of all recordings and images of one split.

  Raises:
    InputError: see `Digits`.
  """
  noise = np.random.default_rng((_NOISE_SEED, split == "test"))
  words = np.random.default_rng(_WORD_SEED)
  audio, scale = _audio_frames(split, noise, fsdd, speaker_out)
  return Bank(
    audio=audio,
    scale=scale,
    video=_video_frames(split, noise),
    captions=captions.make_captions(
      words, WORDS, time=TEXT_TIME, width=TEXT_WIDTH
    ),
  )


def _audio_frames(
  split: str, noise: np.random.Generator, fsdd: str, speaker_out: str
) -> tuple[Frames, tuple[np.ndarray, np.ndarray]]:
  """Log-mels standardized with the train split's statistics; normal noise."""
  table = speech.load_speech(fsdd)
  test_N = _test_recordings(table, speaker_out)
  for side, rows_N in (("train", ~test_N), ("test", test_N)):
    absent = set(range(len(WORDS))) - set(table.digit_N[rows_N].tolist())
    if absent:
      raise InputError(
        f"the spoken digits have no {side} recording of {min(absent)}; the"
        " copy is incomplete, or its takes are not numbered from 0"
      )
  train_NxF = table.logmel_NxF[~test_N]
  chosen_N = test_N if split == "test" else ~test_N
  scale = train_NxF.mean(axis=0), train_NxF.std(axis=0) + 1e-6
  audio_NxF = (table.logmel_NxF[chosen_N] - scale[0]) / scale[1]
  background = noise.standard_normal((_NOISE_ROWS, speech.WIDTH), np.float32)
  digits = table.digit_N[chosen_N]
  rows, starts = _sort(audio_NxF, digits, background)
  return Frames(rows, rows.reshape(-1, *speech.SHAPE, 1), starts), scale


def _test_recordings(table: speech.Speech, speaker_out: str) -> np.ndarray:
  if not speaker_out:
    return table.take_N < TEST_TAKES
  speakers = sorted(set(table.speaker_N.tolist()))
  if speaker_out not in speakers:
    raise InputError(
      f"speaker_out: no speaker {speaker_out!r}; there are"
      f" {', '.join(speakers)}"
    )
  return table.speaker_N == speaker_out


def _video_frames(split: str, noise: np.random.Generator) -> Frames:
  """Filter responses, rectified and scaled by train images; noise like them."""
  images, digits = datasets.load_digits(return_X_y=True)
  images = images.reshape(-1, 8, 8).astype(np.float32) / 16
  maps = _responses(images)
  threshold = _THRESHOLD * maps[:TRAIN_IMAGES].std()
  maps = _rectify(maps, threshold)
  maps *= _POSITIVE_MEAN / maps[:TRAIN_IMAGES][maps[:TRAIN_IMAGES] > 0].mean()
  background = _rectify(
    noise.standard_normal((_NOISE_ROWS, *maps.shape[1:]), np.float32),
    _THRESHOLD,
  )
  background *= _POSITIVE_MEAN / background[background > 0].mean()
  rows = slice(TRAIN_IMAGES) if split == "train" else slice(TRAIN_IMAGES, None)
  features, starts = _sort(maps[rows], digits[rows], background)
  nothing = np.zeros((_NOISE_ROWS, *images.shape[1:]))
  shown, _ = _sort(images[rows], digits[rows], nothing)
  return Frames(features, shown[..., None], starts)


def _responses(images: np.ndarray) -> np.ndarray:
  """Random zero-mean filters over upsampled images: (N, 7, 7, 64)."""
  upsample = _bilinear(images.shape[1], _SIDE)
  large = upsample @ images @ upsample.T
  patches = np.lib.stride_tricks.sliding_window_view(
    large, (_FILTER, _FILTER), axis=(1, 2)
  )[:, ::_STRIDE, ::_STRIDE]
  rng = np.random.default_rng(_FILTER_SEED)
  filters = rng.standard_normal((_FILTER**2, _FILTERS), np.float32)
  # A filter that sees the mean measures little but the amount of ink.
  filters -= filters.mean(axis=0)
  return patches.reshape(*patches.shape[:3], -1) @ filters


def _bilinear(old: int, new: int) -> np.ndarray:
  """The (new, old) matrix of linear interpolation between pixel centers."""
  at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
  pixels = np.arange(old)
  return np.maximum(0, 1 - np.abs(at[:, None] - pixels)).astype(np.float32)


def _rectify(x: np.ndarray, threshold: float) -> np.ndarray:
  return np.maximum(x - threshold, 0)


def _sort(
  rows: np.ndarray, ids: np.ndarray, background: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Groups rows by digit, keeping their order, with the background last."""
  ids = np.append(ids, np.full(len(background), BACKGROUND))
  rows = np.concatenate([rows, background])[np.argsort(ids, kind="stable")]
  starts = np.searchsorted(np.sort(ids), np.arange(BACKGROUND + 2))
  return rows.astype(np.float32), starts
