"""Texts as vectors: by an extractor, or from a file.

Dimensions: N texts, L words, D width.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unirep.data import formats, values
from unirep.data.annotations.tables import read_rows
from unirep.data.datasets.clips import Texts
from unirep.extract import registry, words
from unirep.runtime.errors import InputError, pick

FILTERS = ("clean", "released")
AT_ONCE = 256  # texts that an extractor gets
KEY = "text"


def embed(texts: Sequence[str], options: Mapping[str, Any]) -> Texts:
  """The vectors of texts.

  Args:
    texts: N, none empty.
    options: `text`, the name of an extractor or a file of vectors; `words`, L
      at most; `filter`, of `FILTERS`: released keeps the words of `word_map`
      alone, as the authors do.

  Raises:
    InputError: for an unknown extractor, a file that does not fit, or a text
      of which nothing is left.
  """
  by, most = options["text"], options["words"]
  if most < 1:
    raise InputError(f"data.words={most} must be at least 1")
  pick(dict.fromkeys(FILTERS), "data.filter", options["filter"])
  if by.partition(":")[0] not in registry.EXTRACTORS:
    return _from_file(pathlib.Path(by), len(texts), most)
  extractor = registry.extractor("data.text", by)
  if extractor.takes != "text":
    raise InputError(f"data.text={by!r} takes {extractor.takes}, not text")
  kept = None
  if options["filter"] == "released":
    kept = _vocabulary(options["word_map"])
  run = extractor.load().run
  vector_NxLxD = np.zeros((len(texts), most, *extractor.shape), np.float32)
  length_N = np.zeros(len(texts), np.int32)
  for start in range(0, len(texts), AT_ONCE):
    part = texts[start : start + AT_ONCE]
    for n, (text, x) in enumerate(zip(part, run([*part]), strict=True), start):
      x = (x if kept is None else x[_known(text, x, kept)])[:most]
      if not len(x):
        raise InputError(
          f"the text {text[:80]!r} has no word left by data.text={by},"
          f" data.filter={options['filter']}"
        )
      vector_NxLxD[n, : len(x)], length_N[n] = x, len(x)
  return Texts(vector_NxLxD, length_N)


def _known(text: str, x: np.ndarray, kept: set[str]) -> list[int]:
  """Which words of a text the authors' word map has."""
  split = words.split(text)
  if len(split) != len(x):
    raise InputError(
      f"the text {text[:80]!r} has {len(split)} words, but {len(x)} vectors;"
      " data.filter=released needs a vector a word"
    )
  return [i for i, word in enumerate(split) if word in kept]


def _vocabulary(path: str) -> set[str]:
  """The whole words of a word map: bert_id, index and token, TAB separated."""
  if not path:
    raise InputError(
      "data.filter=released needs data.word_map, a table of bert_id, index and"
      " token; data.filter=clean keeps all words"
    )
  rows = read_rows(path, ("bert_id", "index", "token"), delimiter="\t")
  # The first, [PAD], is what the authors have for words that are unknown.
  return {row.cells["token"] for row in rows if row.cells["bert_id"] != "0"}


def _from_file(path: pathlib.Path, size: int, most: int) -> Texts:
  """Vectors "text" (N, L, D), and maybe "length/text"."""
  if not path.exists():
    raise InputError(
      f"data.text={str(path)!r} is no extractor"
      f" ({', '.join(registry.EXTRACTORS)}), and no file"
    )
  found: Any = formats.read(path)
  if KEY not in found or len(found[KEY]) != size or found[KEY].ndim != 3:
    shapes = {name: x.shape for name, x in found.items()}
    raise InputError(
      f"{path} must hold {KEY!r} of shape ({size}, words, width), got {shapes}"
    )
  vector_NxLxD = values.feature(KEY, np.asarray(found[KEY]))
  vector_NxLxD = np.asarray(vector_NxLxD, np.float32)[:, :most]
  L = vector_NxLxD.shape[1]
  length_N = np.full(size, L, np.int32)
  if f"length/{KEY}" in found:
    given = found[f"length/{KEY}"]
    length_N = np.minimum(values.integers(f"length/{KEY}", given), L)
  if length_N.shape != (size,) or length_N.min() < 1:
    raise InputError(f"{path}: length/{KEY} must be ({size},), 1 or more")
  return Texts(vector_NxLxD, length_N)
