"""Templated captions: one fixed random vector per word.

Shapes: C classes, M templates, T words after padding, F vector width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unirep.runtime.errors import InputError

# Four to eight words, one slot each. The other words are independent of the
# class, as most of the wording of a real caption is.
TEMPLATES = (
  "this is a {}",
  "someone says {} aloud",
  "a {} is shown",
  "we hear the {}",
  "here comes a {} again",
  "a person says {} twice",
  "there is a {} in view",
  "the word is {} this time",
  "you can hear someone say {}",
  "a hand has drawn a {}",
  "a voice and an image of {}",
  "in this clip they say {} clearly",
  "the {} is heard and then seen",
  "somebody writes a {} and reads it aloud",
  "on the screen there is a single {}",
  "while speaking they show us the {} again",
)
LONGEST = max(len(template.split()) for template in TEMPLATES)


class Captions(NamedTuple):
  """Every caption of every class, zero-padded.

  Attributes:
    vectors_CxMxTxF: float32 word vectors.
    lengths_M: int32 number of words of each template.
  """

  vectors_CxMxTxF: np.ndarray
  lengths_M: np.ndarray

  def draw(
    self, rng: np.random.Generator, label: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """A random caption of class `label`: (T, F) float32 and int32 length."""
    template = rng.integers(len(self.lengths_M))
    vectors_TxF = self.vectors_CxMxTxF[label, template].copy()
    return vectors_TxF, self.lengths_M[template]


def make_captions(
  rng: np.random.Generator, words: Sequence[str], *, time: int, width: int
) -> Captions:
  """Writes all templates for all class words, as word vectors.

  Args:
    rng: draws the word vectors, standard normal.
    words: the class words (C); they must not be template words.
    time: padded number of words, T.
    width: vector width, F.

  Raises:
    InputError: if the longest template does not fit in `time`.
  """
  if time < LONGEST:
    raise InputError(
      f"text needs room for {LONGEST} words, got {time} time steps"
    )
  texts = [[t.format(word).split() for t in TEMPLATES] for word in words]
  vocabulary = sorted({w for row in texts for text in row for w in text})
  drawn = rng.standard_normal((len(vocabulary), width), np.float32)
  vector = dict(zip(vocabulary, drawn, strict=True))
  vectors_CxMxTxF = np.zeros(
    (len(words), len(TEMPLATES), time, width), np.float32
  )
  for c, row in enumerate(texts):
    for m, text in enumerate(row):
      vectors_CxMxTxF[c, m, : len(text)] = [vector[w] for w in text]
  lengths_M = np.array([len(text) for text in texts[0]], np.int32)
  return Captions(vectors_CxMxTxF, lengths_M)
