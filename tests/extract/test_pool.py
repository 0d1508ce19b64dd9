"""Workers that die or hang cost their item, and nothing else."""

import os
import signal
import time
from multiprocessing import connection

import pytest

from unirep.extract import pool


def work(item):
  """Module level: workers import it."""
  kind, value = item
  if kind == "die":
    os.kill(os.getpid(), signal.SIGKILL)
  if kind == "exit":
    os._exit(3)
  if kind == "hang":
    time.sleep(60)
  if kind == "slow":
    time.sleep(0.2)
  if kind == "amid":  # killed within its answer, as by a lack of memory
    connection.Connection._send_bytes = _half
  if kind == "large":
    return b"x" * 10_000_000
  return value * 2


def _half(self, buffer):
  self._send(len(buffer).to_bytes(4, "big") + bytes(buffer[:1]))
  os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_all_in_order(workers):
  items = [("slow" if i % 5 == 0 else "", i) for i in range(20)]
  assert [*pool.each(work, items, workers, 60)] == [2 * i for i in range(20)]
  assert [*pool.each(work, [], workers, 60)] == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_dead_and_the_hung_are_replaced(workers):
  kinds = ["", "die", "", "large", "exit", "die", "hang", ""]
  items = [(kind, i) for i, kind in enumerate(kinds)]
  found = [*pool.each(work, items, workers, 10)]
  assert (found[0], found[2]) == (0, 4)
  assert found[7] == 14
  assert len(found[3]) == 10_000_000
  assert found[1] == found[5] == pool.Lost("ended its process (exit code -9)")
  assert found[4] == pool.Lost("ended its process (exit code 3)")
  assert found[6] == pool.Lost("took longer than 10 s")


@pytest.mark.parametrize("workers", [1, 3])
def test_an_answer_that_is_cut_spoils_no_other(workers):
  items = [("amid" if i % 4 == 1 else "", i) for i in range(10)]
  answers = [*pool.each(work, items, workers, 60)]
  lost = pool.Lost("ended its process (exit code -9)")
  assert answers == [lost if i % 4 == 1 else 2 * i for i in range(10)]


def test_workers_end_with_the_loop():
  import multiprocessing

  answers = pool.each(work, [("", i) for i in range(9)], 2, 60)
  next(answers)
  assert len(multiprocessing.active_children()) == 2
  answers.close()
  assert not multiprocessing.active_children()
