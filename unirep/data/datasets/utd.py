"""UTD-MHAD: actions recorded as inertia, as a skeleton and in depth.

861 sequences of 27 actions of 8 people, four trials each. The data set is free
for research and not part of this package. Dimensions: N sequences, T parts,
S samples, F features.
"""

import functools
import math
import os
import pathlib

import numpy as np

from unirep.data import raw
from unirep.data.procedural import draws
from unirep.data.raw import Raw, Shown
from unirep.data.sample import Sample
from unirep.extract import words
from unirep.files import npy
from unirep.runtime.errors import InputError

VARIABLE = "UNIREP_UTD"  # names the file where data.path is empty
# The usual protocol tests on subjects 2, 4, 6 and 8. One of the others is for
# validation.
SUBJECTS = {"train": (1, 3, 5), "validation": (7,), "test": (2, 4, 6, 8)}
TIME = 10  # parts of a sequence
SAMPLES = {"inertial": 8, "skeleton": 4, "depth": 2}  # of a part
WORDS, WIDTH = 10, 64  # of the name of an action, and of a word
SHAPES = {  # of the arrays in the file, without the first axis
  **{"action": (), "subject": (), **{f"length_{m}": () for m in SAMPLES}},
  **{"inertial": (6,), "skeleton": (20, 3), "depth": (30, 30)},
}
HIP = 3  # the joint that is the origin of the others
BONES = (
  *((0, 1), (1, 2), (2, 3)),
  *((1, 4), (4, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (10, 11)),
  *((3, 12), (12, 13), (13, 14), (14, 15), (3, 16), (16, 17), (17, 18)),
  (18, 19),
)
ACTIONS = (
  *("right arm swipe to the left", "right arm swipe to the right"),
  *("right hand wave", "two hand front clap", "right arm throw"),
  *("cross arms in the chest", "basketball shoot", "right hand draw x"),
  "right hand draw circle clockwise",
  "right hand draw circle counter clockwise",
  *("draw triangle", "bowling", "front boxing", "baseball swing from right"),
  *("tennis forehand swing", "arm curl", "tennis serve", "two hand push"),
  *("right hand knock on door", "right hand catch an object"),
  *("right hand pick up and throw", "jogging in place", "walking in place"),
  *("sit to stand", "stand to sit", "forward lunge", "squat"),
)
_HOW = (
  "give data.path or $UNIREP_UTD an .npz file with inertial, skeleton and depth"
  " of all sequences, one behind the other, their length_*, action, subject and"
  " trial (docs/recordings.md); the recordings are at"
  " https://personal.utdallas.edu/~kehtar/UTD-MHAD.html"
)


class Utd:
  """One split of UTD-MHAD.

  Sensors have different rates, so the recording of each is cut into T = 10
  equal parts, which are the same time in all of them. Samples hold
    inertial (T, 48): eight samples of acceleration and rotation;
    skeleton (T, 240): four of the 20 joints, relative to the hip;
    depth (T, 450): two pictures of 15 x 15;
    text (10, 64): a vector a word of the action's name, and its length;
    labels: class (), the action.
  Sensors are in units of their deviation in the train split.

  Args:
    split: "train", "validation" or "test": people never share one.
    path: the file; empty means the environment variable UNIREP_UTD.
    size: number of samples. Behind the last sequence they begin anew, each
      cut in another way. None: each sequence once.
    moved: most by which a sequence begins later and ends earlier, as a share
      of its length.

  Raises:
    InputError: if there is no such file, or a broken one.
  """

  def __init__(
    self,
    split: str,
    *,
    path: str = "",
    size: int | None = None,
    moved: float = 0.0,
  ):
    arrays = read(path)
    mine = {
      s: np.flatnonzero(np.isin(arrays["subject"], SUBJECTS[s]))
      for s in ("train", split)
    }
    if not all(len(rows) for rows in mine.values()):
      raise InputError(f"UTD-MHAD: no sequence is in the {split} split; {_HOW}")
    self._action_N = arrays["action"][mine[split]].astype(np.int32) - 1
    self._sensors, self._scale = {}, {}
    for m in SAMPLES:
      every = np.concatenate([arrays[m][i] for i in mine["train"]])
      mean, deviation = every.mean(0), every.std(0) + every.std() / 4
      self._scale[m] = mean, deviation
      self._sensors[m] = [arrays[m][i] for i in mine[split]]
    self._size, self._moved = size or len(self._action_N), moved

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int, /) -> Sample:
    row, sensors = self._parts(index)
    features = {m: x.reshape(TIME, -1) for m, x in sensors.items()}
    name = ACTIONS[self._action_N[row]].split()
    text_TxF = np.zeros((WORDS, WIDTH), np.float32)
    text_TxF[: len(name)] = [words.vector(word, WIDTH) for word in name]
    return {
      "features": {**features, "text": text_TxF},
      "lengths": {"text": np.array(len(name), np.int32)},
      "labels": {"class": self._action_N[row]},
    }

  def _parts(self, index: int) -> tuple[int, dict[str, np.ndarray]]:
    """A row, and the samples of its sensors: (80, 6), (40, 60), (20, 225)."""
    index = range(self._size)[index]
    row = index % len(self._action_N)
    rng = draws.generator(0, "train", index)
    first, last = rng.uniform(0, self._moved, 2) * [1, -1] + [0, 1]
    sensors = {}
    for m, samples in SAMPLES.items():
      mean, deviation = self._scale[m]
      x_SxF = resampled(self._sensors[m][row], first, last, TIME * samples)
      sensors[m] = (x_SxF - mean) / deviation
    return row, sensors

  def raw(self) -> dict[str, Raw]:
    """All sensors: steps of (samples, 1, values), see `data.raw`."""
    return {
      m: Raw(functools.partial(self._at, m), functools.partial(self._show, m))
      for m in SAMPLES
    }

  def _at(self, m: str, index: int) -> np.ndarray:
    return self._parts(index)[1][m].reshape(TIME, SAMPLES[m], 1, -1)

  def _show(self, m: str, x: np.ndarray) -> Shown:
    x_SxF, (mean, deviation) = x.reshape(-1, x.shape[-1]), self._scale[m]
    if m == "inertial":
      return Shown(raw.CURVES, x_SxF)
    x_SxF = x_SxF * deviation + mean
    if m == "depth":
      side = math.isqrt(x_SxF.shape[1])
      return Shown(
        raw.PICTURES, (x_SxF / 255).clip(0, 1).reshape(-1, side, side)
      )
    return Shown(raw.JOINTS, x_SxF.reshape(len(x_SxF), -1, 3), bones=BONES)


