"""Procedural audio-visual-text events: no files, seconds to learn.

One event per sequence. Its class has a fixed prototype in audio and in video;
each segment varies around it along a few directions, and that variation is
shared by the two modalities, so they agree on more than the class. They do not
share a nuisance per sequence (a speaker, a camera), noise and, on request,
private events: classes that exist in one modality only.

Shapes: T time, F feature width, H/W grid, C classes, P private classes, L looks
(C, background and P, in this order), R rank of the variation and the nuisance.
"""

from typing import NamedTuple

import numpy as np

from unirep.data.procedural import captions, draws
from unirep.data.sample import Sample
from unirep.runtime.errors import InputError

_RANK = 4
_SHORTEST = 2  # segments of a private event, where there is room for them
_BLOB = 1.5  # standard deviation of the video's bright spot, in cells
_THRESHOLD = 0.3  # keeps about 70 % of the video at zero, like VGG pool5
_NOISE_ROWS = 512  # drawn once: fresh noise would take half of a sample's time


class _Look(NamedTuple):
  """How one modality renders an event; prototype C means no event."""

  prototypes_LxF: np.ndarray
  variation_RxF: np.ndarray
  nuisance_RxF: np.ndarray


class _Shown(NamedTuple):
  """Prototypes that one modality shows, and variations of its steps."""

  ids_T: np.ndarray
  variation_TxR: np.ndarray


def _make_look(
  rng: np.random.Generator,
  private_rng: np.random.Generator,
  classes: int,
  private: int,
  width: int,
) -> _Look:
  prototypes = rng.standard_normal((classes + 1, width), np.float32)
  prototypes[-1] = 0
  variation, nuisance = rng.standard_normal((2, _RANK, width), np.float32)
  own = private_rng.standard_normal((private, width), np.float32)
  prototypes = np.concatenate([prototypes, own])
  return _Look(prototypes, variation / _RANK**0.5, nuisance / _RANK**0.5)


def _check_ranges(*, sizes, events, overlap, private, **scales) -> None:
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
  if not 0 <= overlap <= 1:
    raise InputError(f"overlap must lie in 0..1, got {overlap}")
  if private < 0:
    raise InputError(f"private must not be negative, got {private}")
  for name, scale in scales.items():
    if not 0 <= scale < np.inf:
      raise InputError(f"{name} must be finite and not negative, got {scale}")


def _draw_private(
  rng: np.random.Generator, event: slice, time: int, private: int
) -> np.ndarray:
  """Private classes (T,) on the longer side of an event; P where none is."""
  free = max(slice(0, event.start), slice(event.stop, time), key=_length)
  shown, label = rng.random() < 0.5, rng.integers(private)
  window = slice(0, 0)
  if shown and _length(free):
    low = min(_SHORTEST, _length(free))
    window = draws.draw_window(rng, _length(free), low, _length(free))
  ids_T = np.full(time, private, np.int32)
  ids_T[free][window] = label
  return ids_T


