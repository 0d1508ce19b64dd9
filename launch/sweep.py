r"""Launcher of a sweep: starts all runs that are not finished.

python -m unirep.launch.sweep --sweep=launch/sweeps/example.py \
  --workdir=runs/sweep

`--how=local` starts them on this machine, `--jobs` at a time, each on a GPU of
its own if there are GPUs. `slurm` submits them as an array job, `print` prints
one command a line, and `table` prints the table of results. The same command
goes on with the runs that are not finished. Exit codes: 0 all finished, 1 a run
failed, 2 the user can mend it, 75 a signal ended the launcher early.
"""

import argparse
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

from unirep.launch import gpus, grid, local, pool, results
from unirep.runtime import errors, streams
from unirep.runtime.errors import InputError, say

MAIN = (sys.executable, "-m", "unirep.main")
BATCH = pathlib.Path(__file__).with_name("slurm.sbatch")


def main(argv: list[str]) -> int:
  """Runs the command, and returns its exit code."""
  try:
    args = parser().parse_args(argv)
    runs = grid.load(args.sweep, args.workdir)
    if args.only is not None and not 0 <= args.only < len(runs):
      raise InputError(f"--only={args.only} is not in 0..{len(runs) - 1}")
    return start(args, runs, runs if args.only is None else [runs[args.only]])
  except InputError as error:
    say(error, "launch")
    return error.exit_code


def parser() -> argparse.ArgumentParser:
  """The parser of the command line."""
  out = local.Parser(description="Starts a collection of runs.")
  add = out.add_argument
  add("--sweep", type=pathlib.Path, required=True, help="file of get_sweep()")
  add("--workdir", type=pathlib.Path, required=True, help="of the sweep")
  ways = ("local", "slurm", "print", "table")
  add("--how", choices=ways, default="local")
  text = "runs at the same time; by default, as many as there are GPUs, or 2"
  add("--jobs", type=positive, help=text)
  text = (
    "GPUs of each run, 1 by default, but all with --only; 0: not shared out"
  )
  add("--gpus", type=natural, help=text)
  text = "start the run of this number, from 0; `array`: of Slurm's array job"
  add("--only", type=number, help=text)
  add("--sbatch", default="", help="more options for sbatch, in one word")
  add("--dry_run", action="store_true", help="print commands alone")
  return out


def positive(text: str) -> int:
  """Argparse's type for 1, 2, 3, ..."""
  if not 1 <= (value := int(text)) <= local.MOST:
    raise ValueError
  return value


def natural(text: str) -> int:
  """Argparse's type for 0, 1, 2, ..."""
  if not 0 <= (value := int(text)) <= local.MOST:
    raise ValueError
  return value


def number(text: str) -> int:
  """Argparse's type for the number of a run."""
  if text != "array":
    return int(text)
  array = os.environ.get("SLURM_ARRAY_TASK_ID", "")
  if not re.fullmatch(r"\d{1,9}", array):
    raise InputError(f"SLURM_ARRAY_TASK_ID={array!r} is no number of a run")
  return int(array)


def start(
  args: argparse.Namespace, runs: list[grid.Run], chosen: list[grid.Run]
) -> int:
  """Starts, submits or prints those of `chosen` that are not finished."""
  todo = [run for run in chosen if not run.finished()]
  if args.how == "print" or (args.dry_run and args.how == "local"):
    describe(chosen)
    return 0
  if args.how == "slurm":
    return submit(args, [runs.index(run) for run in todo])
  if args.how == "table":
    return results.show(runs, args.workdir)
  each = 0 if args.gpus is None and args.only is not None else args.gpus
  slots = gpus.slots(gpus.visible(os.environ), args.jobs, each)
  ended = pool.run_all(todo, MAIN, slots)
  failed = results.show(runs, args.workdir, only=chosen)
  return (
    errors.AGAIN
    if ended and not all(run.finished() for run in todo)
    else failed
  )


def describe(runs: list[grid.Run]) -> None:
  """Prints one command a line; finished runs as comments."""
  for run in runs:
    if run.finished():
      print(f"# finished: {run.name}")
    else:
      print(shlex.join([*MAIN, *run.command]))


def submit(args: argparse.Namespace, indices: list[int]) -> int:
  """Submits one array job for the runs of these numbers."""
  if not indices:
    print("# all runs are finished")
    return 0
  try:
    options = shlex.split(args.sbatch)
  except ValueError as error:
    raise InputError(f"--sbatch={args.sbatch!r}: {error}") from error
  command = [
    "sbatch",
    f"--array={','.join(map(str, indices))}%{args.jobs or gpus.JOBS}",
    "--nodes=1",
    "--ntasks=1",
    "--export=ALL,MODULE=unirep.launch.sweep",
    f"--output={args.workdir}/slurm-%a.log",
    *options,
    str(BATCH),
    f"--sweep={args.sweep}",
    f"--workdir={args.workdir}",
    "--only=array",
  ]
  print(shlex.join(command), flush=True)
  if args.dry_run:
    return 0
  if not shutil.which("sbatch"):
    raise InputError("there is no sbatch here; --how=local starts the runs")
  args.workdir.mkdir(parents=True, exist_ok=True)
  return 1 if subprocess.run(command, check=False).returncode else 0


if __name__ == "__main__":
  streams.guard()
  sys.exit(main(sys.argv[1:]))
