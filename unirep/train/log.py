"""The log of a run: JSON lines, TensorBoard and a progress bar."""

import json
import pathlib
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from absl import logging
from rich.console import Console
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeElapsedColumn,
  TimeRemainingColumn,
)

from unirep.files import guard
from unirep.parallel import trees
from unirep.runtime import atomic

METRICS = "metrics.jsonl"
BOARD = "tensorboard"


class Silent:
  """The log of a process that leaves logging to another one."""

  def __enter__(self) -> "Silent":
    return self

  def __exit__(self, *_: object) -> None:
    pass

  def show(self, step: int, loss: float, speed: float) -> None:
    """Shows nothing."""

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Writes nothing."""


class Log:
  """Writes metrics to `directory`, and shows the progress of the run.

  A context manager. When a run resumes at step n, lines of later steps are
  dropped, so that the file reads as if the run had never stopped. A full disk
  stops no run: lines wait until there is room, TensorBoard's curves end.
  """

  def __init__(
    self,
    directory: pathlib.Path,
    steps: int,
    start: int,
    console: Console,
    settings: Mapping[str, Any] | None = None,
    tracker: Any = None,
  ):
    """Starts the log of a run.

    Args:
      directory: the work directory.
      steps: number of the last step.
      start: steps that are already done.
      console: where the progress bar is shown.
      settings: hyperparameters.
      tracker: from `train.tracking.run`.
    """
    from unirep.train.board import Board  # imports PyTorch if it is installed

    self._lines = _Lines(directory / METRICS, start)
    self._board = Board(directory / BOARD, start, leaves(settings or {}))
    self._tracker = tracker
    self._console = console
    self._steps = steps
    self._progress = Progress(
      TextColumn("{task.description}"),
      BarColumn(),
      MofNCompleteColumn(),
      TextColumn("{task.fields[status]}"),
      TimeElapsedColumn(),
      TextColumn("left"),
      TimeRemainingColumn(),
      console=console,
      disable=not console.is_terminal,
    )
    # Nothing is computed until the step is compiled.
    self._task = self._progress.add_task(
      "compiling", total=steps, completed=start, status=""
    )
    self._began: float | None = None

  def __enter__(self) -> "Log":
    self._began = time.perf_counter()
    self._progress.start()
    if not self._console.is_terminal:
      self._console.print("compiling the step ...")
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    value: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    self._progress.stop()
    self._lines.close()
    self._board.close()

  def show(self, step: int, loss: float, speed: float) -> None:
    """Moves the progress bar."""
    if self._began is not None and not self._console.is_terminal:
      seconds = time.perf_counter() - self._began
      self._console.print(f"compiled after {seconds:.0f} s")
    self._began = None
    status = f"loss {loss:.3f}" + (f", {speed:.2f} steps/s" if speed else "")
    self._progress.update(
      self._task, completed=step, status=status, description="training"
    )

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Writes the metrics of one step."""
    self._lines.add({"step": step, **metrics})
    self._board.add(step, metrics)
    if self._tracker is not None:
      self._tracker.log(dict(metrics), step=step)
    if not self._console.is_terminal:
      self._console.print(
        f"step {step}/{self._steps} loss {metrics['loss']:.3f} "
        f"({metrics['steps_per_second']:.2f} steps/s)",
        soft_wrap=True,
      )


class _Lines:
  """A file of JSON lines that loses none when the disk is full for a while.

  Bytes that don't fit wait in memory. They are appended where the file ends,
  even in the middle of a line, so that a reader finds a prefix of all lines.
  """

  def __init__(self, path: pathlib.Path, start: int):
    self._path = path
    if path.exists():
      kept = [line for line in read(path) if line["step"] <= start]
      with atomic.whole(path) as part:
        part.write_text("".join(json.dumps(line) + "\n" for line in kept))
    self._file = path.open("ab", buffering=0)
    self._waiting = b""
    self._warned = False

  def add(self, line: Mapping[str, float]) -> None:
    self._waiting += json.dumps(line).encode() + b"\n"
    try:
      while self._waiting:
        written = self._file.write(self._waiting)
        self._waiting = self._waiting[written:]
    except OSError as error:
      if not self._warned:
        logging.warning(
          "%s: %s; its lines wait for room", self._path, error.strerror
        )
      self._warned = True

  def close(self) -> None:
    self._file.close()
    if self._waiting:
      lost = self._waiting.count(b"\n")
      logging.warning("%s: its last %d lines found no room", self._path, lost)


def leaves(tree: Any) -> dict[str, Any]:
  """Nested settings for a dashboard: dotted name -> number or text."""
  flat = trees.named(tree, ".", is_leaf=lambda x: isinstance(x, list))
  return {k: str(x) if isinstance(x, list) else x for k, x in flat.items()}


def read(path: pathlib.Path) -> list[dict[str, float]]:
  """Reads the logged steps, up to the first line that is cut or broken."""
  lines = []
  for line in guard.read_bytes(path).splitlines():
    try:
      metrics = json.loads(line)
    except (ValueError, RecursionError):
      break
    if not (isinstance(metrics, dict) and isinstance(metrics.get("step"), int)):
      break
    lines.append(metrics)
  return lines
