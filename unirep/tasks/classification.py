"""Event classification: which event a clip shows (AVE and its like).

Trained and tested on one data set (`problem`), trained on one and tested on
another (`across`), or on each word of a sentence (`slots`).
"""

from typing import Any

import numpy as np

from unirep.inference.codes import Codes, has
from unirep.runtime.errors import InputError
from unirep.tasks.probing import criteria, probe, scores, suite
from unirep.tasks.probing.probe import Task
from unirep.tasks.probing.suite import Problem, part

SLOT = "slot/"  # labels of words at one place of a sentence


def problem(train: Codes, validation: Codes, test: Codes) -> Problem:
  """Which class a clip has, from codes with the label "class" (N,).

  Samples whose class is unknown, below 0, are left out. Chance is the most
  frequent class of the test samples that have the modality.
  """
  train, validation, test = map(known, (train, validation, test))
  label_N = suite.label(test, "class")
  seen = [
    suite.label(codes, "class").max(initial=0)
    for codes in (train, validation, test)
  ]
  answers = {m: label_N[has(x)] for m, x in test.idx.items()}
  return Problem(
    task=task(int(max(seen)) + 1),
    label=lambda codes, modality: codes.labels["class"],
    train=train,
    validation=validation,
    test=test,
    chance={
      m: float(np.bincount(x).max(initial=0) / max(x.size, 1))
      for m, x in answers.items()
    },
  )


def known(codes: Codes) -> Codes:
  """The samples whose class somebody knows."""
  label_N = suite.label(codes, "class")
  if np.ndim(label_N) != 1:
    raise InputError(f"label/class must be (N,), got {np.shape(label_N)}")
  return codes if (label_N >= 0).all() else suite.part(codes, label_N >= 0)


def transfer(
  code_KxD: np.ndarray,
  train: Codes,
  test: Codes,
  *,
  seed: int,
  seeds: int,
  learning_rate: float,
  **options: Any,
) -> dict[str, dict[str, float]]:
  """Every ordered pair of modalities: train on the first, test on the second.

  Args:
    code_KxD: the codebook.
    train: codes with the label "class".
    test: held-out codes with that label.
    seed: of the probes.
    seeds: probes of each modality; scores are means over them.
    learning_rate: of Adam.
    **options: steps and batch_size of `probe.fit`.

  Returns:
    "source->target" -> `accuracy` on the target, `ceiling` (a probe trained and
    tested on the target itself) and `chance` (the most frequent class); of
    modalities that samples of a known class have.
  """
  train, test = known(train), known(test)
  names = [
    m for m in train.idx if has(train.idx[m]).any() and has(test.idx[m]).any()
  ]
  if not names:
    return {}
  # There is one evaluation, at the end, so the validation chooses nothing: it
  # holds the first sample of each modality.
  first = sorted({int(has(train.idx[m]).argmax()) for m in names})
  asked = problem(train, suite.part(train, first), test)
  options |= {"optimizer": probe.optimizer(learning_rate), "evaluations": 1}
  results = suite.measure(
    asked,
    code_KxD,
    np.ones((1, code_KxD.shape[1]), bool),
    seed=seed,
    seeds=seeds,
    sources=names,
    targets=names,
    protocol_name="heldout",
    options=options,
  )
  score = {pair: float(x["accuracy"].mean()) for pair, x in results.items()}
  return {
    f"{m}->{n}": {
      "accuracy": score[m, n],
      "ceiling": score[n, n],
      "chance": asked.chance[n],
    }
    for m, n in score
    if m != n
  }


def task(classes: int) -> Task:
  """The clip probe with cross-entropy, scored by accuracy."""
  return Task(
    head=probe.clip,
    loss=_loss,
    score=_score,
    primary="accuracy",
    outputs=classes,
  )


def _loss(params, logits_NxC, label_N):
  del params
  return criteria.cross_entropy(logits_NxC, label_N)


def _score(logits_NxC, label_N):
  by_class = scores.class_accuracy(logits_NxC, label_N)
  occurs_C = by_class.size > 0
  mean = (scores.value(by_class) * occurs_C).sum() / occurs_C.sum()
  return {
    "accuracy": scores.value(scores.accuracy(logits_NxC, label_N)),
    "class_accuracy": mean,
  }


def across(train: Codes, validation: Codes, test: Codes) -> dict[str, Problem]:
  """Trained on one data set, tested on another.

  One problem is on the nominal classes; where the two sets differ in classes,
  a second one is on those that both have.

  Args:
    train: of the first data set.
    validation: of the first data set.
    test: of the second one.
  """
  codes = [known(x) for x in (train, validation, test)]
  found = {"": _nominal(*codes)}
  first, second = ({*c.labels["class"].tolist()} for c in codes[::2])
  return found if first == second else found | {"_shared": shared(*codes)}


def _nominal(train: Codes, validation: Codes, test: Codes) -> Problem:
  return problem(train, validation, test)._replace(
    note="trained on one data set, tested on another"
  )


def shared(train: Codes, validation: Codes, test: Codes) -> Problem:
  """As `across`, on the classes that both data sets have, and no others.

  A class that one side lacks can't be learned, or is never asked for; the
  nominal number then says as much about the lists as about the codes.
  """
  both = np.intersect1d(train.labels["class"], test.labels["class"])
  parts = [_keep(codes, both) for codes in (train, validation, test)]
  return problem(*parts)._replace(
    note=f"trained on one data set, tested on another; {both.size} classes "
    "that both have"
  )


def _keep(codes: Codes, classes: np.ndarray) -> Codes:
  """The samples of `classes`, renumbered in their order."""
  codes = part(codes, np.isin(codes.labels["class"], classes))
  label_N = np.searchsorted(classes, codes.labels["class"]).astype(np.int32)
  return codes._replace(labels={**codes.labels, "class": label_N})


def slots(train: Codes, validation: Codes, test: Codes) -> dict[str, Problem]:
  """One problem for each of the labels "slot/<name>" (N,).

  Raises:
    InputError: if there is none.
  """
  names = [n for n in test.labels if n.startswith(SLOT)]
  if not names:
    raise InputError(f"the samples have no label {SLOT}NAME")
  codes = train, validation, test
  return {
    f"_{name.removeprefix(SLOT)}": problem(*(_as_class(x, name) for x in codes))
    for name in names
  }


def _as_class(codes, name):
  return codes._replace(labels={**codes.labels, "class": codes.labels[name]})
