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
  """Options of the extractor: the width of a word's vector."""

  width: int = 64


def extractor(argument: str = "") -> Extractor:
  """One vector a word, and none for a text without words."""
  options: Words = parse("words", argument, Words())
  require("words", options, width=2)

  def run(texts):
    width = options.width
    vectors = ([vector(w, width) for w in split(t)] for t in texts)
    return [np.array(x, np.float32).reshape(-1, width) for x in vectors]

  return Extractor(
    name=f"words:{argument}" if argument else "words",
    takes="text",
    shape=(options.width,),
    load=lambda: Loaded(run, ""),
  )


def split(text: str) -> list[str]:
  """Words of a text in lower case: letters, digits, apostrophes inside."""
  return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@functools.lru_cache(maxsize=2**16)
def vector(word: str, width: int) -> np.ndarray:
  """Normally distributed numbers that depend on the word alone."""
  # Numbers of NumPy's generators may change with its version.
  digest = hashlib.shake_256(word.encode()).digest(4 * width)
  uniform = (np.frombuffer(digest, "<u4") + 0.5) / 2**32
  return special.ndtri(uniform).astype(np.float32)
