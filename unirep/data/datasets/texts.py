"""Vectors of texts: by an extractor, or from a file.

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
      at most; `filter`, of `FILTERS`: "released" keeps only the words in
      `word_map`, as the authors do.

  Raises:
    InputError: for an unknown extractor, a file that does not fit, or a text
      without a word left.
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
  """Indices of the words of a text that are in the authors' word map."""
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
  # The authors give unknown words the first entry, [PAD].
  return {row.cells["token"] for row in rows if row.cells["bert_id"] != "0"}


def _from_file(path: pathlib.Path, size: int, most: int) -> Texts:
  """Vectors "text" (N, L, D), and maybe "length/text"."""
  if not path.exists():
    raise InputError(
      f"data.text={str(path)!r} is no extractor"
      f" ({', '.join(registry.EXTRACTORS)}), and no file"
    )
  columns: Any = formats.read(path)
  vectors = columns.get(KEY)
  if vectors is None or len(vectors) != size or vectors.ndim != 3:
    shapes = {name: x.shape for name, x in columns.items()}
    raise InputError(
      f"{path} must hold {KEY!r} of shape ({size}, words, width), got {shapes}"
    )
  vector_NxLxD = values.feature(KEY, np.asarray(vectors))
  vector_NxLxD = np.asarray(vector_NxLxD, np.float32)[:, :most]
  L = vector_NxLxD.shape[1]
  length_N = np.full(size, L, np.int32)
  if f"length/{KEY}" in columns:
    lengths = columns[f"length/{KEY}"]
    length_N = np.minimum(values.integers(f"length/{KEY}", lengths), L)
  if length_N.shape != (size,) or length_N.min() < 1:
    raise InputError(f"{path}: length/{KEY} must be ({size},), 1 or more")
  return Texts(vector_NxLxD, length_N)
