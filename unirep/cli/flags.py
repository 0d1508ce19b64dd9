"""Flags of the command line."""

from absl import flags
from ml_collections import config_flags

from unirep.cli import help, settings
from unirep.runtime.errors import InputError, say

CONFIG = config_flags.DEFINE_config_file(
  "config",
  help.packaged("configs/pretrain.py"),
  "A file with get_config(), maybe :variant.",
)
WORKDIR = flags.DEFINE_string(
  "workdir", "", "Where results go; by default runs/ and a name per config."
)
COORDINATOR = flags.DEFINE_string(
  "coordinator",
  "",
  "HOST:PORT of process 0, for a run of several processes. Slurm, Open MPI and "
  "TPU pods are detected and need no flag.",
)
NUM_PROCESSES = flags.DEFINE_integer(
  "num_processes", None, "Number of processes of the run."
)
PROCESS_ID = flags.DEFINE_integer(
  "process_id", None, "Number of this process, from 0."
)
INIT_TIMEOUT = flags.DEFINE_float(
  "init_timeout",
  1800,
  "Seconds to wait for all processes.",
  lower_bound=1,
  upper_bound=1e6,
)
flags.register_validator(
  "init_timeout", lambda x: x == x, "it must be a number of seconds"
)


def parse(argv: list[str]) -> list[str]:
  """Absl's parser, with one line and exit code 2 for bad flags."""
  try:
    return settings.resolve(flags.FLAGS, argv)
  except InputError as error:
    say(error)
    raise SystemExit(error.exit_code) from None
