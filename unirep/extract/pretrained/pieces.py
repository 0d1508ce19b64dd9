"""Word pieces of texts, and the words that they make.

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
    piece_NxL: numbers of pieces, with marks of begin and end; 0 is padding.
    there_NxL: mask; False is padding.
    words: for each text, and each of its words, the places of its pieces.
  """

  piece_NxL: np.ndarray
  there_NxL: np.ndarray
  words: list[list[np.ndarray]]


def tokenizer(source: str, text: str, most: int) -> Any:
  """The tokenizer that a tokenizer.json or a vocab.txt describes.

  Args:
    source: name of the file, for errors.
    text: content of the file.
    most: pieces of a text, at most; the rest is cut off.

  Raises:
    InputError: if the file describes no tokenizer.
  """
  tokenizers = need("tokenizers")
  try:
    if text.lstrip().startswith("{"):
      result = tokenizers.Tokenizer.from_str(text)
    else:
      result = _of_vocabulary(tokenizers, text.removesuffix("\n").split("\n"))
    result.no_padding()
    result.enable_truncation(most)
  except Exception as error:  # the package raises no other type
    reason = one_line(str(error))
    raise InputError(f"{source} describes no tokenizer ({reason})") from error
  return result


def _of_vocabulary(tokenizers, lines):
  """BERT's tokenizer; it ignores case if the vocabulary is in lower case."""
  vocabulary = {piece: i for i, piece in enumerate(lines)}
  cased = any(x != x.lower() for x in lines if not x.startswith("["))
  first, last = ((x, vocabulary[x]) for x in ("[CLS]", "[SEP]"))
  result = tokenizers.Tokenizer(
    tokenizers.models.WordPiece(
      vocabulary, unk_token="[UNK]", max_input_chars_per_word=100
    )
  )
  result.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=not cased)
  result.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
  result.post_processor = tokenizers.processors.BertProcessing(last, first)
  return result


def split(
  tokenizer: Any, texts: Sequence[str], lengths: Sequence[int]
) -> Pieces:
  """Pieces of texts, and words as `words` has them, without punctuation.

  Args:
    tokenizer: from `tokenizer`.
    texts: N strings.
    lengths: allowed values of L, rising; the last is enough for any text.
  """
  texts = [unicodedata.normalize("NFKC", x) for x in texts]
  encodings = tokenizer.encode_batch(texts)
  longest = max(len(x.ids) for x in encodings)
  size = next(x for x in lengths if x >= longest)
  piece_NxL = np.zeros((len(texts), size), np.int32)
  there_NxL = np.zeros((len(texts), size), bool)
  for i, x in enumerate(encodings):
    piece_NxL[i, : len(x.ids)] = x.ids
    there_NxL[i, : len(x.ids)] = True
  spans = [_words(t, x) for t, x in zip(texts, encodings, strict=True)]
  return Pieces(piece_NxL, there_NxL, spans)


def _words(text, encoding):
  """Places of the pieces of each word; words without pieces are left out."""
  spans = [m.span() for m in words.WORD.finditer(text)]
  first = [begin for begin, _ in spans]
  places: dict[int, list[int]] = {}
  marks = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
  for i, ((begin, _), special) in enumerate(marks):
    word = int(np.searchsorted(first, begin, "right")) - 1
    if not special and word >= 0 and begin < spans[word][1]:
      places.setdefault(word, []).append(i)
  return [np.array(x) for x in places.values()]
