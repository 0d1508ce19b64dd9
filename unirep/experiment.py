"""An experiment: flags -> job, and how it ends."""

import os
import pathlib
import signal
import sys

import jax
from rich.console import Console

from unirep import cache, files, flags, settings
from unirep.checkpoints import saving
from unirep.errors import InputError
from unirep.jobs import dispatch
from unirep.parallel import cluster, lockstep
from unirep.parallel.preemption import PreemptedError
from unirep.train.loop import NonFiniteError


def main(argv: list[str]) -> int:
  """Runs the experiment; 2: the user can mend it, 75: start it again."""
  workdir = ""
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
    cache.open_default()
    console = Console(highlight=False, quiet=quiet)
    if who:
      console.print(who, soft_wrap=True)
    dispatch.run(config, pathlib.Path(workdir), console)
  except KeyboardInterrupt:
    sys.stderr.write("unirep: interrupted; the same command goes on\n")
    return 128 + signal.SIGINT
  except (InputError, PreemptedError) as error:
    sys.stderr.write(f"unirep: {error}\n")
    return error.exit_code
  except lockstep.LostProcessError as error:
    _leave(f"unirep: {error}\n", error.exit_code)
  except saving.SaveError as error:
    _leave(f"unirep: {error}\n", 1)
  except NonFiniteError as error:
    sys.stderr.write(f"unirep: {error}; the state is in {workdir}/nonfinite\n")
    return 1
  except OSError as error:
    if error.errno not in files.NO_ROOM:
      raise
    place = error.filename or workdir
    _leave(f"unirep: cannot write to {place}: {error.strerror}\n", 1)
  return 0


def _leave(line: str, code: int) -> None:
  """Ends at once: other processes can't say good-bye, or threads still write.

  What those say of a full disk would hide the line.
  """
  sys.stdout.flush()
  sys.stderr.write(line)
  sys.stderr.flush()
  os._exit(code)


def _check_devices() -> None:
  """Raises InputError where JAX has none of those that it was told to use."""
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:  # as JAX says it
    line = " ".join(str(error).split("\n")[0].split()) or "it has no plugin"
    asked = os.environ.get("JAX_PLATFORMS", "")
    raise InputError(
      f"JAX_PLATFORMS={asked!r}: no such device ({line}); unset it, or install "
      "unirep[cuda] or unirep[tpu]"
    ) from error
