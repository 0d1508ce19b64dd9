"""Event localization: which events each segment holds (AVVP and its like).

Dimensions: N samples, T segments, C classes, of which background is the last.
"""

from typing import Any

import numpy as np

from unirep.codes import Codes
from unirep.tasks.probing import criteria, probe, scores, suite
from unirep.tasks.probing.probe import Task
from unirep.tasks.probing.suite import Problem


def problem(train: Codes, validation: Codes, test: Codes) -> Problem:
  """What each segment of a modality holds.

  The codes have labels "events/<modality>" (N, T, C), 0 or 1, or
  "segments/<modality>" (N, T) where a segment holds one class at most; see
  `labels`. Chance is the F1 of naming every class in every segment.
  """
  classes = count(train, validation, test)
  named = [
    m for m in test.idx if {f"events/{m}", f"segments/{m}"} & {*test.labels}
  ]

  def label(codes, modality):
    return labels(codes, modality, classes)

  share = {m: float(label(test, m)[..., :-1].mean()) for m in named}
  return Problem(
    task=task(classes),
    label=label,
    train=train,
    validation=validation,
    test=test,
    chance={m: 2 * p / (1 + p) for m, p in share.items()},
  )


def with_background(problem: Problem) -> Problem:
  """As released: background is a class like any other, in score and choice.

  What the published tables call accuracy is `precision_with_background` at the
  evaluation of the best F1.
  """
  share = {
    m: float(problem.label(problem.test, m).mean()) for m in problem.chance
  }
  return problem._replace(
    task=problem.task._replace(primary="f1_with_background"),
    chance={m: 2 * p / (1 + p) for m, p in share.items()},
  )


def labels(codes: Codes, modality: str, classes: int) -> np.ndarray:
  """What each segment of `modality` holds, (N, T, C), 0 or 1."""
  value = suite.label(codes, f"events/{modality}", f"segments/{modality}")
  return value if value.ndim == 3 else np.eye(classes, dtype=np.int8)[value]


def count(*parts: Codes) -> int:
  """The number of classes of segments, of which background is the last."""
  most = 0
  for name, value in (x for codes in parts for x in codes.labels.items()):
    if name.startswith("events/"):
      most = max(most, value.shape[-1])
    elif name.startswith("segments/"):
      most = max(most, int(value.max(initial=0)) + 1)
  return most


def task(classes: int) -> Task:
  """The segment probe, scored by F1 of events without background.

  The loss is binary cross-entropy and ExpLogLoss, as published. Precision,
  recall and F1 are micro averages over segments.

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


def _loss(params, logits_NxTxC, label_NxTxC):
  explog = criteria.explog(logits_NxTxC, label_NxTxC, params["alpha"])
  return criteria.binary_cross_entropy(logits_NxTxC, label_NxTxC) + explog


def _score(logits_NxTxC, label_NxTxC):
  predicted_NxTxC = scores.predict(logits_NxTxC)
  segments = scores.segment_counts(predicted_NxTxC, label_NxTxC)
  events = scores.event_counts(predicted_NxTxC, label_NxTxC)
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
