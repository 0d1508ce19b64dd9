"""Hashed word vectors: a word has the same vector everywhere."""

import functools
import hashlib
import re
import unicodedata
from typing import NamedTuple

import numpy as np
from scipy import special

from unirep.extract.extractor import Extractor, Loaded, parse, require

# Letters, digits and apostrophes inside.
WORD = re.compile(r"\w+(?:['\u2019]\w+)*")


class Words(NamedTuple):
  """How wide the vector of a word is."""

  width: int = 64


def extractor(argument: str = "") -> Extractor:
  """A vector a word; of a text without any, none."""
  how: Words = parse("words", argument, Words())
  require("words", how, width=2)

  def run(texts):
    return [
      np.array([vector(w, how.width) for w in split(t)], np.float32).reshape(
        -1, how.width
      )
      for t in texts
    ]

  return Extractor(
    name=f"words:{argument}" if argument else "words",
    takes="text",
    shape=(how.width,),
    load=lambda: Loaded(run, ""),
  )


def split(text: str) -> list[str]:
  """Words in small letters: letters, digits and apostrophes inside."""
  return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@functools.lru_cache(maxsize=2**16)
def vector(word: str, width: int) -> np.ndarray:
  """Normally distributed numbers that only the word decides."""
  # Not a generator of NumPy's, whose numbers may change with its version.
  digest = hashlib.shake_256(word.encode()).digest(4 * width)
  uniform = (np.frombuffer(digest, "<u4") + 0.5) / 2**32
  return special.ndtri(uniform).astype(np.float32)
