"""Results of jobs: means over checkpoints, and the files that hold them."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from unirep.runtime import atomic
from unirep.runtime.errors import InputError
from unirep.tasks.probing import protocol

SPLITS = ("train", "validation", "test")


def checkpoints(first: str, others: Sequence[str]) -> list[str]:
  """The checkpoints that are named, each once.

  Raises:
    InputError: if none is.
  """
  paths = [path for path in dict.fromkeys([first, *others]) if path]
  if not paths:
    raise InputError("checkpoint is empty; name the work directory of a run")
  return paths


def means(rows: Sequence[dict[str, Any]], seeds: int) -> list[dict[str, Any]]:
  """The mean of each row over checkpoints, where there are several.

  Args:
    rows: of all checkpoints; the values of a row that all have become one.
    seeds: how many checkpoints there are.

  Returns:
    Rows whose `checkpoint` is None, with intervals over checkpoints; none for
    a single one.
  """
  if seeds < 2:
    return []
  keys = ("source", "target", "representation", "keep", "metric")
  groups: dict[tuple, list] = {}
  for row in rows:
    groups.setdefault(tuple(row[key] for key in keys), []).append(row)
  means = []
  for group in groups.values():
    numbers = protocol.estimate([row["value"] for row in group])._asdict()
    numbers["value"] = numbers.pop("mean")
    ceilings = [row["ceiling"] for row in group]
    if None not in ceilings:
      numbers["ceiling"] = float(np.mean(ceilings))
    means.append({**group[0], **numbers, "checkpoint": None})
  return means


def write(
  results: dict[str, Any],
  text: str,
  workdir: pathlib.Path,
  console: Console,
  more: str = "",
) -> None:
  """Writes `results.json` and `results.md`, and prints the latter.

  Args:
    results: of the job.
    text: its tables, as Markdown.
    workdir: where to write.
    console: where to print.
    more: other files that were written, for the last line.
  """
  atomic.write_json(workdir / "results.json", results)
  with atomic.whole(workdir / "results.md") as part:
    part.write_text(text)
  console.print(text, soft_wrap=True, markup=False)
  console.print(f"results.json and .md{more} are in {workdir}", soft_wrap=True)
