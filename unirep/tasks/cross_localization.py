"""Localization across data sets: trained on clips of one event (AVE->AVVP)."""

from unirep.codes import Codes
from unirep.tasks import localization
from unirep.tasks.probing.suite import Problem


def problem(train: Codes, validation: Codes, test: Codes) -> Problem:
  """`localization.problem`, with a test set of another kind.

  Args:
    train: clips with one event; the class of each segment.
    validation: of the same data set.
    test: clips with several events, of the same classes in the same order.
  """
  return localization.problem(train, validation, test)._replace(
    note="trained on one data set, tested on another"
  )