def resampled(
  x_SxF: np.ndarray, first: float, last: float, count: int
) -> np.ndarray:
  """`count` samples between two places, linearly: (count, F).

  Args:
    x_SxF: a series.
    first: where to begin, 0 its first sample and 1 its last one.
    last: where to end.
    count: of the result.
  """
  share = (np.arange(count) + 0.5) / count
  at = (first + share * (last - first)) * (len(x_SxF) - 1)
  low = np.floor(at).astype(int)
  high, part = np.minimum(low + 1, len(x_SxF) - 1), (at - low)[:, None]
  mixed = x_SxF[low] * (1 - part) + x_SxF[high] * part
  return mixed.astype(np.float32)


def read(path: str) -> dict[str, list[np.ndarray] | np.ndarray]:
  """All sequences: sensor -> N arrays (S, F); action, subject (N,), from 1.

  Args:
    path: the file, or a folder with `utd_mhad.npz`; empty means the environment
      variable UNIREP_UTD.

  Raises:
    InputError: if there is no such file, or it holds something else.
  """
  path = path or os.environ.get(VARIABLE, "")
  if not path:
    raise InputError(f"data.path is empty; {_HOW}")
  file = pathlib.Path(path)
  file = file / "utd_mhad.npz" if file.is_dir() else file
  if not file.exists():
    raise InputError(f"{file} does not exist; {_HOW}")
  return _read(str(file.resolve()))


@functools.lru_cache(maxsize=1)
def _read(path):
  try:
    arrays = npy.read_archive(path)
  except InputError as error:
    raise InputError(f"{error}, so it is no .npz file; {_HOW}") from error
  needed = ("action", "subject", *SAMPLES, *(f"length_{m}" for m in SAMPLES))
  for key in needed:
    if key not in arrays:
      raise InputError(f"{path} lacks {key!r}; {_HOW}")
  sequences = {"action": arrays["action"], "subject": arrays["subject"]}
  for key, shape in SHAPES.items():
    x = arrays[key]
    kinds = "fiu" if shape else "iu"
    if x.shape[1:] != shape or x.dtype.kind not in kinds or not x.size:
      raise InputError(
        f"{path}: {key} must be numbers {('N', *shape)}, got {x.dtype} of shape"
        f" {x.shape}; {_HOW}"
      )
  if not np.isin(arrays["action"], range(1, len(ACTIONS) + 1)).all():
    raise InputError(f"{path}: action must lie in 1..{len(ACTIONS)}")
  for m in SAMPLES:
    x = prepared(m, arrays[m])
    if not np.isfinite(x).all():
      raise InputError(f"{path}: {m} holds NaN or infinity")
    length_N = arrays[f"length_{m}"]
    ends = np.cumsum(length_N)
    fits = len(ends) == len(arrays["action"]) and ends[-1] == len(x)
    if not fits or length_N.min() < 1:
      raise InputError(f"{path}: length_{m} does not fit {m}")
    sequences[m] = np.split(x, ends[:-1])
  return sequences


def prepared(modality: str, x: np.ndarray) -> np.ndarray:
  """The samples of a sensor as they are learned, (S, F) float32."""
  x = x.astype(np.float32)
  if modality == "skeleton":
    x = x - x[:, HIP : HIP + 1]
  if modality == "depth":
    S, H, W = x.shape
    x = x.reshape(S, H // 2, 2, W // 2, 2).mean((2, 4))
  return x.reshape(len(x), -1)
