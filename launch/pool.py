"""Runs as processes of this machine: some at a time, each until it is done."""

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
MOST_CRASHES = 3  # of these, that a signal may end
LOCK = "lock"
LOG = "log.txt"
SHELL = 128  # and the number of a signal: a shell's exit code
CODE = "exit_code"  # of the last start, negative for a signal


Slot = Mapping[str, str]  # what a place to run adds to the environment


class Child(NamedTuple):
  """A run, its process, and where it runs."""

  run: Run
  process: subprocess.Popen
  slot: Slot


def run_all(
  runs: Sequence[Run], main: Sequence[str], slots: Sequence[Slot]
) -> bool:
  """Starts all runs, at most one in each slot at a time, and waits for them.

  A run that ends with 75 or by a signal starts again; others that fail are left
  at that. Signals are passed on as SIGTERM, on which runs save their
  state, and no more runs start; a second one kills.

  Args:
    runs: what to start.
    main: the command that takes their arguments.
    slots: see `gpus.slots`.

  Returns:
    Whether a signal ended it.
  """
  waiting, free = collections.deque(runs), [*slots]
  starts, crashes = collections.Counter(), collections.Counter()
  children: list[Child] = []
  with _signals() as given:
    told = 0
    while children or (waiting and not given):
      for _ in range(0 if given else len(waiting)):
        if free:
          run = waiting.popleft()
          try:
            if child := _start(run, waiting, free[0], main):
              children.append(child)
              free.pop(0)
          except (InputError, OSError) as error:
            _say(run, f"not started: {error}")
      time.sleep(0.1)
      if len(given) > told:
        for child in children:
          child.process.kill() if told else child.process.terminate()
        told = len(given)
      for child in [x for x in children if x.process.poll() is not None]:
        children.remove(child)
        free.append(child.slot)
        name = child.run.name
        starts[name] += 1
        crashes[name] += _by_signal(child.process.returncode)
        few = starts[name] < MOST_STARTS and crashes[name] < MOST_CRASHES
        if _ended(child) and few:
          waiting.append(child.run)
    return bool(given)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
  """Collects signals to end instead of obeying them."""
  found: list[int] = []
  before = {
    number: signal.signal(number, lambda n, _: found.append(n))
    for number in signals.asked()
  }
  try:
    yield found
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _start(
  run: Run,
  waiting: collections.deque[Run],
  slot: Slot,
  main: Sequence[str],
) -> Child | None:
  """Starts a run, unless another launcher's process is still at it."""
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
        pass_fds=[lock.fileno()],  # it holds the lock for as long as it lives
        process_group=0,  # Ctrl-C reaches it through us alone
      )
  _say(run, " ".join(["started", *(f"{k}={v}" for k, v in slot.items())]))
  return Child(run, process, slot)


def _ended(child: Child) -> bool:
  """Says how; whether to start it again."""
  run, code = child.run, child.process.returncode
  with contextlib.suppress(OSError):  # a full disk
    (run.workdir / CODE).write_text(f"{code}\n")
  if run.finished():
    _say(run, "finished")
    return False
  last = (run.workdir / LOG).read_text(errors="replace").strip().splitlines()
  _say(run, f"{how(code)}: {last[-1] if last else 'it said nothing'}")
  return code == errors.AGAIN or _by_signal(code)


def _by_signal(code: int) -> bool:
  """Whether a signal ended it, or what ran in its shell."""
  return code < 0 or code > SHELL


def how(code: int) -> str:
  """An exit code in words."""
  return f"signal {-code}" if code < 0 else f"exit code {code}"


def hold(directory: pathlib.Path) -> IO[bytes] | None:
  """An open file with its lock, or None if another process has it.

  The lock lasts until the file is closed here and in all processes that
  inherited it, however they end.

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
