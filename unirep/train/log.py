"""Where metrics go: a JSON line, TensorBoard and a progress bar."""

import json
import math
import pathlib
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeRemainingColumn,
)
from tensorboardX import SummaryWriter

METRICS = "metrics.jsonl"


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
  that the file reads as if the run had never stopped.
  """

  def __init__(
    self, directory: pathlib.Path, steps: int, start: int, console: Console
  ):
    self._path = directory / METRICS
    self._keep_until(start)
    self._file = self._path.open("a")
    self._board = SummaryWriter(
      str(directory / "tensorboard"), purge_step=start
    )
    self._console = console
    self._steps = steps
    self._progress = Progress(
      TextColumn("training"),
      BarColumn(),
      MofNCompleteColumn(),
      TextColumn("loss {task.fields[loss]:.3f}"),
      TextColumn("{task.fields[speed]:.2f} steps/s"),
      TimeRemainingColumn(),
      console=console,
      disable=not console.is_terminal,
    )
    self._task = self._progress.add_task(
      "training", total=steps, completed=start, loss=math.nan, speed=0.0
    )

  def __enter__(self) -> "Log":
    self._progress.start()
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    value: BaseException | None,
    trace: TracebackType | None,
  ) -> None:
    self._progress.stop()
    self._file.close()
    self._board.close()

  def show(self, step: int, loss: float, speed: float) -> None:
    """Moves the progress bar."""
    self._progress.update(self._task, completed=step, loss=loss, speed=speed)

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Keeps the metrics of one step."""
    self._file.write(json.dumps({"step": step, **metrics}) + "\n")
    self._file.flush()
    for name, value in metrics.items():
      self._board.add_scalar(name, value, step)
    if not self._console.is_terminal:
      self._console.print(
        f"step {step}/{self._steps} loss {metrics['loss']:.3f} "
        f"({metrics['steps_per_second']:.2f} steps/s)",
        soft_wrap=True,
      )

  def _keep_until(self, step: int) -> None:
    if not self._path.exists():
      return
    kept = [line for line in read(self._path) if line["step"] <= step]
    part = self._path.with_suffix(".part")
    part.write_text("".join(json.dumps(line) + "\n" for line in kept))
    part.replace(self._path)


def read(path: pathlib.Path) -> list[dict[str, float]]:
  """The logged steps; a last line that was cut short is left out."""
  lines = []
  for line in path.read_text().splitlines():
    try:
      lines.append(json.loads(line))
    except ValueError:
      break
  return lines
