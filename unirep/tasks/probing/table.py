"""Rows of a task that probes answer.

Dimensions: M masks, R seeds.
"""

from collections.abc import Callable, Iterator, Mapping

from unirep.inference.codes import Codes
from unirep.tasks.probing import protocol, suite
from unirep.tasks.probing.suite import Problem
from unirep.tasks.rows import Row, Setting


def rows(
  setting: Setting,
  *,
  problems: Callable[[Codes, Codes, Codes], Mapping[str, Problem]],
  trained: str,
  tested: str,
  released: Callable[[Problem, int], Problem],
) -> Iterator[Row]:
  """Every problem, direction, score and TOC mask.

  Args:
    setting: see `Setting`.
    problems: (train, validation, test) -> by what is added to the task's title,
      "" first, what is asked.
    trained: the kind of data that probes are trained on.
    tested: the kind that they are tested on.
    released: (problem, samples a batch) -> the problem as the released
      protocol scores it.

  Raises:
    InputError: see `suite.measure`.
  """
  # As released: tested on what was trained on, unless the data differ.
  as_released = setting.protocol == "released"
  seen = as_released and trained == tested
  codes = (
    setting.codes(trained, "train"),
    setting.codes(trained, "validation"),
    setting.codes(tested, "seen" if seen else "test"),
  )
  for suffix, problem in problems(*codes).items():
    if seen:
      problem = problem._replace(note="tested on the training sequences")
    if as_released:
      problem = released(problem, setting.options["batch_size"])
    yield from _of_problem(setting, setting.title + suffix, problem)


def _of_problem(setting, title, problem):
  sources, targets = (
    # Where none has an answer all are asked, and one says what it lacks.
    [m for m in asked if m in problem.chance] or asked
    for asked in (setting.sources, setting.targets)
  )
  scores = suite.measure(
    problem,
    setting.code_KxD,
    setting.masks(problem.train),
    seed=setting.seed,
    seeds=setting.seeds,
    sources=sources,
    targets=targets,
    protocol_name=setting.protocol,
    options=setting.options,
  )
  primary = problem.task.primary
  for (source, target), named in scores.items():
    for name, value_MxR in named.items():
      leads = name == primary
      own = scores.get((target, target))
      for i, keep in enumerate(setting.keep_M):
        found = protocol.estimate(value_MxR[i])
        yield Row(
          *(title, source, target, "vector", name, leads, keep),
          *(found.mean, found.std, found.low, found.high, found.seeds),
          chance=problem.chance[target] if leads else None,
          baseline=problem.baseline.get(target) if leads else None,
          ceiling=None if own is None else protocol.estimate(own[name][i]).mean,
          difference=_difference(value_MxR[i], value_MxR[-1]),
          note=problem.note,
        )


def _difference(value_R, off_R):
  difference = protocol.paired(value_R, off_R)
  return {**difference._asdict(), "verdict": protocol.verdict(difference)}
