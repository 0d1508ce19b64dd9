"""Agreement among the processes of one run, and the loss of one of them."""

import contextlib
import re
from collections.abc import Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from unirep.runtime import errors
from unirep.runtime.errors import InputError

PATIENCE_SECONDS = 15  # between the first failed exchange and the roll call
MESSAGE_BYTES = 512


class LostProcessError(Exception):
  """Another process of the run is gone; it goes on from the last checkpoint."""

  exit_code = errors.AGAIN


@contextlib.contextmanager
def together() -> Iterator[None]:
  """An InputError in one process is raised in all of them.

  All processes must enter and leave the context together.

  Raises:
    InputError: of this process, or else of the first process that had one.
  """
  mine: InputError | None = None
  try:
    yield
  except InputError as error:
    mine = error
  if jax.process_count() > 1:
    text = str(mine or "").encode()[:MESSAGE_BYTES].ljust(MESSAGE_BYTES, b"\0")
    texts = multihost_utils.process_allgather(np.frombuffer(text, np.uint8))
    for process, row in enumerate(np.asarray(texts)):
      message = row.tobytes().rstrip(b"\0").decode(errors="ignore")
      if message and mine is None:
        raise InputError(f"process {process}: {message}")
  if mine is not None:
    raise mine


def same(value: int) -> int:
  """Gives all processes the number of process 0, which is below 2**31."""
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def wait(name: str, seconds: float) -> None:
  """Waits until all processes have called it with this name.

  Raises:
    LostProcessError: naming the processes that didn't within `seconds`.
  """
  try:
    barrier = ocp.multihost.get_barrier_sync_fn()
    barrier(key=name, timeout_ms=int(1000 * seconds))
  except jax.errors.JaxRuntimeError as error:
    raise LostProcessError(_loss(str(error))) from error


@contextlib.contextmanager
def watched() -> Iterator[None]:
  """Turns the failure of a collective into the name of the lost process.

  Raises:
    LostProcessError: if a process is lost. JAX itself finds a process that
      hangs with open connections: it ends the others after
      `cluster.HEARTBEAT_SECONDS`, and names its number.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError:
    if jax.process_count() > 1:
      wait("roll call", PATIENCE_SECONDS)
    raise


def _loss(message: str) -> str:
  names = re.search(r"task names:\s*((?:\d+\s*)+)", message)
  lost = names.group(1).split() if names else []
  subject = "process " + " and ".join(lost) if lost else "another process"
  return (
    f"{subject} of {jax.process_count()} did not answer, so process "
    f"{jax.process_index()} ends as well; the same command goes on from the "
    "last checkpoint"
  )
