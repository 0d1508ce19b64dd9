"""The registry of downstream tasks on frozen codes."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from unirep.codes import Codes
from unirep.tasks import (
  classification,
  cross_classification,
  cross_localization,
  localization,
)
from unirep.tasks.probing.suite import Problem


def as_it_is(problem: Problem, batch: int) -> Problem:
  """The released protocol changes nothing about the problem."""
  del batch
  return problem


class Entry(NamedTuple):
  """A downstream task.

  Attributes:
    problems: (train, validation, test) -> by what is added to the task's name,
      "" first, what is asked.
    trained: the kind of data that probes are trained on, see `data.sources`.
    tested: the kind that they are tested on; another one than `trained` means
      another data set.
    released: (problem, samples a batch) -> the problem as the released
      protocol scores it.
  """

  problems: Callable[[Codes, Codes, Codes], Mapping[str, Problem]]
  trained: str = "clips"
  tested: str = "clips"
  released: Callable[[Problem, int], Problem] = as_it_is


def one(problem: Callable[..., Problem]) -> Callable:
  """Of a task that asks one thing."""
  return lambda *codes: {"": problem(*codes)}


TASKS: Mapping[str, Entry] = {
  "classification": Entry(one(classification.problem)),
  "localization": Entry(
    one(localization.problem),
    trained="events",
    tested="events",
    released=localization.with_background,
  ),
  "cross_classification": Entry(cross_classification.problems, tested="other"),
  "cross_localization": Entry(
    one(cross_localization.problem),
    tested="events",
    released=localization.with_background,
  ),
}
