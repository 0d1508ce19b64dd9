"""Several spoken and handwritten digits in a sequence, for localization.

The recordings, images and splits are those of `digits`; only the composition
differs. Audio and video events are drawn with partial overlap, and
a modality may hold an event that the other lacks.
"""

import numpy as np

from unirep.data.procedural import digits, draws
from unirep.data.sample import Sample

EVENTS = 3  # at most
MIN_EVENT, MAX_EVENT = 2, 6  # segments
SHARED = 0.7  # probability that an event is both heard and seen
OVERLAP = 0.5  # least share of such an event that is heard while it is seen


class DigitEvents:
  """A source of sequences with up to three events; see `digits.Digits`.

  Each event is a digit with a window of 2 to 6 segments in audio and one in
  video that overlaps it by half or more, or a window in one of them alone.
  Where two events of a modality overlap, the later one is heard, or seen.
  Samples hold the features of `digits.Digits` (the caption names the first
  event) and
    labels: events/audio and events/video (10, 11), multi-hot over the digits
      and background, which is 1 where nothing else is.

  Args:
    split: "train" or "test".
    size: number of sequences.
    seed: of the draws.
    fsdd: folder or zip of the recordings; see `speech.load_speech`.
    speaker_out: see `digits.Digits`.

  Raises:
    InputError: see `digits.Digits`.
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
    self._bank = digits.make_bank(split, fsdd=fsdd, speaker_out=speaker_out)

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int, /) -> Sample:
    rng = draws.generator(self._seed, self._split, range(self._size)[index])
    named, audio_T, video_T = _draw_events(rng)
    text_TxF, words = self._bank.captions.draw(rng, named)
    return {
      "features": {
        "audio": self._bank.audio.rows[self._bank.audio.draw(rng, audio_T)],
        "video": self._bank.video.rows[self._bank.video.draw(rng, video_T)],
        "text": text_TxF,
      },
      "lengths": {"text": words},
      "labels": {
        "events/audio": _one_hot(audio_T),
        "events/video": _one_hot(video_T),
      },
    }


def _draw_events(rng: np.random.Generator):
  """The first digit, and the digits that each segment plays and shows."""
  audio_T = np.full(digits.TIME, digits.BACKGROUND)
  video_T = audio_T.copy()
  chosen = rng.permutation(len(digits.WORDS))[: rng.integers(1, EVENTS + 1)]
  for digit in chosen:
    heard, seen = draws.draw_windows(
      rng, digits.TIME, MIN_EVENT, MAX_EVENT, OVERLAP
    )
    kind = rng.random()
    if kind < (1 + SHARED) / 2:
      audio_T[heard] = digit
    if kind < SHARED or kind >= (1 + SHARED) / 2:
      video_T[seen] = digit
  return int(chosen[0]), audio_T, video_T


def _one_hot(ids_T: np.ndarray) -> np.ndarray:
  return np.eye(digits.BACKGROUND + 1, dtype=np.int8)[ids_T]
