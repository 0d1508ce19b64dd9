"""The jobs of the command line as Python functions.

    run = unirep.pretrain(unirep.config("pretrain:data=digits"), "runs/digits")
    rows = unirep.evaluate("evaluate:data=digits", checkpoint=run.workdir).rows

A configuration is a `ConfigDict`, or the name of one as --config takes it, and
keywords change its keys: `steps=100, **{"optimizer.learning_rate": 1e-3}`.
"""

import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict
from rich.console import Console
from rich.control import Control

from unirep.cli import compile_cache, settings
from unirep.configuration.build import Config
from unirep.jobs import dispatch
from unirep.runtime.errors import InputError


class Results:
  """The results of a job.

  Attributes:
    workdir: where its files are.
    values: all results, as its .json file has them.
    rows: its table, a dict a row; empty for a job without one.
  """

  def __init__(self, workdir: pathlib.Path, values: Mapping[str, Any]):
    self.workdir, self.values = workdir, values
    self.rows: list[dict[str, Any]] = list(values.get("rows", ()))

  def __getitem__(self, name: str) -> Any:
    return self.values[name]

  def where(self, **cells: Any) -> list[dict[str, Any]]:
    """The rows with these cells: `where(source="audio", metric="r@1")`."""
    return [
      row for row in self.rows if all(row[k] == v for k, v in cells.items())
    ]

  def __repr__(self) -> str:
    count = f"{len(self.rows)} rows" if self.rows else ", ".join(self.values)
    return f"<Results in {self.workdir}: {count}>"

  def _repr_markdown_(self) -> str:
    """How a notebook shows it."""
    table = self.workdir / "results.md"
    return table.read_text() if table.is_file() else repr(self)


def run(
  job: str,
  config: Config | str,
  workdir: str | pathlib.Path = "",
  /,
  *,
  verbose: bool = False,
  **changes: Any,
) -> Results:
  """Runs a job, as the command line does.

  Args:
    job: its name, such as "pretrain"; see `jobs.dispatch.JOBS`.
    config: a configuration of that job, or the name of one as --config takes
      it.
    workdir: made if needed; a pretraining run that it holds is resumed. By
      default a place by the configuration, as on the command line.
    verbose: whether to print as the command line does; progress is shown
      anyway, in terminals and notebooks.
    **changes: keys of the configuration and their values.

  Raises:
    InputError: for anything that the user can mend.
  """
  if isinstance(config, ConfigDict):
    own: Any = config.copy_and_resolve_references()
    bound = settings.changed(ConfigDict(own), changes)
  else:
    bound = settings.config(config, **changes)
  name = bound.get("job")
  if name != job:
    raise InputError(f"the configuration is of job={name}, not {job}")
  place = pathlib.Path(workdir or settings.default_workdir(bound.to_json()))
  compile_cache.open_default()
  console = Console(highlight=False) if verbose else _Bars()
  return Results(place, dispatch.run(bound, place, console))


def _function(job: str, summary: str) -> Callable[..., Results]:
  """`run` with its first argument bound."""

  def function(
    config: Config | str = job,
    workdir: str | pathlib.Path = "",
    /,
    *,
    verbose: bool = False,
    **changes: Any,
  ) -> Results:
    return run(job, config, workdir, verbose=verbose, **changes)

  function.__name__ = function.__qualname__ = job
  function.__doc__ = f"{summary}. Arguments are those of `unirep.api.run`."
  return function


pretrain = _function("pretrain", "Trains, or goes on training, and evaluates")
evaluate = _function("evaluate", "Measures downstream tasks on frozen codes")
retrieve = _function("retrieve", "Measures retrieval across modalities")
generate = _function("generate", "Makes modalities from codes of the others")


class _Bars(Console):
  """Shows bars of progress where somebody looks, and nothing else."""

  def __init__(self):
    shown = sys.stderr.isatty() or _in_notebook()
    super().__init__(
      file=sys.stderr,
      highlight=False,
      quiet=not shown,
      force_terminal=shown,
      force_jupyter=False,
      width=100 if _in_notebook() else None,
    )

  def print(self, *objects: Any, **keywords: Any) -> None:
    if objects and isinstance(objects[0], Control):
      super().print(*objects, **keywords)


def _in_notebook() -> bool:
  # A notebook has loaded it.
  python: Any = sys.modules.get("IPython")
  shell = python.get_ipython() if python else None
  return type(shell).__name__ in ("ZMQInteractiveShell", "Shell")
