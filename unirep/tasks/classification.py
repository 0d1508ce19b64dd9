"""Event classification: the class of a clip, as in AVE.

Trained and tested on one data set (`problem`), trained on one and tested on
another (`across`), or for each word of a sentence (`slots`).

Dimensions: N samples, K codes, D code width, C classes.
"""

from typing import Any

import numpy as np

from unirep.inference.codes import Codes, has
from unirep.runtime.errors import InputError
from unirep.tasks.probing import criteria, probe, scores, suite
from unirep.tasks.probing.probe import Task
from unirep.tasks.probing.suite import Problem, part

SLOT = "slot/"  # prefix of labels of the word at one place of a sentence


def problem(train: Codes, validation: Codes, test: Codes) -> Problem:
  """The class of a clip, from codes with the label "class" (N,).

  Samples of unknown class, below 0, are left out. Chance is the share of the
  most frequent class among the test samples that have the modality.

  Raises:
    InputError: if there is no such label, or it is not (N,).
  """
  train, validation, test = map(of_known_class, (train, validation, test))
  label_N = suite.label(test, "class")
  highest = max(
    suite.label(codes, "class").max(initial=0)
    for codes in (train, validation, test)
  )
  by_modality = {m: label_N[has(x)] for m, x in test.idx.items()}
  return Problem(
    task=task(int(highest) + 1),
    label=lambda codes, modality: codes.labels["class"],
    train=train,
    validation=validation,
    test=test,
    chance={
      m: float(np.bincount(x).max(initial=0) / max(x.size, 1))
      for m, x in by_modality.items()
    },
  )


def of_known_class(codes: Codes) -> Codes:
  """The samples whose label "class" (N,) is 0 or more.

  Raises:
    InputError: if there is no such label, or it is not (N,).
  """
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
  """Probes for every ordered pair of modalities, source and target.

  Args:
    code_KxD: the codebook.
    train: samples with the label "class".
    test: held-out samples with that label.
    seed: seed of the probes.
    seeds: number of probes of each source; scores are means over them.
    learning_rate: of Adam.
    **options: steps and batch_size of `probe.fit`.

  Returns:
    "source->target" -> `accuracy` on the target, `ceiling` (trained and tested
    on the target itself) and `chance` (the most frequent class). Modalities
    without a sample of a known class are left out.
  """
  train, test = of_known_class(train), of_known_class(test)
  names = [
    m for m in train.idx if has(train.idx[m]).any() and has(test.idx[m]).any()
  ]
  if not names:
    return {}
  # With a single evaluation, validation samples choose nothing: the first
  # sample of each modality will do.
  first = sorted({int(has(train.idx[m]).argmax()) for m in names})
  clips = problem(train, suite.part(train, first), test)
  options |= {"optimizer": probe.optimizer(learning_rate), "evaluations": 1}
  results = suite.measure(
    clips,
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
      "chance": clips.chance[n],
    }
    for m, n in score
    if m != n
  }


def task(classes: int) -> Task:
  """The clip probe, trained by cross-entropy, scored by accuracy.

  The score `class_accuracy` is the mean over classes of their accuracies.

  Args:
    classes: C.
  """
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
  """Problems of probes trained on one data set and tested on another.

  The problem "" has all classes. If the two data sets differ in classes, the
  problem "_shared" has those of both.

  Args:
    train: samples of the first data set.
    validation: samples of the first data set.
    test: samples of the second data set.
  """
  codes = [of_known_class(x) for x in (train, validation, test)]
  problems = {
    "": problem(*codes)._replace(
      note="trained on one data set, tested on another"
    )
  }
  first, second = ({*c.labels["class"].tolist()} for c in codes[::2])
  if first != second:
    problems["_shared"] = shared(*codes)
  return problems


def shared(train: Codes, validation: Codes, test: Codes) -> Problem:
  """The problem of `across` on the classes that both data sets have.

  A class without training samples can't be learned, and one without test
  samples only competes: the score on all classes depends on the two lists of
  classes as much as on the codes.
  """
  both = np.intersect1d(train.labels["class"], test.labels["class"])
  parts = [_keep(codes, both) for codes in (train, validation, test)]
  return problem(*parts)._replace(
    note=f"trained on one data set, tested on another; {both.size} classes "
    "that both have"
  )


def _keep(codes: Codes, classes: np.ndarray) -> Codes:
  """The samples of some classes, numbered anew from 0 in their order."""
  codes = part(codes, np.isin(codes.labels["class"], classes))
  label_N = np.searchsorted(classes, codes.labels["class"]).astype(np.int32)
  return codes._replace(labels={**codes.labels, "class": label_N})


def slots(train: Codes, validation: Codes, test: Codes) -> dict[str, Problem]:
  """A problem for each label "slot/<name>" (N,), the word at that place.

  Raises:
    InputError: if there is no such label.
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
