"""What the processes of one run do together, and the end of one of them."""

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
  """Another process of the run is gone; the last checkpoint goes on."""

  exit_code = errors.AGAIN


@contextlib.contextmanager
def together() -> Iterator[None]:
  """What the user must mend in one process ends all of them.

  All processes enter and leave it together.

  Raises:
    InputError: of this process, or else of the first one that had any.
  """
  mine: InputError | None = None
  try:
    yield
  except InputError as error:
    mine = error
  if jax.process_count() > 1:
    text = str(mine or "").encode()[:MESSAGE_BYTES].ljust(MESSAGE_BYTES, b"\0")
    said = multihost_utils.process_allgather(np.frombuffer(text, np.uint8))
    for process, row in enumerate(np.asarray(said)):
      words = row.tobytes().rstrip(b"\0").decode(errors="ignore")
      if words and mine is None:
        raise InputError(f"process {process}: {words}")
  if mine is not None:
    raise mine


def same(value: int) -> int:
  """Process 0's number, below 2**31, in all processes."""
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def wait(name: str, seconds: float) -> None:
  """Returns when all processes have called it with this name.

  Raises:
    LostProcessError: naming those that have not within `seconds`.
  """
  try:
    barrier = ocp.multihost.get_barrier_sync_fn()
    barrier(key=name, timeout_ms=int(1000 * seconds))
  except jax.errors.JaxRuntimeError as error:
    raise LostProcessError(_roll(str(error), "did not answer")) from error


@contextlib.contextmanager
def watched() -> Iterator[None]:
  """Names the process whose end made an exchange of the others fail.

  Raises:
    LostProcessError: if there is one. A process that stops to answer without
      closing its connections is found by JAX itself, which ends the others
      after `HEARTBEAT_SECONDS`, with its number.
  """
  try:
    yield
  except jax.errors.JaxRuntimeError:
    if jax.process_count() > 1:
      wait("roll call", PATIENCE_SECONDS)
    raise


def _roll(message: str, what: str) -> str:
  names = re.search(r"task names:\s*((?:\d+\s*)+)", message)
  lost = names.group(1).split() if names else []
  who = "process " + " and ".join(lost) if lost else "another process"
  return (
    f"{who} of {jax.process_count()} {what}, so process {jax.process_index()} "
    "ends as well; the same command goes on from the last checkpoint"
  )
