"""Signals that ask the program to end, heard from its first line on.

A thread hears of them at once, also while the main one imports or compiles, and
ends the process. Whatever is being written then is whole or not there: the
files of this package take their places in one step. Training has its own way
(`parallel.preemption`): where another handler is set, the thread stands back.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType

from unirep.runtime import errors
from unirep.runtime.errors import one_line

PATIENCE = 1.0  # seconds for what is still to be printed
LEAKS = "ignore::UserWarning:multiprocessing.resource_tracker"
INTERRUPTED = 128 + signal.SIGINT  # exit code of a second Ctrl-C


def asked() -> tuple[signal.Signals, ...]:
  """The signals; not SIGHUP where it is ignored, as under nohup."""
  ends = (signal.SIGTERM, signal.SIGINT)
  kept = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
  return ends if kept else (*ends, signal.SIGHUP)


@contextlib.contextmanager
def deaf() -> Iterator[None]:
  """Processes that begin within don't hear what a terminal says to all.

  Whoever began them does, and ends them; what they leave is cleaned up without
  a word.
  """
  if LEAKS not in sys.warnoptions:
    sys.warnoptions.append(LEAKS)  # as Python tells its children
  ours = {signal.SIGINT, signal.SIGHUP}
  before = signal.pthread_sigmask(signal.SIG_BLOCK, ours)
  try:
    resource_tracker.ensure_running()  # it lets some in again, and only once
    signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Door:
  """What ends a program that is asked to, with a line and an exit code.

  Attributes:
    code: of the program, once it is known and only its end is to come.
  """

  def __init__(self):
    self.code: int | None = None
    self._here = -1  # where signals are written to
    self._presses = 0

  def open(self) -> None:
    """From now on; in the main thread, before others set handlers."""
    there, self._here = os.pipe()
    os.set_blocking(self._here, False)
    for number in asked():
      signal.signal(number, self._obey)
    signal.set_wakeup_fd(self._here, warn_on_full_buffer=False)
    atexit.register(self._close)  # as the first: it is called as the last
    # What is forked has no such thread, and must not tell ours.
    os.register_at_fork(after_in_child=_forget)
    threading.Thread(target=self._listen, args=(there,), daemon=True).start()

  def _close(self):
    # Python gives signals back to the system before it ends.
    if self.code is not None:
      for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
          stream.flush()
      os._exit(self.code)

  def _listen(self, there):
    while True:
      for byte in os.read(there, 64):
        with contextlib.suppress(ValueError):
          self._hear(signal.Signals(byte))

  def _hear(self, number):
    if signal.getsignal(number) == self._obey:
      self._end(number)
    elif number == signal.SIGINT:
      # Training knows of the first one as soon as its step lets Python run.
      self._presses += 1
      if self._presses > 1:
        _leave("interrupted; the same command goes on", INTERRUPTED)

  def _obey(self, number: int, frame: FrameType | None) -> None:
    """The handler: tells the thread, in case a library has taken its ear.

    It may interrupt what holds a stream, so that it says nothing itself.
    """
    del frame
    with contextlib.suppress(BlockingIOError):
      os.write(self._here, bytes([number]))

  def _end(self, number):
    if self.code is not None:
      _leave("", self.code)
    name = signal.Signals(number).name
    _leave(f"asked to end ({name}); the same command goes on", errors.AGAIN)


def _forget():
  with contextlib.suppress(ValueError):
    signal.set_wakeup_fd(-1)
    for number in asked():
      signal.signal(number, signal.SIG_DFL)


def _leave(text: str, code: int) -> None:
  """Ends at once; children and threads have no time to complain."""
  with contextlib.suppress(Exception):
    speaker = threading.Thread(target=_say, args=(text,), daemon=True)
    speaker.start()
    speaker.join(PATIENCE)  # whoever reads may have stopped to
  with contextlib.suppress(Exception):
    if "multiprocessing" in sys.modules:
      for child in sys.modules["multiprocessing"].active_children():
        child.kill()
  os._exit(code)


def _say(text):
  with contextlib.suppress(OSError):  # a terminal that is gone
    if os.isatty(1):
      os.write(1, b"\x1b[?25h\n")  # a progress bar hides the cursor
  with contextlib.suppress(OSError):
    os.write(2, f"unirep: {one_line(text)}\n".encode() if text else b"")
  with contextlib.suppress(Exception):
    sys.stdout.flush()
