"""Event localization: which events each segment holds (AVVP and its like).

Dimensions: N samples, T segments, C classes, of which background is the last.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unirep.inference.codes import Codes
from unirep.runtime.errors import InputError
from unirep.tasks.probing import criteria, probe, scores, suite
from unirep.tasks.probing.probe import Task
from unirep.tasks.probing.suite import Problem


class Segments(NamedTuple):
  """The label of this task.

  Attributes:
    on_NxTxC: 0 or 1.
    valid_NxT: False at padding, and where nobody knows; no loss, no score.
  """

  on_NxTxC: Any
  valid_NxT: Any


def problem(train: Codes, validation: Codes, test: Codes) -> Problem:
  """What each segment of a modality holds.

  The codes have labels "events/<modality>" (N, T, C), 0 or 1, or
  "segments/<modality>" (N, T) where a segment holds one class at most; see
  `labels`. Chance is the F1 of naming every class in every segment, and the
  baseline that of naming the class of the clip, if one knew it, in every
  segment.
  """
  classes = count(train, validation, test)
  label = functools.partial(labels, classes=classes)
  named = [
    m for m in test.idx if {f"events/{m}", f"segments/{m}"} & {*test.labels}
  ]
  made = Problem(
    task=task(classes),
    label=label,
    train=train,
    validation=validation,
    test=test,
    chance=dict.fromkeys(named, 0.0),
  )
  return _guessed(made, background=False)


def with_background(problem: Problem, batch: int) -> Problem:
  """As released: background is a class like any other, in score and choice.

  Scores are those of an epoch in batches, see `scores.released_epoch`. What the
  published tables call accuracy is `precision_with_background` at the
  evaluation of the best F1.

  Args:
    problem: what `problem` gave.
    batch: samples a batch.
  """
  score = functools.partial(_released_score, batch=batch)
  task = problem.task._replace(primary="f1_with_background", score=score)
  return _guessed(problem._replace(task=task), background=True)


def _guessed(problem, background):
  """With the scores of the guesses."""
  chance, baseline = {}, {}
  for m in problem.chance:
    label = problem.label(problem.test, m)
    valid_NxT = label.valid_NxT
    on_RxC = label.on_NxTxC[valid_NxT]
    share = float((on_RxC if background else on_RxC[:, :-1]).mean())
    chance[m] = 2 * share / (1 + share)
    clip_N = _clip_class(problem.test, label)
    guess_NxC = clip_N[:, None] == np.arange(on_RxC.shape[-1])
    guess_NxTxC = guess_NxC[:, None] + 0 * label.on_NxTxC
    counts = scores.segment_counts(guess_NxTxC, label.on_NxTxC, valid_NxT)
    baseline[m] = float(scores.f1(counts, background=background))
  return problem._replace(chance=chance, baseline=baseline)


def _clip_class(codes, label):
  """The class of each clip: named, or the one that most segments hold."""
  if "class" in codes.labels:
    return codes.labels["class"]
  on_NxTxC = label.on_NxTxC * label.valid_NxT[..., None]
  return on_NxTxC.sum(1)[:, :-1].argmax(-1)


def labels(codes: Codes, modality: str, classes: int) -> Segments:
  """What each segment of `modality` holds; nothing at padding.

  Args:
    codes: with a label "events/<modality>" or "segments/<modality>".
    modality: name.
    classes: C, background included. It is on where integers name it, and where
      they name none (below 0) nobody knows.
  """
  value = suite.label(codes, f"events/{modality}", f"segments/{modality}")
  valid_NxT = np.asarray(codes.idx[modality]) >= 0
  if value.shape[:2] != valid_NxT.shape:
    raise InputError(
      f"{modality!r} has codes of shape {valid_NxT.shape}, but labels of "
      f"segments {value.shape[:2]}"
    )
  if value.ndim == 3:
    return Segments(value, valid_NxT)
  valid_NxT = valid_NxT & (value >= 0)
  return Segments(np.eye(classes, dtype=np.int8)[value], valid_NxT)


def count(*parts: Codes) -> int:
  """The number of classes of segments, of which background is the last.

  Labels of events say it themselves. Where there are none, clips have classes,
  and no segment holds a higher one, the data knows no background: room is made
  for it, so that the last class is an event.
  """
  events = segments = clips = 0
  for name, value in (x for codes in parts for x in codes.labels.items()):
    if name.startswith("events/"):
      events = max(events, value.shape[-1])
    elif name.startswith("segments/"):
      segments = max(segments, int(value.max(initial=-1)) + 1)
    elif name == "class":
      clips = max(clips, int(value.max(initial=-1)) + 1)
  return events or max(segments, clips + 1 if clips else 0)


def task(classes: int) -> Task:
  """The segment probe, scored by F1 of events without background.

  The loss is binary cross-entropy and ExpLogLoss, as published. Precision,
  recall and F1 are micro averages over segments. Labels are `Segments`.

  Args:
    classes: C, background included.
  """
  return Task(
    head=probe.segment,
    loss=_loss,
    score=_score,
    primary="f1",
    outputs=classes,
    weighted=True,
  )


def _loss(params, logits_NxTxC, label):
  on_NxTxC, valid_NxT = label
  explog = criteria.explog(logits_NxTxC, on_NxTxC, params["alpha"], valid_NxT)
  return (
    criteria.binary_cross_entropy(logits_NxTxC, on_NxTxC, valid_NxT) + explog
  )


def _score(logits_NxTxC, label):
  on_NxTxC, valid_NxT = label
  predicted_NxTxC = scores.predict(logits_NxTxC) & valid_NxT[..., None]
  on_NxTxC = on_NxTxC.astype(bool) & valid_NxT[..., None]
  segments = scores.segment_counts(predicted_NxTxC, on_NxTxC)
  events = scores.event_counts(predicted_NxTxC, on_NxTxC)
  plain: dict[str, Any] = {"background": False}
  return {
    "f1": scores.f1(segments, **plain),
    "precision": scores.precision(segments, **plain),
    "recall": scores.recall(segments, **plain),
    "macro_f1": scores.f1(segments, "macro", **plain),
    "event_f1": scores.f1(events, **plain),
    "f1_with_background": scores.f1(segments),
    "precision_with_background": scores.precision(segments),
  }


def _released_score(logits_NxTxC, label, *, batch):
  """`_score`, with the numbers of batches averaged where background counts."""
  N = logits_NxTxC.shape[0]
  rows = min(batch, N)
  batches = -(-N // rows)

  def split(x):
    pad = jnp.zeros((batches * rows - N, *x.shape[1:]), x.dtype)
    return jnp.concatenate([x, pad]).reshape(batches, rows, *x.shape[1:])

  on, valid = jax.tree.map(split, tuple(label))
  guess = scores.predict(split(logits_NxTxC))
  counts = jax.vmap(scores.segment_counts)(guess, on, valid)
  size_S = jnp.minimum(rows, N - rows * jnp.arange(batches))
  p, _, f1 = scores.released_epoch(counts, size_S)
  return _score(logits_NxTxC, label) | {
    "f1_with_background": f1,
    "precision_with_background": p,
  }


def across(train: Codes, validation: Codes, test: Codes) -> Problem:
  """As `problem`, with a test set of another kind.

  Args:
    train: clips with one event; the class of each segment.
    validation: of the same data set.
    test: clips with several events, of the same classes in the same order.
  """
  return problem(train, validation, test)._replace(
    note="trained on one data set, tested on another"
  )
