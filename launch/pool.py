"""A pool of runs on this machine: some at a time, each to its end."""

import collections
import contextlib
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, NamedTuple

from unirep.launch.grid import Run
from unirep.runtime import errors, signals
from unirep.runtime.errors import InputError, one_line

MOST_STARTS = 20  # of one run, by one launcher
MOST_CRASHES = 3  # of these starts that end by a signal
LOCK = "lock"
LOG = "log.txt"
SHELL = 128  # a shell's exit code is this plus the number of a signal
CODE = "exit_code"  # of the last start, negative for a signal


Slot = Mapping[str, str]  # environment variables of a place to run


class Child(NamedTuple):
  """A run, its process, and its place."""

  run: Run
  process: subprocess.Popen
  slot: Slot


def run_all(
  runs: Sequence[Run], main: Sequence[str], slots: Sequence[Slot]
) -> bool:
  """Starts all runs, at most one in each slot at a time, and waits for them.

  A run that ends with exit code 75 or by a signal starts again; other runs that
  fail do not. After a signal to this process no more runs start, and those that
  run get SIGTERM, on which they save their state. A second signal kills them.

  Args:
    runs: the runs to start.
    main: the command that takes their arguments.
    slots: see `gpus.slots`.

  Returns:
    Whether a signal ended it.
  """
  waiting, free = collections.deque(runs), [*slots]
  starts, crashes = collections.Counter(), collections.Counter()
  children: list[Child] = []
  with _signals() as received:
    passed = 0  # signals that the runs got
    while children or (waiting and not received):
      for _ in range(0 if received else len(waiting)):
        if free:
          run = waiting.popleft()
          try:
            if child := _start(run, waiting, free[0], main):
              children.append(child)
              free.pop(0)
          except (InputError, OSError) as error:
            _say(run, f"not started: {error}")
      time.sleep(0.1)
      if len(received) > passed:
        for child in children:
          child.process.kill() if passed else child.process.terminate()
        passed = len(received)
      for child in [x for x in children if x.process.poll() is not None]:
        children.remove(child)
        free.append(child.slot)
        name = child.run.name
        starts[name] += 1
        crashes[name] += _by_signal(child.process.returncode)
        few = starts[name] < MOST_STARTS and crashes[name] < MOST_CRASHES
        if _ended(child) and few:
          waiting.append(child.run)
    return bool(received)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
  """Collects signals, which would otherwise end this process."""
  received: list[int] = []
  before = {
    number: signal.signal(number, lambda n, _: received.append(n))
    for number in signals.asked()
  }
  try:
    yield received
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _start(
  run: Run,
  waiting: collections.deque[Run],
  slot: Slot,
  main: Sequence[str],
) -> Child | None:
  """Starts a run, unless another launcher runs it."""
  lock = hold(run.workdir)
  if lock is None:
    waiting.append(run)
    return None
  with lock:
    if run.finished():
      return None
    (run.workdir / CODE).unlink(missing_ok=True)
    with (run.workdir / LOG).open("ab") as log:
      process = subprocess.Popen(
        [*main, *run.command],
        env=os.environ | slot,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=[lock.fileno()],  # so that the run holds the lock to its end
        process_group=0,  # Ctrl-C reaches it through us alone
      )
  _say(run, " ".join(["started", *(f"{k}={v}" for k, v in slot.items())]))
  return Child(run, process, slot)


def _ended(child: Child) -> bool:
  """Reports the end of a run; whether to start it again."""
  run, code = child.run, child.process.returncode
  with contextlib.suppress(OSError):  # a full disk
    (run.workdir / CODE).write_text(f"{code}\n")
  if run.finished():
    _say(run, "finished")
    return False
  last = (run.workdir / LOG).read_text(errors="replace").strip().splitlines()
  _say(run, f"{cause(code)}: {last[-1] if last else 'it said nothing'}")
  return code == errors.AGAIN or _by_signal(code)


def _by_signal(code: int) -> bool:
  """Whether a signal ended a process, or a command in its shell."""
  return code < 0 or code > SHELL


def cause(code: int) -> str:
  """An exit code in words."""
  return f"signal {-code}" if code < 0 else f"exit code {code}"


def hold(directory: pathlib.Path) -> IO[bytes] | None:
  """Locks a directory; None if another process holds the lock.

  The lock is an open file. It lasts until the file is closed here and in all
  processes that inherited it, also if they are killed.

  Raises:
    InputError: if the directory can't be written to.
  """
  try:
    directory.mkdir(parents=True, exist_ok=True)
    file = (directory / LOCK).open("ab")
  except OSError as error:
    raise InputError(
      f"cannot write to {directory}: {error.strerror}"
    ) from error
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    file.close()
    return None
  return file


def _say(run: Run, text: str) -> None:
  sys.stderr.write(f"{time.strftime('%H:%M:%S')} {run.name} {one_line(text)}\n")
