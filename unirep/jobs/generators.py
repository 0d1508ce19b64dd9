"""Generators of a modality: a flow, the decoders of pretraining; and a judge.

Dimensions: N samples, T time, H/W/C a raw step.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from unirep.data import raw
from unirep.data.raw import Raw
from unirep.data.sample import Source
from unirep.inference.codes import Codes
from unirep.inference.tokenizer import Tokenizer
from unirep.runtime.errors import InputError
from unirep.tasks.generation import baseline, flow, judge, table
from unirep.tasks.generation.flow import Flow
from unirep.tasks.generation.judge import Judge
from unirep.tasks.generation.table import (
  DECODER,
  FLOW,
  MEAN,
  REAL,
  SHUFFLED,
  Units,
)

RIDGE_SAMPLES = 500  # of training, that the baseline is fit on


class Options(NamedTuple):
  """How to learn to make a modality, and to sample.

  Attributes:
    label: the name of the label that the judge predicts.
    split: the name of the split that gives the codes.
    flow: of the flow.
    judge: keywords of `judge.train`.
    guidance: how strongly samples follow the codes; 1 for none.
    sampling_steps: of a draw.
    seed: of shuffled codes.
  """

  label: str
  split: str
  flow: flow.Options
  judge: Mapping[str, Any]
  guidance: float
  sampling_steps: int
  seed: int


class Split(NamedTuple):
  """Samples of a split with their codes.

  Attributes:
    source: the samples.
    codes: theirs.
    label: (N, T) or (N,), the classes that the judge tells apart.
  """

  source: Source
  codes: Codes
  label: np.ndarray


class Learned(NamedTuple):
  """The generators of one modality, and the judge of their samples.

  Attributes:
    raw: of the split that gives the codes.
    x: its samples (N, T, H, W, C).
    flow: see there.
    judge: see there.
    known: real training things.
    mean: of training samples, (T, H, W, C).
    decoder: the baseline.
  """

  raw: Raw
  x: np.ndarray
  flow: Flow
  judge: Judge
  known: Units
  mean: np.ndarray
  decoder: baseline.Decoder


def encoded(model: Tokenizer, source: Source, label: str) -> Split:
  """Samples with their codes and labels."""
  codes = model.codes(source)
  return Split(source, codes, codes.labels[label])


def classes(options: Options, train: np.ndarray, test: np.ndarray) -> int:
  """How many classes there are; the last label of steps is background.

  Raises:
    InputError: for a class that training samples lack: no judge knows it.
  """
  count = int(max(train.max(), test.max())) + (train.ndim == 1)
  unknown = np.setdiff1d(test[test < count], train)
  unknown = unknown[unknown >= 0]
  if len(unknown):
    raise InputError(
      f"label={options.label}: class {unknown[0]} is in split={options.split}"
      " and not in train"
    )
  return count


def learn(
  options: Options,
  model: Tokenizer,
  keep_D: np.ndarray | None,
  target: str,
  parts: Sequence[Split],
  key: jax.Array,
  say: Callable[[int, float], None],
) -> Learned:
  """Learns to make one modality, and to judge it.

  Args:
    options: how to learn.
    model: the frozen model.
    keep_D: dimensions of codes that the flow sees; None for all.
    target: the modality.
    parts: training samples, and those that are looked at.
    key: of all draws.
    say: is told steps and loss of the flow.
  """
  train, test = parts
  count = classes(options, train.label, test.label)
  x = raw.stack(raw.of(train.source, target, ""), len(train.source))
  real = table.units(x, train.label, count)
  trained = flow.train(
    jax.random.fold_in(key, 0),
    x,
    train.codes.idx[target],
    flow.conditions(model.codebook, keep_D),
    options.flow,
    say,
  )
  return Learned(
    raw=raw.of(test.source, target, ""),
    x=raw.stack(raw.of(test.source, target, ""), len(test.source)),
    flow=trained,
    judge=judge.train(
      jax.random.fold_in(key, 1), real.x_UxHxWxC, real.label_U, **options.judge
    ),
    known=real,
    mean=x.mean(0),
    decoder=_decoder(model, target, train.source, x),
  )


def _decoder(model, target, source, x) -> baseline.Decoder:
  count = min(RIDGE_SAMPLES, len(source))
  samples = (source[i]["features"][target] for i in range(count))
  like = np.stack([*samples])

  def features(idx_NxT):
    return model.decode(idx_NxT, target, like)

  return baseline.fit(features, like, x[:count])


def make(
  options: Options,
  model: Tokenizer,
  target: str,
  test: Split,
  learned: Learned,
  key: jax.Array,
) -> dict[tuple[str, str], np.ndarray]:
  """(way, modality that gives the codes) -> samples (N, T, H, W, C)."""
  own_NxT = test.codes.idx[target]
  draw = functools.partial(
    flow.sample,
    learned.flow,
    jax.random.fold_in(key, 2),
    guidance=options.guidance,
    steps=options.sampling_steps,
  )
  made = {}
  order = [target, *(m for m in model.modalities if m != target)]
  told = {m: stepwise(test.codes.idx[m], own_NxT.shape[1]) for m in order}
  for m, idx_NxT in told.items():
    made[FLOW, m] = draw(idx_NxT)
    made[DECODER, m] = learned.decoder(idx_NxT)
  rng = np.random.default_rng(options.seed)
  shuffled = rng.permutation(own_NxT.reshape(-1)).reshape(own_NxT.shape)
  made[SHUFFLED, target] = draw(shuffled)
  if not all(np.isfinite(x).all() for x in made.values()):
    raise InputError(
      f"samples of {target!r} from the flow are not finite; lower"
      " flow.learning_rate or guidance"
    )
  made[MEAN, target] = np.broadcast_to(learned.mean, learned.x.shape)
  made[REAL, target] = learned.x
  return made


def stepwise(idx_NxT: np.ndarray, steps: int) -> np.ndarray:
  """Codes (N, steps): one code a sample is repeated over its steps."""
  N, T = idx_NxT.shape
  if steps == T:
    return idx_NxT
  if T == 1:
    return np.broadcast_to(idx_NxT, (N, steps))
  raise InputError(f"codes of {T} steps do not fit {steps} steps")


def things(
  made: Mapping[Any, np.ndarray], label: np.ndarray, judged: Judge
) -> dict[Any, table.Units]:
  """The inputs of the judge, for each way to make samples."""
  classes = judged.network.classes
  return {key: table.units(x, label, classes) for key, x in made.items()}
