"""The registry of downstream tasks on frozen codes."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from unirep.inference.codes import Codes
from unirep.tasks import classification, localization
from unirep.tasks.probing import suite
from unirep.tasks.probing.suite import Problem
from unirep.tasks.rows import Row, Setting


def unchanged(problem: Problem, batch_size: int) -> Problem:
  """The problem itself, for tasks that the released protocol scores alike."""
  del batch_size
  return problem


class Entry(NamedTuple):
  """A downstream task.

  Attributes:
    rows: (setting) -> rows of results.
    kinds: the kinds of data that it reads, see `data.sources`.
  """

  rows: Callable[[Setting], Iterable[Row]]
  kinds: tuple[str, ...]


def probing(
  problems: Callable[[Codes, Codes, Codes], Mapping[str, Problem]],
  *,
  trained: str = "clips",
  tested: str = "clips",
  released: Callable[[Problem, int], Problem] = unchanged,
) -> Entry:
  """A task of probes; arguments as in `suite.rows`."""
  rows = functools.partial(
    suite.rows,
    problems=problems,
    trained=trained,
    tested=tested,
    released=released,
  )
  return Entry(rows, (trained, tested))


def one(problem: Callable[..., Problem], **options: Any) -> Entry:
  """A task of probes with a single problem, see `probing` for the options."""
  return probing(lambda *codes: {"": problem(*codes)}, **options)


TASKS: Mapping[str, Entry] = {
  "classification": one(classification.problem),
  "slots": probing(classification.slots),
  "localization": one(
    localization.problem,
    trained="events",
    tested="events",
    released=localization.with_background,
  ),
  "cross_classification": probing(classification.across, tested="other"),
  "cross_localization": one(
    localization.across,
    tested="events",
    released=localization.with_background,
  ),
}
