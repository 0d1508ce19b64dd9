"""Findings on the codes of a trained model: what they carry and share.

Dimensions: K codes, D code width, C classes.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from unirep.config.build import Config
from unirep.data import identity, pipeline
from unirep.data.sample import Source
from unirep.inference.codes import Codes
from unirep.inference.tokenizer import Tokenizer
from unirep.jobs import encoding
from unirep.quantizer import codebook
from unirep.tasks import classification, localization, sharing


class Found(NamedTuple):
  """What an evaluation finds.

  Attributes:
    results: what a summary says of it, ready for JSON.
    usage: modality -> (K,) how often it uses each code.
    by_class: modality -> (K, C) how often in each class; empty without labels.
  """

  results: dict[str, Any]
  usage: Mapping[str, np.ndarray]
  by_class: Mapping[str, np.ndarray]


class Encoded(NamedTuple):
  """The codes that an evaluation looks at.

  Attributes:
    train: what the use of codes is counted on.
    test: of held-out samples, which all else is about.
    varied: of the training samples under dropout, which probes are fit on;
      None without labels.
  """

  train: Codes
  test: Codes
  varied: Codes | None


def encode(
  config: Config,
  tokenizer: Tokenizer,
  train: Source,
  test: Source,
  folder: pathlib.Path,
) -> Encoded:
  """What `evaluate` needs; all processes take part, see `encoding.encoded`.

  Of the training samples no more than `probe.samples` are looked at.
  """
  train = pipeline.drawn(train, config.probe.samples, config.seed)

  def codes(name, source, **options):
    stamp = encoding.stamp(tokenizer, identity.of(source))
    path = folder / f"{name}-{stamp}.npz"
    return encoding.encoded(tokenizer, source, path, **options)

  found = codes("train", train), codes("test", test)
  varied = None
  if "class" in found[0].labels:
    passes = config.probe.passes
    key = jax.random.key(config.seed)
    varied = codes(f"varied{passes}", train, dropout=key, passes=passes)
  return Encoded(*found, varied)


def evaluate(config: Config, code_KxD: Any, codes: Encoded) -> Found:
  """Cross-modal transfer, sharing and use of the codes of a model.

  Args:
    config: as `configs/pretrain.py` gives it.
    code_KxD: the codebook.
    codes: see there.
  """
  train, test, varied = codes
  size, cross_modal, by_class = len(code_KxD), {}, {}
  if varied is not None:
    options = dict(config.probe)
    del options["passes"], options["samples"]
    cross_modal = classification.transfer(
      code_KxD, varied, test, seed=config.seed, **options
    )
    label_N = train.labels["class"]
    classes = int(label_N.max(initial=-1)) + 1
    if classes:
      by_class = {
        m: sharing.class_histogram(idx, label_N, size, classes)
        for m, idx in train.idx.items()
      }
  usage = {m: sharing.histogram(idx, size) for m, idx in train.idx.items()}
  results = {
    "cross_modal": cross_modal,
    "sharing": shared(train, test, size),
    "codebook": describe(code_KxD, usage),
  }
  return Found(results, usage, by_class)


def shared(train: Codes, test: Codes, size: int) -> dict[str, Any]:
  """See `sharing.measure`; also at the steps that show the same event.

  Background is the last class of segments, as in `localization`.
  """
  background = localization.count(train, test) - 1
  same = sharing.same_event(test.labels, background)
  return sharing.measure(train, test, size, same=same)


def describe(code_KxD: Any, usage: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """How much of a codebook is awake, and how much of that is used."""
  size, count_K = len(code_KxD), np.sum(list(usage.values()), 0)
  used = int((count_K > 0).sum())
  return {
    "size": size,
    "awake": int(np.asarray(codebook.awake(code_KxD)).sum()),
    "usage": used,
    "dead": size - used,
    "perplexity": sharing.perplexity(count_K),
    "usage_by_modality": {m: int((c > 0).sum()) for m, c in usage.items()},
  }
