"""An experiment: flags -> job, and how it ends."""

import errno
import functools
import logging
import os
import pathlib
import sys

import jax
from rich.console import Console

from unirep.cli import compile_cache, flags, settings
from unirep.jobs import dispatch
from unirep.runtime import atomic, cluster, errors, lockstep, signals
from unirep.runtime.errors import InputError, first_line, say
from unirep.runtime.preemption import PreemptedError
from unirep.train import saving
from unirep.train.loop import NonFiniteError

FULL = "RESOURCE_EXHAUSTED"  # XLA's name of it
PLACES = (  # error numbers of a path that is wrong or not the user's
  errno.EACCES,
  errno.EPERM,
  errno.EROFS,
  errno.ENOTDIR,
  errno.EISDIR,
  errno.EEXIST,
  errno.ENOENT,
  errno.ENAMETOOLONG,
  errno.ELOOP,
  errno.EIO,
)


def main(argv: list[str]) -> int:
  """Runs the job of the flags; returns the program's exit code.

  2 is an error that the user can mend, 75 asks for the same command again.
  """
  workdir = ""
  _quiet_orbax()
  try:
    if len(argv) > 1:
      raise InputError(f"unknown arguments: {' '.join(argv[1:])}")
    config = flags.CONFIG.value
    workdir = flags.WORKDIR.value or settings.default_workdir(config.to_json())
    processes = cluster.detect(
      flags.COORDINATOR.value, flags.NUM_PROCESSES.value, flags.PROCESS_ID.value
    )
    joined = cluster.join(processes, flags.INIT_TIMEOUT.value)
    quiet = bool(joined) and jax.process_index() > 0
    _check_devices()
    compile_cache.open_default()
    # A name of the user's may look like markup.
    console = Console(highlight=False, markup=False, emoji=False, quiet=quiet)
    if joined:
      console.print(joined, soft_wrap=True)
    dispatch.run(config, pathlib.Path(workdir), console)
  except (InputError, PreemptedError) as error:
    say(error)
    return error.exit_code
  # `leave` is for errors after which Python's own end would hang: it waits for
  # lost processes, and for threads that still write to a full disk.
  except lockstep.LostProcessError as error:
    signals.leave(error, error.exit_code)
  except saving.SaveError as error:
    signals.leave(error, 1)
  except NonFiniteError as error:
    say(f"{error}; the state is in {workdir}/nonfinite")
    return 1
  except (MemoryError, jax.errors.JaxRuntimeError) as error:
    if not isinstance(error, MemoryError) and FULL not in str(error):
      raise
    signals.leave(
      f"out of memory ({first_line(error)}); make batch_size, the model or "
      "codebook.size smaller",
      errors.MENDABLE,
    )
  except OSError as error:
    return _refused_file(error, workdir)
  return 0


def _refused_file(error, workdir):
  """Names the file that the system refused; returns the exit code."""
  place = error.filename or workdir
  if error.errno in atomic.NO_ROOM:
    signals.leave(f"cannot write to {place}: {error.strerror}", 1)
  if error.errno not in PLACES:
    raise error
  say(f"{place}: {error.strerror}")
  return errors.MENDABLE


def _check_devices() -> None:
  """Raises InputError for a platform that JAX was told to use and lacks."""
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:  # both are raised by JAX
    line = first_line(error) if str(error) else "it has no plugin"
    platforms = os.environ.get("JAX_PLATFORMS", "")
    raise InputError(
      f"JAX_PLATFORMS={platforms!r}: no such device ({line}); unset it, or "
      "install unirep[cuda] or unirep[tpu]"
    ) from error


@functools.cache
def _quiet_orbax() -> None:
  """Hides the traces of a failed save, which has a line of ours.

  Orbax logs one for each array, asyncio one for each task, and TensorStore
  writes to loops that Orbax has closed.
  """
  logging.getLogger("absl").addFilter(lambda x: "orbax" not in x.pathname)
  logging.getLogger("asyncio").disabled = True
  hook = sys.unraisablehook

  def unraisable(args: "sys.UnraisableHookArgs") -> None:
    if str(args.exc_value) != "Event loop is closed":
      hook(args)

  sys.unraisablehook = unraisable
