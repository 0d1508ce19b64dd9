"""The table of a sweep: overrides, state and results of each run."""

import pathlib
import time
from collections.abc import Sequence, Set

from rich.console import Console
from rich.table import Table

from unirep.launch import pool, variants
from unirep.launch.grid import Run
from unirep.runtime import atomic, errors
from unirep.runtime.errors import say

TABLE, VARIANTS = "table.md", "variants"  # .md, .csv, .png, .pdf
WHOLE = ("codes", "keep", "seconds")  # numbers without decimals
WIDTH_OF_FILES = 200  # in characters, if the output is no terminal


def show(
  runs: Sequence[Run], root: pathlib.Path, only: Sequence[Run] | None = None
) -> int:
  """Prints the runs and, if there are several, their variants.

  Writes them to `table.md`, `variants.md` and `variants.csv`, and draws
  `variants.png` and `variants.pdf`.

  Args:
    runs: all of the sweep.
    root: its work directory.
    only: the runs that decide the return value; all by default.

  Returns:
    0 if all are finished, else 1.
  """
  while (lock := pool.hold(root)) is None:  # another launcher writes
    time.sleep(0.1)
  with lock:  # so that older results never replace newer ones
    header, *lines = cells(runs)
    scores = variants.compare(runs) if len(runs) > 1 else []
    titles, *rows = variants.cells(runs, scores)
    try:
      with atomic.whole(root / TABLE) as part:
        part.write_text(markdown(header, lines))
      if scores:
        with atomic.whole(root / f"{VARIANTS}.md") as part:
          part.write_text(markdown(titles, rows))
        variants.write(root / f"{VARIANTS}.csv", scores)
        from unirep.launch import picture  # loads Matplotlib and JAX

        picture.draw(root / f"{VARIANTS}.png", runs, scores)
    except OSError as error:
      say(f"not all tables in {root}: {error.strerror}", "launch")
  console = Console(highlight=False, markup=False)
  if not console.is_terminal:
    console = Console(highlight=False, markup=False, width=WIDTH_OF_FILES)
  console.print(
    narrow(header, lines, {k for run in runs for k in run.overrides})
  )
  if scores:
    console.print(compared(titles, rows))
  return 0 if all(run.finished() for run in only or runs) else 1


def narrow(
  header: Sequence[str], lines: Sequence[Sequence[str]], overrides: Set[str]
) -> Table:
  """A table for a terminal; values that all runs share stand below, once."""
  columns = dict(zip(header, zip(*lines, strict=True), strict=True))
  table, common = Table(), []
  kept = []
  for title, values in columns.items():
    if title in overrides and len(lines) > 1 and len({*values}) == 1:
      common.append(f"{title}={values[0]}")
    else:
      table.add_column(title, overflow="fold")
      kept.append(values)
  for row in zip(*kept, strict=True):
    table.add_row(*row)
  table.caption = f"all with {', '.join(common)}" if common else None
  return table


def compared(header: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
  """A table of variants for a terminal."""
  caption = "mean ± sd over seeds"
  if len(lines) > 1:
    caption += f"; below, the difference from {lines[0][0]}, seed by seed"
  table = Table(caption=caption, show_lines=True)
  for title in header:
    table.add_column(title, overflow="fold")
  for row in lines:
    table.add_row(*row)
  return table


def cells(runs: Sequence[Run]) -> list[list[str]]:
  """A header and a row per run; every column has a value in some run."""
  rows = [
    {k: str(v) for k, v in run.overrides.items()}
    | {"state": state(run)}
    | numbers(run)
    for run in runs
  ]
  keys = [*dict.fromkeys(k for run in runs for k in run.overrides), "state"]
  keys = list(dict.fromkeys([*keys, *(k for row in rows for k in row)]))
  return [keys, *([row.get(key, "") for key in keys] for row in rows)]


def state(run: Run) -> str:
  """The state of a run: finished, running, "to go on", failed, or "-"."""
  if run.finished():
    return "finished"
  if not run.workdir.exists():
    return "-"
  lock = pool.hold(run.workdir)
  if lock is None:
    return "running"
  lock.close()
  try:
    code = int((run.workdir / pool.CODE).read_text())
  except (OSError, ValueError):  # missing, or cut off
    code = errors.AGAIN
  return "to go on" if code == errors.AGAIN else pool.cause(code)


def numbers(run: Run) -> dict[str, str]:
  """The leading numbers of a finished run."""
  results = variants.read(run)
  out = {
    name: f"{value:.{0 if name in WHOLE else 1}f}"
    for name, value in variants.measures(results).items()
  }
  if "codes" in out:
    out["codes"] += f" of {results['codebook']['size']}"
  return out


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  """A table as Markdown."""
  rows = [header, ["---"] * len(header), *lines]
  rows = [
    [cell.replace("|", "\\|").replace("\n", "; ") for cell in row]
    for row in rows
  ]
  return "".join(f"| {' | '.join(row)} |\n" for row in rows)
