"""Curves of a run in TensorBoard."""

import pathlib
import time
from collections.abc import Mapping
from typing import Any

from absl import logging
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

EVENTS: Any = event_pb2  # its names exist only when it runs


class Board:
  """TensorBoard's curves. A full disk ends them, with a warning.

  tensorboardX's own writer has a thread, which would die or block there.
  """

  def __init__(
    self, directory: pathlib.Path, start: int, settings: Mapping[str, Any]
  ):
    """Writes to `directory`; `settings` are hyperparameters by dotted names."""
    self._directory = directory
    self._writer = None
    try:
      directory.mkdir(exist_ok=True)
      self._writer = EventsWriter(str(directory / "events"))
      begin = EVENTS.SessionLog(status=EVENTS.SessionLog.START)
      self._writer.write_event(  # TensorBoard hides points of later steps
        EVENTS.Event(step=start + 1, session_log=begin)
      )
      if settings:
        for part in summary.hparams(settings, {"loss": 0.0}):
          self._writer.write_event(EVENTS.Event(summary=part))
      self._writer.flush()
    except OSError as error:
      self._end(error)

  def add(self, step: int, metrics: Mapping[str, float]) -> None:
    """Adds a point to each curve."""
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
    """Must be called at the end."""
    if self._writer is not None:
      self._writer.close()

  def _end(self, error: OSError) -> None:
    logging.warning(
      "%s: %s; its curves end here, the run goes on",
      self._directory,
      error.strerror,
    )
    self._writer = None
