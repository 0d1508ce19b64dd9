"""The end of training by a signal.

Schedulers and clouds send SIGTERM some seconds before they end a process, a
user presses Ctrl-C (SIGINT) or closes the terminal (SIGHUP). The run saves its
state after the step that is under way and exits with 75 (EX_TEMPFAIL: try
again). The same command goes on from there. A second Ctrl-C ends it at once.
"""

import os
import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils

from unirep.runtime import errors, signals


class PreemptedError(Exception):
  """The run was asked to end, after saving its state if it could."""

  exit_code = errors.AGAIN

  def __init__(self, step: int, saved: bool = True, name: str = "SIGTERM"):
    state = f"saved after step {step}" if saved else "the state is NOT saved"
    where = "there" if saved else "the checkpoint before"
    super().__init__(
      f"asked to end ({name}); {state}, the same command goes on from {where}"
    )


class Notice:
  """Remembers signals within its context, for training to end after a step.

  A signal that comes after the last step is obeyed when the context ends. If
  one of several processes gets SIGTERM, the coordination service tells all of
  them at the same step.

  Attributes:
    name: of the signal that came.
  """

  def __init__(self):
    self.name = "SIGTERM"
    self._given = False
    self._before = {}

  def __enter__(self) -> "Notice":
    # Python sets handlers in its main thread alone. With several processes JAX
    # has a handler of its own for SIGTERM.
    main = threading.current_thread() is threading.main_thread()
    if main and jax.process_count() == 1:
      for number in signals.asked():
        self._before[number] = signal.signal(number, self._take)
    elif main and signal.SIGHUP in signals.asked():
      hangup = signal.signal(signal.SIGHUP, _as_termination)
      self._before[signal.SIGHUP] = hangup
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)
    if self._given and kind is None:
      signal.raise_signal(signal.Signals[self.name])

  def given(self, step: int) -> bool:
    """Whether to end after `step`; equal in all processes."""
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._given

  def _take(self, number: int, frame: FrameType | None) -> None:
    del frame
    self._given, self.name = True, signal.Signals(number).name
    if number == signal.SIGINT:
      # Python would take the next one only when the step is done.
      signal.signal(signal.SIGINT, signal.SIG_DFL)
      os.write(2, b"\nsaving after this step; Ctrl-C again ends at once\n")


def _as_termination(number: int, frame: FrameType | None) -> None:
  del number, frame
  os.kill(os.getpid(), signal.SIGTERM)
