"""Slots: what word fills each place of a sentence, or any such set of labels.

Dimensions: N samples.
"""

from unirep.codes import Codes
from unirep.errors import InputError
from unirep.tasks import classification
from unirep.tasks.probing.suite import Problem

PREFIX = "slot/"


def problems(
  train: Codes, validation: Codes, test: Codes
) -> dict[str, Problem]:
  """`classification.problem` on each of the labels "slot/<name>" (N,).

  Raises:
    InputError: if there is none.
  """
  names = [n for n in test.labels if n.startswith(PREFIX)]
  if not names:
    raise InputError(f"the samples have no label {PREFIX}NAME")
  codes = train, validation, test
  return {
    f"_{name.removeprefix(PREFIX)}": classification.problem(
      *(_as_class(x, name) for x in codes)
    )
    for name in names
  }


def _as_class(codes, name):
  return codes._replace(labels={**codes.labels, "class": codes.labels[name]})
