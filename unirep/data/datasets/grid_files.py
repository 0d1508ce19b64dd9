"""The files of the GRID corpus: decoded once, and kept in a cache.

Dimensions: N clips, F frames, H/W rows and columns, M mel bands.
"""

import concurrent.futures
import contextlib
import functools
import hashlib
import logging
import os
import pathlib
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from unirep.data import raw
from unirep.data.raw import Spectrum
from unirep.extract import containers, logmel
from unirep.extract.broken import BrokenError
from unirep.files import guard, npy, zips
from unirep.runtime import atomic
from unirep.runtime.errors import InputError

VERSION = 1  # of the cache
VARIABLE = "UNIREP_GRID"  # names the corpus where data.path is empty
FRAMES, RATE = 75, 25  # of a clip
MOUTH = (slice(176, 256), slice(92, 204))  # of the corpus' 288 x 360 pictures
MOST = 2**26  # bytes of a file, packed or not
POOL = 4  # pixels in each direction that become one
PICTURE = (288, 360)
TICKS = 1000  # of an .align file in the time of a picture
TABLE = "alignments.tsv"
VIDEOS = (".mpg", ".mp4")
TONE = logmel.LogMel()
SPECTRUM = Spectrum(
  TONE.rate,
  round(TONE.frame * TONE.rate),
  round(TONE.hop * TONE.rate),
  logmel.transform(TONE),
)
HOPS = round(1 / (RATE * TONE.hop))  # log-mel frames in the time of a picture

SLOTS: Mapping[str, Mapping[str, str]] = {
  "command": {"b": "bin", "l": "lay", "p": "place", "s": "set"},
  "colour": {"b": "blue", "g": "green", "r": "red", "w": "white"},
  "preposition": {"a": "at", "b": "by", "i": "in", "w": "with"},
  "letter": {x: x for x in "abcdefghijklmnopqrstuvxyz"},
  "digit": {
    **{"z": "zero", "1": "one", "2": "two", "3": "three", "4": "four"},
    **{"5": "five", "6": "six", "7": "seven", "8": "eight", "9": "nine"},
  },
  "adverb": {"a": "again", "n": "now", "p": "please", "s": "soon"},
}
VOCABULARY = tuple(dict.fromkeys(w for s in SLOTS.values() for w in s.values()))
SILENCE = len(VOCABULARY)  # the label of segments without a word
HOW = (
  "give data.path or $UNIREP_GRID the folder of a talker: videos named by their"
  " sentence (.mpg as published, or .mp4), in a zip or not, and .align files or"
  " alignments.tsv; https://zenodo.org/records/3625687 has it"
)


SENTENCE = re.compile(
  "".join(f"[{''.join(letters)}]" for letters in SLOTS.values())
)


class Clips(NamedTuple):
  """The decoded features of N clips.

  Attributes:
    names: their sentences, such as "bbaf2n".
    frame_NxFxHxW: uint8 grey pictures of the mouth.
    mel_NxFxM: float16 log-mel energies, the mean over the time of a picture.
    word_NxF: int8, the index in `VOCABULARY` of the word that is said.
  """

  names: tuple[str, ...]
  frame_NxFxHxW: np.ndarray
  mel_NxFxM: np.ndarray
  word_NxF: np.ndarray


def read(path: str) -> Clips:
  """All clips of a corpus, by name; a minute, and a moment the next time.

  Args:
    path: folder, or zip with .align files or alignments.tsv beside it or
      inside; empty means the environment variable UNIREP_GRID.

  Raises:
    InputError: if there is none, a clip is broken or has no alignment.
  """
  path = path or os.environ.get(VARIABLE, "")
  if not path:
    raise InputError(f"data.path is empty; {HOW}")
  if not pathlib.Path(path).exists():
    raise InputError(f"{path} does not exist; {HOW}")
  return _read(str(pathlib.Path(path).resolve()))


@functools.lru_cache(maxsize=1)
def _read(path):
  with _Corpus(pathlib.Path(path)) as corpus:
    videos = {_stem(name): name for name in corpus.files if _is_video(name)}
    if not videos:
      raise InputError(f"{path} holds no video named as a sentence; {HOW}")
    words, names = _alignments(corpus), tuple(sorted(videos))
    lost = [name for name in names if name not in words]
    if lost:
      raise InputError(
        f"{path}: {len(lost)} videos have no alignment, {lost[0]} the first;"
        f" {HOW}"
      )
    kept = atomic.cache() / f"grid-{corpus.stamp()}.npz"
    if not kept.exists():
      _decode(corpus, [videos[name] for name in names], kept)
  arrays = npy.read_archive(kept, sys.maxsize)
  if not {"frame", "mel"} <= {*arrays} or len(arrays["frame"]) != len(names):
    raise InputError(f"{kept} is broken; delete it")
  frame_NxFxHxW, mel_NxFxM = arrays["frame"], arrays["mel"]
  word_NxF = np.stack([_words(words[name]) for name in names])
  return Clips(names, frame_NxFxHxW, mel_NxFxM, word_NxF)


def _decode(corpus, names, kept):
  """Reads all videos, and keeps their mouths and sounds."""
  logging.info("reading %d videos, which takes a minute or two ...", len(names))
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    clips = [*pool.map(functools.partial(_clip, corpus), names)]
  frame, mel = (np.stack(x) for x in zip(*clips, strict=True))
  kept.parent.mkdir(parents=True, exist_ok=True)
  with atomic.whole(kept) as part, part.open("wb") as file:
    np.savez(file, frame=frame, mel=mel)