def _length(window: slice) -> int:
  return window.stop - window.start


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
      `classes` for background; segments (T,), the class where both show it;
      with private classes, private/audio and private/video (T,), 0..P-1, or P
      where none is shown. All int32.

  The sum of the video over its grid still tells the class.

  Audio and video each show a private event in half of the sequences (if there
  is room), outside of their own shared event, on the longer side of it. Its
  class and variation are independent of the other modality, the shared class
  and the caption. (Its time is not: it depends on the room beside the shared
  event, which is much the same in audio and video.) In the labels of the shared
  classes its segments are background. All other segments are those of
  `private=0`, bit for bit.

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
    variation: scale of the variation that audio and video share beyond the
      class, drawn for each segment; a prototype has scale 1.
    nuisance: scale of the part that only one modality has, one draw per
      sequence.
    private: number P of classes that only audio has, and of others that only
      video has.
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
    variation: float = 0.4,
    nuisance: float = 0.5,
    private: int = 0,
    noise: float = 0.5,
    min_event: int = 4,
    max_event: int = 10,
  ):
    draws.check_stream(size=size, seed=seed, split=split)
    _check_ranges(
      sizes=(classes, audio_width, *video_grid, video_width, text_width),
      events=(1, min_event, max_event, time),
      overlap=overlap,
      private=private,
      variation=variation,
      nuisance=nuisance,
      noise=noise,
    )
    self._size, self._seed, self._split = size, seed, split
    self._classes, self._time, self._grid = classes, time, tuple(video_grid)
    self._event = (min_event, max_event, overlap)
    self._variation, self._private = np.float32(variation), private
    self._nuisance, self._noise = np.float32(nuisance), np.float32(noise)
    # Private draws have their own generators, so that they move no other draw.
    own, rng = (draws.generator(seed, s) for s in ("private/world", "world"))
    self._audio_look, self._video_look = (
      _make_look(rng, own, classes, private, width)
      for width in (audio_width, video_width)
    )
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

  @property
  def meanings(self) -> dict[str, int]:
    """The number of kinds of segments.

    "shared": the classes and the background; "audio" and "video": the private
    classes of each. That many codes can name all kinds; more codes can only
    describe the variation, which is continuous, or parts that are not shared.
    """
    own = self._private
    return {"shared": self._classes + 1, "audio": own, "video": own}

  def __getitem__(self, index: int, /) -> Sample:
    index = range(self._size)[index]
    rng = draws.generator(self._seed, self._split, index)
    time, none = self._time, self._classes
    label = int(rng.integers(self._classes))
    windows = draws.draw_windows(rng, time, *self._event)
    heard_T, seen_T = (draws.segment_ids(time, w, label, none) for w in windows)
    variation_TxR = rng.standard_normal((time, _RANK), np.float32)
    text_TxF, words = self._captions.draw(rng, label)
    labels = {
      "class": np.array(label, np.int32),
      "segments": np.where(heard_T == seen_T, heard_T, np.int32(none)),
      "segments/audio": heard_T,
      "segments/video": seen_T,
    }
    heard, seen = _Shown(heard_T, variation_TxR), _Shown(seen_T, variation_TxR)
    if self._private:
      own = draws.generator(self._seed, f"private/{self._split}", index)
      heard, labels["private/audio"] = self._add_private(own, windows[0], heard)
      seen, labels["private/video"] = self._add_private(own, windows[1], seen)
    return {
      "features": {
        "audio": self._audio(rng, heard),
        "video": self._video(rng, seen),
        "text": text_TxF,
      },
      "lengths": {"text": words},
      "labels": labels,
    }

  def _add_private(self, rng, event: slice, shown: _Shown):
    """Adds a private event, maybe; also returns its labels (T,)."""
    private_T = _draw_private(rng, event, self._time, self._private)
    own_TxR = rng.standard_normal(shown.variation_TxR.shape, np.float32)
    is_own_T = private_T < self._private
    look_T = self._classes + 1 + private_T
    ids_T = np.where(is_own_T, look_T, shown.ids_T)
    variation_TxR = np.where(is_own_T[:, None], own_TxR, shown.variation_TxR)
    return _Shown(ids_T, variation_TxR), private_T

  def _spectrum(self, rng, look: _Look, shown: _Shown) -> np.ndarray:
    """Event plus nuisance, without noise: (T, F)."""
    present_T = (shown.ids_T != self._classes).astype(np.float32)
    scale_Tx1 = self._variation * present_T[:, None]
    varied_TxF = (scale_Tx1 * shown.variation_TxR) @ look.variation_RxF
    nuisance_F = rng.standard_normal(_RANK, np.float32) @ look.nuisance_RxF
    event_TxF = look.prototypes_LxF[shown.ids_T] + varied_TxF
    return event_TxF + self._nuisance * nuisance_F

  def _audio(self, rng, shown: _Shown) -> np.ndarray:
    audio_TxF = self._spectrum(rng, self._audio_look, shown)
    noise_TxF = rng.standard_normal(audio_TxF.shape, np.float32)
    return audio_TxF + self._noise * noise_TxF

  def _video(self, rng, shown: _Shown) -> np.ndarray:
    """The spectrum on a spot that stays in place, rectified: (T, H, W, F)."""
    spectrum = self._spectrum(rng, self._video_look, shown)
    spot_HxW = np.outer(*(_spot(rng, side) for side in self._grid))
    video = self._video_noise[rng.integers(_NOISE_ROWS, size=self._time)]
    video += spot_HxW[:, :, None] * spectrum[:, None, None, :]
    return np.maximum(video, 0, out=video)
