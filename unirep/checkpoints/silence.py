"""A program in which Orbax says nothing: what fails is said in a line of ours.

Its threads would print the stack of each call that the disk has refused, and
warn of every folder that is none of its own.
"""

import functools
import logging
import sys
import threading
import traceback
from types import TracebackType

THEIRS = "orbax", "asyncio"  # a loop of Orbax's that an error has closed


@functools.cache
def install() -> None:
  """For the whole process, which is a program's and not a library's; once."""
  for handler in (*logging.getLogger("absl").handlers, *logging.root.handlers):
    handler.addFilter(lambda x: not any(t in x.pathname for t in THEIRS))
  of_threads, ignored = threading.excepthook, sys.unraisablehook

  def thread(args: threading.ExceptHookArgs) -> None:
    if not _theirs(args.exc_traceback):
      of_threads(args)

  def unraisable(args: "sys.UnraisableHookArgs") -> None:
    if not _theirs(args.exc_traceback):
      ignored(args)

  threading.excepthook, sys.unraisablehook = thread, unraisable


def _theirs(trace: TracebackType | None) -> bool:
  """Whether an exception has come through code of theirs."""
  files = [frame.filename for frame in traceback.extract_tb(trace)]
  return any(name in file for file in files for name in THEIRS)
