"""Extractors by name, NAME or NAME:ARGUMENT."""

import inspect
from collections.abc import Callable

from unirep.extract import logmel, pixels, sensor, words
from unirep.extract.extractor import Extractor
from unirep.extract.pretrained import captions, graphs, pictures, sounds
from unirep.runtime.errors import InputError, pick

EXTRACTORS: dict[str, Callable[..., Extractor]] = {
  "logmel": logmel.extractor,
  "pixels": pixels.extractor,
  "sensor": sensor.extractor,
  "words": words.extractor,
  "yamnet": sounds.yamnet,
  "yamnet-scores": sounds.yamnet_scores,
  "vggish": sounds.vggish,
  "efficientnet": pictures.efficientnet,
  "efficientnet-vector": pictures.efficientnet_vector,
  "vgg19": pictures.vgg19,
  "minilm": captions.minilm,
  "minilm-sentence": captions.minilm_sentence,
  "bert": captions.bert,
  "onnx": graphs.onnx,
}


def extractor(key: str, name: str) -> Extractor:
  """The extractor of a name.

  Args:
    key: the setting that holds the name, for errors.
    name: an entry of `EXTRACTORS`, with an argument behind a colon if it takes
      one.

  Raises:
    InputError: for an unknown name, or a wrong or missing argument.
  """
  kind, colon, argument = name.partition(":")
  make = pick(EXTRACTORS, key, kind)
  arguments = (argument,) if colon else ()
  try:
    inspect.signature(make).bind(*arguments)
  except TypeError as error:
    need = "takes no argument" if colon else f"needs one: {kind}:ARGUMENT"
    raise InputError(f"{key}={name!r}: {kind} {need}") from error
  return make(*arguments)
