"""Worker processes that may die or hang without loss of other items.

A pool of one pipe for all workers would not do: a worker that is killed in the
middle of an answer spoils it for the others. Here each has a pipe of its own.
"""

import collections
import contextlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection
from typing import Any, NamedTuple

from unirep.runtime import signals

AHEAD = 2  # items of each worker that are under way, or wait to be yielded


class Lost(NamedTuple):
  """The result of an item whose worker gave no answer."""

  reason: str


def each(
  function: Callable[[Any], Any],
  items: Sequence[Any],
  workers: int,
  timeout: float,
) -> Iterator[Any]:
  """Yields `function(item)`, or `Lost`, for each item in order.

  Args:
    function: picklable, and never raises.
    items: picklable.
    workers: number of processes; 0 runs the function in this one, unguarded.
    timeout: seconds for an item, after which its worker is killed.
  """
  if not workers:
    yield from map(function, items)
    return
  team = [_Worker(function, timeout) for _ in range(min(workers, len(items)))]
  try:
    yield from _in_order(items, team)
  finally:
    for worker in team:
      worker.stop()


def _in_order(items, team):
  done: dict[int, Any] = {}
  free, next_one = collections.deque(team), 0
  for wanted in range(len(items)):
    while wanted not in done:
      room = wanted + AHEAD * len(team)  # so that answers fit into memory
      while free and next_one < min(len(items), room):
        free.popleft().give(next_one, items[next_one])
        next_one += 1
      for worker in _ready([w for w in team if w.number is not None]):
        done[worker.number], worker.number = worker.take(), None
        free.append(worker)
    yield done.pop(wanted)


def _ready(busy):
  """Waits for workers that have answered, died, or run out of time."""
  left = max(0.0, min(worker.deadline() for worker in busy))
  answered = connection.wait([w.pipe for w in busy], left)
  return [w for w in busy if w.pipe in answered or w.deadline() <= 0]


class _Worker:
  """A process that is replaced when it dies or takes too long."""

  def __init__(self, function, timeout):
    self._function, self._timeout = function, timeout
    self.number: int | None = None
    self._start()

  def _start(self):
    # Not forked: the parent has threads.
    context = multiprocessing.get_context("spawn")
    self.pipe, theirs = context.Pipe()
    self._process = context.Process(
      target=_serve, args=(theirs, self._function), daemon=True
    )
    with signals.deaf():
      self._process.start()
    theirs.close()
    self._since = 0.0

  def give(self, number, item):
    self.number, self._since = number, time.monotonic()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
      self.pipe.send(item)  # `take` reports a dead process

  def deadline(self):
    return self._since + self._timeout - time.monotonic()

  def take(self):
    try:
      if self.pipe.poll():
        return self.pipe.recv()
      lost = Lost(f"took longer than {self._timeout:g} s")
    except (EOFError, OSError):
      self._process.join()
      lost = Lost(f"ended its process (exit code {self._process.exitcode})")
    self.stop()
    self._start()
    return lost

  def stop(self):
    self.pipe.close()
    self._process.kill()
    self._process.join()


def _serve(pipe, function):
  """Answers until the parent closes the pipe."""
  try:
    while True:
      pipe.send(function(pipe.recv()))
  except (EOFError, OSError, KeyboardInterrupt):
    pass
