"""Classification across data sets: trained on one, tested on another.

Like UCF-101 and VGGSound. Dimensions: N samples, C classes.
"""

import numpy as np

from unirep.codes import Codes
from unirep.tasks import classification
from unirep.tasks.probing.suite import Problem, part


def problems(
  train: Codes, validation: Codes, test: Codes
) -> dict[str, Problem]:
  """On the nominal classes and, where these differ, on those of both.

  Args:
    train: of the first data set.
    validation: of the first data set.
    test: of the second one.
  """
  codes = [classification.known(x) for x in (train, validation, test)]
  found = {"": problem(*codes)}
  first, second = ({*c.labels["class"].tolist()} for c in codes[::2])
  return found if first == second else found | {"_shared": shared(*codes)}


def problem(train: Codes, validation: Codes, test: Codes) -> Problem:
  """`classification.problem` on the nominal classes.

  Args:
    train: of the first data set.
    validation: of the first data set.
    test: of the second one.
  """
  return classification.problem(train, validation, test)._replace(
    note="trained on one data set, tested on another"
  )


def shared(train: Codes, validation: Codes, test: Codes) -> Problem:
  """The same on the classes that both data sets have, and no others.

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
