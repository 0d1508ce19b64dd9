"""Texts in word pieces, and which of those make a word.

Dimensions: N texts, L pieces.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.extract import words
from unirep.extract.broken import one_line
from unirep.extract.weights import need
from unirep.runtime.errors import InputError


class Pieces(NamedTuple):
  """Word pieces of texts.

  Attributes:
    piece_NxL: their numbers, with those that begin and end a text; 0 behind.
    there_NxL: which of them there are.
    words: for each text, for each of its words, where its pieces are.
  """

  piece_NxL: np.ndarray
  there_NxL: np.ndarray
  words: list[list[np.ndarray]]


def tokenizer(source: str, text: str, most: int) -> Any:
  """The tokenizer that a tokenizer.json or a vocab.txt describes.

  Args:
    source: what to call the file in errors.
    text: what it holds.
    most: pieces of a text; the others are cut off.

  Raises:
    InputError: if it describes none.
  """
  tokenizers = need("tokenizers")
  try:
    if text.lstrip().startswith("{"):
      made = tokenizers.Tokenizer.from_str(text)
    else:
      made = _of_vocabulary(tokenizers, text.removesuffix("\n").split("\n"))
    made.no_padding()
    made.enable_truncation(most)
  except Exception as error:  # the package raises no other type
    what = one_line(str(error))
    raise InputError(f"{source} describes no tokenizer ({what})") from error
  return made


def _of_vocabulary(tokenizers, lines):
  """BERT's, with small letters only where the vocabulary has no others."""
  vocabulary = {piece: i for i, piece in enumerate(lines)}
  cased = any(x != x.lower() for x in lines if not x.startswith("["))
  first, last = ((x, vocabulary[x]) for x in ("[CLS]", "[SEP]"))
  made = tokenizers.Tokenizer(
    tokenizers.models.WordPiece(
      vocabulary, unk_token="[UNK]", max_input_chars_per_word=100
    )
  )
  made.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=not cased)
  made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
  made.post_processor = tokenizers.processors.BertProcessing(last, first)
  return made


def split(
  tokenizer: Any, texts: Sequence[str], lengths: Sequence[int]
) -> Pieces:
  """Pieces of texts; words are those of `words`, without punctuation.

  Args:
    tokenizer: see above.
    texts: N strings.
    lengths: that L may have, rising; the last holds any text.
  """
  texts = [unicodedata.normalize("NFKC", x) for x in texts]
  found = tokenizer.encode_batch(texts)
  longest = max(len(x.ids) for x in found)
  size = next(x for x in lengths if x >= longest)
  piece_NxL = np.zeros((len(texts), size), np.int32)
  there_NxL = np.zeros((len(texts), size), bool)
  for i, x in enumerate(found):
    piece_NxL[i, : len(x.ids)] = x.ids
    there_NxL[i, : len(x.ids)] = True
  spans = [_words(t, x) for t, x in zip(texts, found, strict=True)]
  return Pieces(piece_NxL, there_NxL, spans)


def _words(text, encoding):
  """Where the pieces of each word are; words that have none are left out."""
  spans = [m.span() for m in words.WORD.finditer(text)]
  first = [begin for begin, _ in spans]
  places: dict[int, list[int]] = {}
  marks = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
  for i, ((begin, _), special) in enumerate(marks):
    word = int(np.searchsorted(first, begin, "right")) - 1
    if not special and word >= 0 and begin < spans[word][1]:
      places.setdefault(word, []).append(i)
  return [np.array(x) for x in places.values()]