class _Corpus:
  """The files below a folder, including those inside of its zip files.

  Attributes:
    files: name -> a function that reads the file.
  """

  def __init__(self, path: pathlib.Path):
    self._stack = contextlib.ExitStack()
    self.files: dict[str, Callable[[], bytes]] = {}
    self._marks: list[tuple[str, int, int]] = []
    folder = path if path.is_dir() else path.parent
    paths = folder.rglob("*") if path.is_dir() else (path, folder / TABLE)
    for file in sorted(f for f in paths if f.is_file()):
      name, stat = str(file.relative_to(folder)), file.stat()
      if file.suffix == ".zip":
        self._open(name, file)
      elif file.suffix in (*VIDEOS, ".align") or file.name == TABLE:
        self.files[name] = functools.partial(guard.read_bytes, file, MOST)
        self._marks.append((name, stat.st_size, stat.st_mtime_ns))

  def _open(self, name, file):
    try:
      archive = self._stack.enter_context(zipfile.ZipFile(file))
      members = zips.members(archive)
    except guard.BROKEN as error:
      raise InputError(
        f"{file} is no zip file, or a broken one ({guard.reason(error)})"
      ) from error
    for info in members:
      inside = f"{name}/{info.filename}"
      self.files[inside] = functools.partial(zips.read, archive, info, MOST)
      self._marks.append((inside, info.file_size, info.CRC))

  def __enter__(self):
    return self

  def __exit__(self, *error):
    return self._stack.__exit__(*error)

  def stamp(self) -> str:
    """A digest that changes when a file does."""
    text = repr((VERSION, self._marks))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _stem(name: str) -> str:
  return pathlib.PurePath(name).stem


def _is_video(name: str) -> bool:
  suffix = pathlib.PurePath(name).suffix
  return suffix in VIDEOS and bool(SENTENCE.fullmatch(_stem(name)))


def _alignments(corpus) -> dict[str, list[tuple[float, str]]]:
  """Sentence -> (picture that a word or silence ends at, the word)."""
  words: dict[str, list[tuple[float, str]]] = {}
  for name, read_bytes in corpus.files.items():
    try:
      if pathlib.PurePath(name).name == TABLE:
        for line in read_bytes().decode().splitlines()[1:]:
          clip, _, end, word = line.split("\t")
          words.setdefault(clip, []).append((float(end), word))
      elif name.endswith(".align"):
        lines = [line.split() for line in read_bytes().decode().splitlines()]
        ends = [(int(end) / TICKS, word) for _, end, word in lines]
        words[_stem(name)] = ends
    except guard.BROKEN as error:
      raise InputError(
        f"GRID: {name} is no alignment ({guard.reason(error)})"
      ) from error
  return words


def _words(ends) -> np.ndarray:
  """The word that is said at the middle of each picture, (F,) int8."""
  index = {word: i for i, word in enumerate(VOCABULARY)}
  word_W = [index.get(word, SILENCE) for _, word in ends] + [SILENCE]
  middle_F = np.arange(FRAMES) + 0.5
  return np.array(word_W, np.int8)[
    np.searchsorted([end for end, _ in ends], middle_F)
  ]


def _clip(corpus, name):
  """Pictures (F, H, W) uint8 and log-mel energies (F, M) float16 of a video."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / pathlib.PurePath(name).name
    try:
      with guard.reading(f"GRID: {name}"):
        path.write_bytes(corpus.files[name]())
      return _pictures(str(path)), _sounds(str(path))
    except BrokenError as error:
      raise InputError(f"GRID: {name} {error.reason}") from error


def _pictures(path):
  times = ((np.arange(FRAMES) + 0.5) / RATE).tolist()
  rows, columns = MOUTH
  mouth = (rows.stop - rows.start, columns.stop - columns.start)
  cropped = containers.size(path) == mouth
  size = mouth if cropped else PICTURE
  track = containers.frames(path, times, FRAMES / RATE, size)
  if track is None:
    raise BrokenError(path, "has no picture")
  x_FxHxWx3 = track.values if cropped else track.values[:, rows, columns]
  H, W = mouth
  pooled = x_FxHxWx3.reshape(FRAMES, H // POOL, POOL, W // POOL, POOL, 3)
  return pooled.mean((2, 4, 5)).round().astype(np.uint8)


def _sounds(path):
  """Log-mels (F, M): the mean of the frames in the time of each picture."""
  reach = TONE.frame - TONE.hop
  track = containers.wave(path, 0.0, FRAMES / RATE + reach, TONE.rate)
  if track is None:
    raise BrokenError(path, "has no sound")
  mel_FxM = logmel.log_mel(track.values[None], TONE)[0]
  return mel_FxM.reshape(FRAMES, HOPS, -1).mean(1).astype(np.float16)


def magnitudes(mel_FxM: np.ndarray) -> np.ndarray:
  """Spectra (F * HOPS, bins) estimated from the log-mels of pictures."""
  energy_FxM = np.exp(mel_FxM) - TONE.offset
  spectrum_FxK = raw.magnitudes(energy_FxM, logmel.weights(TONE))
  return np.repeat(spectrum_FxK, HOPS, axis=0)
