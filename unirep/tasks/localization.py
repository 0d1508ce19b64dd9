"""Event localization: the events of each segment, as in AVVP.

Dimensions: N samples, T segments, C classes, the last of which is background.
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
  """Labels of segments.

  Attributes:
    on_NxTxC: 1 where a segment has an event of the class, else 0.
    valid_NxT: False at padding and at segments of unknown class, which count in
      no loss and no score.
  """

  on_NxTxC: Any
  valid_NxT: Any


def problem(train: Codes, validation: Codes, test: Codes) -> Problem:
  """The events of each segment of a modality.

  Chance is the F1 of predicting every class in every segment. The baseline is
  the F1 of predicting the true class of the clip in each of its segments.

  Args:
    train: samples with labels "events/<modality>" (N, T, C), 0 or 1, or
      "segments/<modality>" (N, T), where a segment has one class at most.
    validation: samples with such labels.
    test: samples with such labels.
  """
  classes = count(train, validation, test)
  label = functools.partial(labels, classes=classes)
  labeled = [
    m for m in test.idx if {f"events/{m}", f"segments/{m}"} & {*test.labels}
  ]
  unscored = Problem(
    task=task(classes),
    label=label,
    train=train,
    validation=validation,
    test=test,
    chance=dict.fromkeys(labeled, 0.0),
  )
  return _with_guesses(unscored, background=False)


def with_background(problem: Problem, batch: int) -> Problem:
  """The problem as the released scripts score it: background is a class.

  The evaluation is chosen by F1 with background, and scores are averaged over
  batches, see `scores.released_epoch`. The accuracy of the published tables is
  `precision_with_background`.

  Args:
    problem: result of `problem`.
    batch: samples of a batch.
  """
  score = functools.partial(_released_score, batch=batch)
  task = problem.task._replace(primary="f1_with_background", score=score)
  return _with_guesses(problem._replace(task=task), background=True)


def _with_guesses(problem, background):
  """The problem with the F1 of its guesses, see `problem`."""
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
  """The class of each clip: its label, or the event of most segments."""
  if "class" in codes.labels:
    return codes.labels["class"]
  on_NxTxC = label.on_NxTxC * label.valid_NxT[..., None]
  return on_NxTxC.sum(1)[:, :-1].argmax(-1)


def labels(codes: Codes, modality: str, classes: int) -> Segments:
  """Labels of the segments of a modality.

  Args:
    codes: samples with a label "events/<modality>" (N, T, C), 0 or 1, or
      "segments/<modality>" (N, T), classes, below 0 where unknown.
    modality: its name.
    classes: C, background included.

  Raises:
    InputError: if there is no such label, or its shape is not that of the
      codes.
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
  """C, the number of classes of segments, background included.

  Labels "events/..." have a column for each class. Otherwise C is the number of
  classes of segments, and at least that of clips plus one: clips are never
  background, so that the last class must not be one of theirs.
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
  """The segment probe, scored by F1 without background.

  The loss is binary cross-entropy plus ExpLogLoss, as published. Precision,
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
  binary = criteria.binary_cross_entropy(logits_NxTxC, on_NxTxC, valid_NxT)
  return binary + explog


def _score(logits_NxTxC, label):
  on_NxTxC, valid_NxT = label
  predicted_NxTxC = scores.predict(logits_NxTxC) & valid_NxT[..., None]
  on_NxTxC = on_NxTxC.astype(bool) & valid_NxT[..., None]
  segments = scores.segment_counts(predicted_NxTxC, on_NxTxC)
  events = scores.event_counts(predicted_NxTxC, on_NxTxC)
  return {
    "f1": scores.f1(segments, background=False),
    "precision": scores.precision(segments, background=False),
    "recall": scores.recall(segments, background=False),
    "macro_f1": scores.f1(segments, "macro", background=False),
    "event_f1": scores.f1(events, background=False),
    "f1_with_background": scores.f1(segments),
    "precision_with_background": scores.precision(segments),
  }


def _released_score(logits_NxTxC, label, *, batch):
  """`_score`, where scores with background are averaged over batches."""
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
  """As `problem`, trained on one data set and tested on another.

  Args:
    train: clips with one event, and the class of each segment.
    validation: samples of the same data set.
    test: clips with several events, of the same classes in the same order.
  """
  return problem(train, validation, test)._replace(
    note="trained on one data set, tested on another"
  )
