"""Signals that end the program.

SIGTERM, Ctrl-C (SIGINT) and a closed terminal (SIGHUP) end it with one line and
exit code 75. Files that are being written then are whole or not there, see
`atomic`. Training sets its own handlers, see `preemption`.
"""

import atexit
import contextlib
import multiprocessing
import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType
from typing import NoReturn

from unirep.runtime import errors
from unirep.runtime.errors import one_line

PATIENCE = 1.0  # seconds to wait for a reader of the last line
LEAKS = "ignore::UserWarning:multiprocessing.resource_tracker"
INTERRUPTED = 128 + signal.SIGINT  # exit code of a second Ctrl-C


def asked() -> tuple[signal.Signals, ...]:
  """Signals that ask to end; without SIGHUP where nohup has it ignored."""
  ends = (signal.SIGTERM, signal.SIGINT)
  kept = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
  return ends if kept else (*ends, signal.SIGHUP)


@contextlib.contextmanager
def deaf() -> Iterator[None]:
  """Processes started within ignore Ctrl-C and a closed terminal.

  A terminal sends these to all processes of a program. The one that started
  the others hears them and ends the others.
  """
  if LEAKS not in sys.warnoptions:
    sys.warnoptions.append(LEAKS)  # Python hands its options to children
  ours = {signal.SIGINT, signal.SIGHUP}
  before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
  try:
    # The tracker unblocks SIGINT as it starts, so it must start before them.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Listener:
  """A thread that ends the program as soon as a signal comes.

  It is needed because Python runs handlers in the main thread alone, and only
  between two of its own instructions: a compile would keep SIGTERM waiting for
  a minute, and schedulers kill after half of one.

  Attributes:
    code: exit code of the program once it is known; a signal that comes later
      doesn't change it.
  """

  def __init__(self):
    self.code: int | None = None
    self._presses = 0

  def start(self) -> None:
    """Must be called in the main thread, before anything else sets handlers."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in asked():
      signal.signal(number, _ours)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=_reset)  # a fork has no such thread
    # Called last. Python would reset handlers, but not SIG_IGN, before it ends.
    atexit.register(_set_all, signal.SIG_IGN)
    threading.Thread(target=self._listen, args=(reader,), daemon=True).start()

  def _listen(self, reader: int) -> None:
    while True:
      for number in os.read(reader, 64):
        self._hear(number)

  def _hear(self, number: int) -> None:
    if signal.getsignal(number) == _ours:
      if self.code is not None:
        leave("", self.code)
      name = signal.Signals(number).name
      leave(f"asked to end ({name}); the same command goes on", errors.AGAIN)
    elif number == signal.SIGINT:
      # Training hears of the first one when the step that is under way is done.
      self._presses += 1
      if self._presses > 1:
        leave("interrupted; the same command goes on", INTERRUPTED)


def leave(text: object, code: int) -> NoReturn:
  """Ends the process at once, from any thread, with a line if there is a text.

  Python's own end would wait for threads, and join child processes.
  """
  if os.isatty(1):
    _write(1, "\x1b[?25h\n")  # a progress bar hides the cursor
  if text:
    _write(2, f"unirep: {one_line(text)}\n")
  with contextlib.suppress(Exception):
    for child in multiprocessing.active_children():
      child.kill()
  os._exit(code)


def _write(stream: int, text: str) -> None:
  with contextlib.suppress(OSError):  # it is closed
    if select.select([], [stream], [], PATIENCE)[1]:  # its reader may hang
      os.write(stream, text.encode())


def _ours(number: int, frame: FrameType | None) -> None:
  """The handler of all signals does nothing: the thread hears them as well."""


def _set_all(handler: signal.Handlers) -> None:
  for number in asked():
    signal.signal(number, handler)


def _reset() -> None:
  with contextlib.suppress(ValueError):  # forked by another thread
    signal.set_wakeup_fd(-1)
    _set_all(signal.SIG_DFL)
