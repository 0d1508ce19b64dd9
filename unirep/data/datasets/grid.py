"""GRID: spoken sentences of one talker, with pictures of the mouth.

A clip is a sentence of six words: command, colour, preposition, letter, digit,
adverb. Sound and pictures were recorded together, and every (colour, letter,
digit) occurs once. The corpus is free for research and not part of this
package. Dimensions: T segments, F frames, H/W rows and columns, M mel bands.
"""

import functools
import math

import numpy as np

from unirep.data import raw
from unirep.data.datasets.grid_files import (
  FRAMES,
  HOW,
  RATE,
  SILENCE,
  SLOTS,
  SPECTRUM,
  VOCABULARY,
  Clips,
  magnitudes,
  read,
)
from unirep.data.procedural import draws
from unirep.data.raw import Raw, Shown
from unirep.data.sample import Sample
from unirep.extract import words
from unirep.runtime.errors import InputError

SEGMENT = 5  # pictures: 0.2 s
TIME = FRAMES // SEGMENT
WIDTH = 64  # of a word


class Grid:
  """One split of GRID.

  Samples hold, in T = 15 segments of 0.2 s,
    video (T, 320): low cosine coefficients of five pictures of the mouth;
    audio (T, 320): log-mel energies of the same time;
    text (6, 64): a vector a word, or with `aligned` (T, 64): the vector of the
      word that is said in a segment;
    labels: segments/audio, segments/video (T,), words and `SILENCE`, and
      slot/NAME () for each of the six `SLOTS`.
  Video and audio are in units of their deviation in the train split.

  Args:
    split: "train" (600 sentences of a talker), "validation" or "test" (200).
    path: the corpus; empty means the environment variable UNIREP_GRID.
    size: number of samples. Behind the last clip they begin anew, each clip
      moved in another way. None: each clip once.
    moved: most pictures by which clips begin earlier or later. Unless it is 0,
      the crop moves too.
    aligned: whether text has the words at the time when they are spoken.

  Raises:
    InputError: if there is no corpus, or a broken or incomplete one.
  """

  def __init__(
    self,
    split: str,
    *,
    path: str = "",
    size: int | None = None,
    moved: int = 0,
    aligned: bool = False,
  ):
    clips = read(path)
    part_N = np.array([part(name) for name in clips.names])
    if not (part_N == split).any():
      raise InputError(f"GRID: no clip is in the {split} split; {HOW}")
    picked = {s: np.flatnonzero(part_N == s) for s in ("train", split)}
    self._clips = select(clips, picked[split])
    self._scale = scale(select(clips, picked["train"]))
    self._size = size or len(self._clips.names)
    self._moved, self._aligned = moved, aligned

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int, /) -> Sample:
    row, at_F, features = self._frames(index)
    word_F = self._clips.word_NxF[row, at_F]
    word_T = word_F[SEGMENT // 2 :: SEGMENT].astype(np.int32)
    slots = spoken(self._clips.names[row])
    text = [VOCABULARY[i] if i < SILENCE else "" for i in word_T]
    text = text if self._aligned else [*slots.values()]
    fine = [*features, *(["text"] if self._aligned else [])]
    features = {m: x.reshape(TIME, -1) for m, x in features.items()}
    features["text"] = np.stack([words.vector(w, WIDTH) for w in text])
    return {
      "features": features,
      "lengths": {},
      "labels": {
        **{f"segments/{m}": word_T for m in fine},
        **{
          f"slot/{slot}": np.array(
            [*SLOTS[slot].values()].index(word), np.int32
          )
          for slot, word in slots.items()
        },
      },
    }

  def _frames(self, index: int):
    """A row, the indices of its pictures, and its scaled video and audio."""
    index = range(self._size)[index]
    row = index % len(self._clips.names)
    rng = draws.generator(0, "train", index)
    shift, down, right = rng.integers(-1, 2, 3) * (self._moved > 0)
    if self._moved:
      shift = rng.integers(-self._moved, self._moved + 1)
    at_F = np.clip(np.arange(FRAMES) + shift, 0, FRAMES - 1)
    frames = {
      "video": cosines(self._clips.frame_NxFxHxW[row, at_F], down, right),
      "audio": self._clips.mel_NxFxM[row, at_F].astype(np.float32),
    }
    scaled = {
      m: (x - self._scale[m][0]) / self._scale[m][1] for m, x in frames.items()
    }
    return row, at_F, scaled

  def raw(self) -> dict[str, Raw]:
    """Low coefficients and log-mels, (15, 5, 1, 64); see `data.raw`."""

    def at(m, index):
      return self._frames(index)[2][m].reshape(TIME, SEGMENT, 1, -1)

    def back(m, x):
      mean, deviation = self._scale[m]
      return x.reshape(-1, x.shape[-1]) * deviation + mean

    def pictures(x):
      shape = self._clips.frame_NxFxHxW.shape[2:]
      return Shown(raw.PICTURES, pixels(back("video", x), *shape).clip(0, 1))

    def sound(x):
      return Shown(
        raw.SOUND,
        magnitudes(back("audio", x)),
        spectrum=SPECTRUM,
        seconds=len(x) * SEGMENT / RATE,
      )

    return {
      "video": Raw(functools.partial(at, "video"), pictures),
      "audio": Raw(functools.partial(at, "audio"), sound),
    }


def part(name: str) -> str:
  """The split of a sentence: balanced in letters, digits and colours."""
  _, colour, _, letter, digit, _ = name
  index = (
    "abcdefghijklmnopqrstuvxyz".index(letter)
    + "z123456789".index(digit)
    + "bgrw".index(colour)
  )
  return {0: "test", 1: "validation"}.get(index % 5, "train")


def spoken(name: str) -> dict[str, str]:
  """Slot -> word of a sentence."""
  return {
    slot: letters[x]
    for (slot, letters), x in zip(SLOTS.items(), name, strict=True)
  }


def select(clips: Clips, row_N: np.ndarray) -> Clips:
  """Some of the clips."""
  names = tuple(clips.names[i] for i in row_N)
  return Clips(names, *(x[row_N] for x in clips[1:]))


def scale(clips: Clips) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Modality -> mean and deviation of each feature of a picture's time."""
  video = np.stack([cosines(x) for x in clips.frame_NxFxHxW])
  values = {"video": video, "audio": clips.mel_NxFxM.astype(np.float32)}
  return {m: (x.mean((0, 1)), x.std((0, 1)) + 1e-6) for m, x in values.items()}


def cosines(
  frame_FxHxW: np.ndarray, down: int = 0, right: int = 0, keep: int = 8
) -> np.ndarray:
  """Low coefficients of the cosine transform of pictures, (F, keep * keep).

  Args:
    frame_FxHxW: uint8; one row and column on each side are left out.
    down: pixels that the rest moves down, -1 to 1.
    right: pixels that it moves to the right, -1 to 1.
    keep: coefficients in each direction.
  """
  F, H, W = frame_FxHxW.shape
  crop = frame_FxHxW[:, 1 + down : H - 1 + down, 1 + right : W - 1 + right]
  rows, columns = _basis(H - 2, keep), _basis(W - 2, keep)
  return (rows @ (crop / np.float32(255)) @ columns.T).reshape(F, -1)


def pixels(coefficient_FxC: np.ndarray, height: int, width: int) -> np.ndarray:
  """Pictures (F, H - 2, W - 2) of low coefficients; about 0 to 1."""
  F, keep = len(coefficient_FxC), math.isqrt(coefficient_FxC.shape[1])
  rows, columns = _basis(height - 2, keep), _basis(width - 2, keep)
  return rows.T @ coefficient_FxC.reshape(F, keep, keep) @ columns


@functools.cache
def _basis(size: int, keep: int) -> np.ndarray:
  """The first rows of the orthonormal cosine transform (DCT-II)."""
  angle = np.outer(np.arange(keep), np.arange(size) + 0.5) * np.pi / size
  basis = np.cos(angle) * np.sqrt(2 / size)
  basis[0] /= np.sqrt(2)
  return basis.astype(np.float32)
