"""The log of a run: JSON lines, TensorBoard and a progress bar."""

import json
import pathlib
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import jax
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
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from unirep import files

EVENTS: Any = event_pb2  # whose names exist only when it runs
METRICS = "metrics.jsonl"
BOARD = "tensorboard"


class Silent:
  """The log of a process that keeps none, because another one does."""

  def __enter__(self) -> "Silent":
    return self

  def __exit__(self, *_: object) -> None:
    pass

  def show(self, step: int, loss: float, speed: float) -> None:
    """Shows nothing."""

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Keeps nothing."""


class Log:
  """Writes metrics of some steps to `directory` and shows where the run is.

  A context manager. On resuming at step n, lines of later steps are dropped, so
  that the file reads as if the run had never stopped. A full disk stops no run:
  lines wait until there is room, TensorBoard's curves end.
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
    """`settings` are hyperparameters, `tracker` a run of `jobs.tracking`."""
    self._lines = _Lines(directory / METRICS, start)
    self._board = _Board(directory / BOARD, start, settings or {})
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
    """Keeps the metrics of one step."""
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

  What doesn't fit waits in memory and goes on where the file ends, be that in
  the middle of a line. Whoever reads finds a beginning of the truth.
  """

  def __init__(self, path: pathlib.Path, start: int):
    self._path = path
    if path.exists():
      kept = [line for line in read(path) if line["step"] <= start]
      with files.whole(path) as part:
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


class _Board:
  """TensorBoard's curves, written at once: no thread that can die or block."""

  def __init__(
    self, directory: pathlib.Path, start: int, settings: Mapping[str, Any]
  ):
    self._directory = directory
    self._writer = None
    try:
      directory.mkdir(exist_ok=True)
      self._writer = EventsWriter(str(directory / "events"))
      begin = EVENTS.SessionLog(status=EVENTS.SessionLog.START)
      self._writer.write_event(  # hides what was written of later steps
        EVENTS.Event(step=start + 1, session_log=begin)
      )
      if settings:
        for part in summary.hparams(leaves(settings), {"loss": 0.0}):
          self._writer.write_event(EVENTS.Event(summary=part))
      self._writer.flush()
    except OSError as error:
      self._end(error)

  def add(self, step: int, metrics: Mapping[str, float]) -> None:
    if self._writer is None:
      return
    try:
      for name, value in metrics.items():
        curve = summary.scalar(name, value)
        self._writer.write_event(
          EVENTS.Event(wall_time=time.time(), step=step, summary=curve)
        )
      self._writer.flush()
    except OSError as error:
      self._end(error)

  def close(self) -> None:
    if self._writer is not None:
      self._writer.close()

  def _end(self, error: OSError) -> None:
    logging.warning(
      "%s: %s; its curves end here, %s goes on",
      self._directory,
      error.strerror,
      METRICS,
    )
    self._writer = None


def leaves(tree: Any) -> dict[str, Any]:
  """As dashboards take what is nested: dotted name -> number or text."""
  flat = jax.tree_util.tree_leaves_with_path(
    tree, is_leaf=lambda x: isinstance(x, list)
  )
  return {
    jax.tree_util.keystr(keys, simple=True, separator="."): (
      str(value) if isinstance(value, list) else value
    )
    for keys, value in flat
  }


def read(path: pathlib.Path) -> list[dict[str, float]]:
  """The logged steps; a last line that was cut short is left out."""
  lines = []
  for line in path.read_text().splitlines():
    try:
      lines.append(json.loads(line))
    except ValueError:
      break
  return lines
