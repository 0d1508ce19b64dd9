"""The command line: flags -> experiment.

python -m unirep.main --config=configs/pretrain.py --workdir=DIR
"""

import hashlib
import pathlib
import sys

import absl.logging
from absl import app, flags
from ml_collections import config_flags
from rich.console import Console

from unirep.errors import InputError
from unirep.experiment import jobs
from unirep.train.loop import NonFiniteError
from unirep.train.preemption import PreemptedError

CONFIG = config_flags.DEFINE_config_file(
  "config", "configs/pretrain.py", "A file with get_config(), maybe :variant."
)
WORKDIR = flags.DEFINE_string(
  "workdir", "", "Where results go; by default runs/ and a name per config."
)


def default_workdir(settings: str) -> pathlib.Path:
  """A place of its own for every configuration."""
  return (
    pathlib.Path("runs") / hashlib.sha256(settings.encode()).hexdigest()[:8]
  )


def main(argv: list[str]) -> int:
  """Runs the experiment; 2: the user can mend it, 75: start it again."""
  console, workdir = Console(highlight=False), ""
  try:
    if len(argv) > 1:
      raise InputError(f"unknown arguments: {' '.join(argv[1:])}")
    config = CONFIG.value
    workdir = WORKDIR.value or default_workdir(config.to_json())
    jobs.run(config, pathlib.Path(workdir), console)
  except (InputError, PreemptedError) as error:
    sys.stderr.write(f"unirep: {error}\n")
    return error.exit_code
  except NonFiniteError as error:
    sys.stderr.write(f"unirep: {error}; the state is in {workdir}/nonfinite\n")
    return 1
  return 0


def parse(argv: list[str]) -> list[str]:
  """Absl's parser, with one line and exit code 2 for what it refuses."""
  try:
    rest = flags.FLAGS(argv)
    _ = CONFIG.value.keys()  # a file that is missing says so only when read
    return rest
  except (flags.Error, ValueError, TypeError, OSError) as error:
    line = str(error).splitlines()[-1].strip()  # after any traceback
  except (AttributeError, KeyError) as error:  # how ml_collections says it
    line = f"the configuration has no key {str(error).strip(chr(34))}"
  sys.stderr.write(f"unirep: {line}\n")
  raise SystemExit(2)


if __name__ == "__main__":
  absl.logging.set_verbosity(absl.logging.WARNING)
  app.run(main, flags_parser=parse)
