"""An experiment: flags -> job, and how it ends."""

import errno
import functools
import logging
import os
import pathlib
import sys
import threading
import traceback
from types import TracebackType
from typing import NoReturn

import jax
from rich.console import Console

from unirep.cli import compile_cache, flags, settings
from unirep.jobs import dispatch
from unirep.runtime import atomic, cluster, errors, lockstep, signals
from unirep.runtime.errors import InputError, first_line, say
from unirep.runtime.preemption import PreemptedError
from unirep.train import saving
from unirep.train.loop import NonFiniteError

FULL = "RESOURCE_EXHAUSTED"  # how XLA says it
PLACES = (  # of an OSError: a path that is wrong, or another's
  *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR),
  *(errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.EIO),
)


def main(argv: list[str]) -> int:
  """Runs the experiment; 2: the user can mend it, 75: start it again."""
  workdir = ""
  install()
  try:
    if len(argv) > 1:
      raise InputError(f"unknown arguments: {' '.join(argv[1:])}")
    config = flags.CONFIG.value
    workdir = flags.WORKDIR.value or settings.default_workdir(config.to_json())
    found = cluster.detect(
      flags.COORDINATOR.value, flags.NUM_PROCESSES.value, flags.PROCESS_ID.value
    )
    who = cluster.join(found, flags.INIT_TIMEOUT.value)
    quiet = bool(who) and jax.process_index() > 0
    _check_devices()
    compile_cache.open_default()
    # What looks like markup is a name.
    console = Console(highlight=False, markup=False, emoji=False, quiet=quiet)
    if who:
      console.print(who, soft_wrap=True)
    dispatch.run(config, pathlib.Path(workdir), console)
  except KeyboardInterrupt:
    say("interrupted; the same command goes on")
    return signals.INTERRUPTED
  except (InputError, PreemptedError) as error:
    say(error)
    return error.exit_code
  except lockstep.LostProcessError as error:
    _leave(error, error.exit_code)
  except saving.SaveError as error:
    _leave(error, 1)
  except NonFiniteError as error:
    say(f"{error}; the state is in {workdir}/nonfinite")
    return 1
  except (MemoryError, jax.errors.JaxRuntimeError) as error:
    if not isinstance(error, MemoryError) and FULL not in str(error):
      raise
    _leave(
      f"out of memory ({first_line(error)}); make batch_size, the model or "
      "codebook.size smaller",
      errors.MENDABLE,
    )
  except OSError as error:
    return _refused_file(error, workdir)
  return 0


def _refused_file(error, workdir):
  """What the file system doesn't let us do is the user's to mend."""
  place = error.filename or workdir
  if error.errno in atomic.NO_ROOM:
    _leave(f"cannot write to {place}: {error.strerror}", 1)
  if error.errno not in PLACES:
    raise error
  say(f"{place}: {error.strerror}")
  return errors.MENDABLE


def _leave(text: object, code: int) -> NoReturn:
  """Ends at once: other processes can't say good-bye, or threads still write.

  What those say of a full disk would hide the line.
  """
  sys.stdout.flush()
  say(text)
  os._exit(code)


def _check_devices() -> None:
  """Raises InputError where JAX has none of those that it was told to use."""
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:  # as JAX says it
    line = first_line(error) if str(error) else "it has no plugin"
    asked = os.environ.get("JAX_PLATFORMS", "")
    raise InputError(
      f"JAX_PLATFORMS={asked!r}: no such device ({line}); unset it, or install "
      "unirep[cuda] or unirep[tpu]"
    ) from error


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
