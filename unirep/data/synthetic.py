"""Procedural audio-visual-text events: no files, seconds to learn.

One event per sequence. Its class has a fixed prototype in audio and in video;
each segment varies around it along a few directions, and that variation is
shared by the two modalities, so they agree on more than the class. What they
do not share is a nuisance per sequence (a speaker, a camera) and noise.

Shapes: T time, F feature width, H/W grid, C classes, R rank of the variation
and of the nuisance.
"""

from typing import NamedTuple

import numpy as np

from unirep.data import captions, draws
from unirep.data.contract import Sample
from unirep.errors import InputError

_RANK = 4
_VARIATION = 0.4  # of a prototype's scale, which is 1
_BLOB = 1.5  # standard deviation of the video's bright spot, in cells
_THRESHOLD = 0.3  # keeps about 70 % of the video at zero, like VGG pool5
_NOISE_ROWS = 512  # drawn once: fresh noise would take half of a sample's time


class _Look(NamedTuple):
  """How one modality renders an event; the last prototype is the absence."""

  prototypes_CxF: np.ndarray
  variation_RxF: np.ndarray
  nuisance_RxF: np.ndarray


def _make_look(rng: np.random.Generator, classes: int, width: int) -> _Look:
  prototypes = rng.standard_normal((classes + 1, width), np.float32)
  prototypes[-1] = 0
  variation, nuisance = rng.standard_normal((2, _RANK, width), np.float32)
  return _Look(prototypes, variation / _RANK**0.5, nuisance / _RANK**0.5)


def _check_ranges(*, sizes, events, scales) -> None:
  if len(sizes) != 6 or min(sizes) < 1:
    raise InputError(
      "classes, widths and the two sides of video_grid must be positive, got"
      f" {sizes}"
    )
  if list(events) != sorted(events):
    raise InputError(
      "events need 1 <= min_event <= max_event <= time, got"
      f" {', '.join(map(str, events[1:]))}"
    )
  if min(scales) < 0 or scales[0] > 1 or not np.isfinite(scales).all():
    raise InputError(
      "overlap must lie in 0..1, nuisance and noise be finite and not"
      f" negative, got {', '.join(map(str, scales))}"
    )


def _spot(rng: np.random.Generator, size: int) -> np.ndarray:
  """A bump of height one at a random place of an axis of `size` cells."""
  distance = np.arange(size) - rng.uniform(0, size - 1)
  return np.exp(-0.5 * (distance / _BLOB) ** 2).astype(np.float32)


class SyntheticEvents:
  """A source of generated events; a pure function of (seed, split, index).

  Samples hold
    features: audio (T, F), video (T, H, W, F) non-negative and sparse, text
      (text_time, F) zero-padded;
    lengths: text, the number of words;
    labels: class (); segments/audio and segments/video (T,), the class id, or
      `classes` for background; segments (T,), the class where both show it.

  The sum of the video over its grid still tells the class.

  Args:
    size: number of samples.
    seed: of the prototypes and the samples; splits of one seed share the
      meaning of the events.
    split: "train" or "test".
    classes: number of event classes.
    time: segments in a sequence.
    audio_width: F of audio.
    video_grid: (H, W) of video.
    video_width: F of video.
    text_time: padded number of words, at least 8.
    text_width: F of text.
    overlap: least share (0..1) of an event that is both heard and seen.
    nuisance: scale of what a modality does not share; a prototype has 1.
    noise: standard deviation of the noise.
    min_event: shortest event, in segments.
    max_event: longest event, in segments.

  Raises:
    InputError: for a value out of range.
  """

  def __init__(
    self,
    *,
    size: int = 2000,
    seed: int = 0,
    split: str = "train",
    classes: int = 10,
    time: int = 10,
    audio_width: int = 32,
    video_grid: tuple[int, int] = (7, 7),
    video_width: int = 16,
    text_time: int = 10,
    text_width: int = 32,
    overlap: float = 0.5,
    nuisance: float = 0.5,
    noise: float = 0.5,
    min_event: int = 4,
    max_event: int = 10,
  ):
    draws.check_stream(size=size, seed=seed, split=split)
    _check_ranges(
      sizes=(classes, audio_width, *video_grid, video_width, text_width),
      events=(1, min_event, max_event, time),
      scales=(overlap, nuisance, noise),
    )
    self._size, self._seed, self._split = size, seed, split
    self._classes, self._time, self._grid = classes, time, tuple(video_grid)
    self._event = (min_event, max_event, overlap)
    self._nuisance, self._noise = np.float32(nuisance), np.float32(noise)
    rng = draws.generator(seed, "world")
    self._audio_look = _make_look(rng, classes, audio_width)
    self._video_look = _make_look(rng, classes, video_width)
    self._video_noise = rng.standard_normal(
      (_NOISE_ROWS, *self._grid, video_width), np.float32
    )
    self._video_noise *= self._noise
    self._video_noise -= _THRESHOLD
    words = [f"event{c}" for c in range(classes)]
    self._captions = captions.make_captions(
      rng, words, time=text_time, width=text_width
    )

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int, /) -> Sample:
    rng = draws.generator(self._seed, self._split, range(self._size)[index])
    time, none = self._time, self._classes
    label = int(rng.integers(self._classes))
    heard, seen = draws.draw_windows(rng, time, *self._event)
    heard_T = draws.segment_ids(time, heard, label, none)
    seen_T = draws.segment_ids(time, seen, label, none)
    variation_TxR = rng.standard_normal((time, _RANK), np.float32)
    text_TxF, words = self._captions.draw(rng, label)
    return {
      "features": {
        "audio": self._audio(rng, heard_T, variation_TxR),
        "video": self._video(rng, seen_T, variation_TxR),
        "text": text_TxF,
      },
      "lengths": {"text": words},
      "labels": {
        "class": np.array(label, np.int32),
        "segments": np.where(heard_T == seen_T, heard_T, np.int32(none)),
        "segments/audio": heard_T,
        "segments/video": seen_T,
      },
    }

  def _spectrum(self, rng, look: _Look, ids_T, variation_TxR) -> np.ndarray:
    """Event plus nuisance, without noise: (T, F)."""
    present_Tx1 = (ids_T < self._classes)[:, None].astype(np.float32)
    varied_TxF = (_VARIATION * present_Tx1 * variation_TxR) @ look.variation_RxF
    nuisance_F = rng.standard_normal(_RANK, np.float32) @ look.nuisance_RxF
    return look.prototypes_CxF[ids_T] + varied_TxF + self._nuisance * nuisance_F

  def _audio(self, rng, ids_T, variation_TxR) -> np.ndarray:
    audio_TxF = self._spectrum(rng, self._audio_look, ids_T, variation_TxR)
    noise_TxF = rng.standard_normal(audio_TxF.shape, np.float32)
    return audio_TxF + self._noise * noise_TxF

  def _video(self, rng, ids_T, variation_TxR) -> np.ndarray:
    """The spectrum on a spot that stays in place, rectified: (T, H, W, F)."""
    spectrum = self._spectrum(rng, self._video_look, ids_T, variation_TxR)
    spot_HxW = np.outer(*(_spot(rng, side) for side in self._grid))
    video = self._video_noise[rng.integers(_NOISE_ROWS, size=self._time)]
    video += spot_HxW[:, :, None] * spectrum[:, None, None, :]
    return np.maximum(video, 0, out=video)
