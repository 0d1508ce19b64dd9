"""The evaluation at the end of pretraining: transfer, sharing, use of codes.

Dimensions: K codes, D code width, C classes.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from unirep.data import identity, pipeline
from unirep.data.sample import Source
from unirep.inference.codes import Codes
from unirep.jobs import encoding
from unirep.quantizer import codebook
from unirep.tasks import classification, localization, sharing


class Options(NamedTuple):
  """How a model is measured.

  Attributes:
    seed: of probes, dropout and the samples that are drawn.
    passes: how often a training sample is encoded under dropout.
    samples: training samples that are drawn; 0 for all.
    probe: seeds, steps, batch_size and learning_rate of the probes.
  """

  seed: int
  passes: int
  samples: int
  probe: Mapping[str, Any]


class Measured(NamedTuple):
  """The measurements of a model.

  Attributes:
    results: the part of a summary that they make, ready for JSON.
    usage: modality -> (K,) how often it uses each code.
    by_class: modality -> (K, C) how often in each class; empty without labels.
  """

  results: dict[str, Any]
  usage: Mapping[str, np.ndarray]
  by_class: Mapping[str, np.ndarray]


class Encoded(NamedTuple):
  """The codes that a model is measured by.

  Attributes:
    train: of training samples; the use of codes is counted on them.
    test: of held-out samples; everything else is measured on them.
    varied: of training samples under dropout, to fit probes on; None without
      labels.
  """

  train: Codes
  test: Codes
  varied: Codes | None


def encode(
  options: Options,
  tokenizer: encoding.Model,
  train: Source,
  test: Source,
  folder: pathlib.Path,
) -> Encoded:
  """The codes that `evaluate` needs; all processes take part."""
  train = pipeline.drawn(train, options.samples, options.seed)

  def codes(name, source, **keywords):
    stamp = encoding.stamp(tokenizer, identity.of(source))
    path = folder / f"{name}-{stamp}.npz"
    return encoding.encoded(tokenizer, source, path, **keywords)

  plain, held_out = codes("train", train), codes("test", test)
  varied = None
  if "class" in plain.labels:
    passes = options.passes
    key = jax.random.key(options.seed)
    varied = codes(f"varied{passes}", train, dropout=key, passes=passes)
  return Encoded(plain, held_out, varied)


def evaluate(options: Options, code_KxD: Any, codes: Encoded) -> Measured:
  """Cross-modal transfer, sharing and use of the codes of a model.

  Args:
    options: how to measure.
    code_KxD: the codebook.
    codes: from `encode`.
  """
  train, test, varied = codes
  size, cross_modal, by_class = len(code_KxD), {}, {}
  if varied is not None:
    cross_modal = classification.transfer(
      code_KxD, varied, test, seed=options.seed, **options.probe
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
  return Measured(results, usage, by_class)


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
