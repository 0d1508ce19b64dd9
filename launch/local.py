"""Several processes of one run on this machine: on CPU, or one a GPU.

python -m unirep.launch.local --processes=2 -- --config=configs/pretrain.py
"""

import argparse
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from typing import NoReturn

from unirep.launch import gpus
from unirep.runtime import signals, streams
from unirep.runtime.errors import InputError, say

GRACE_SECONDS = 30  # for the other processes to notice, and to end
AGAIN = 75  # exit code of a run that should be started again
MOST = 1024  # processes of one machine
SHELL = 128  # a shell's exit code is this plus the number of a signal


def watch(children: list[subprocess.Popen]) -> int:
  """Waits for all processes; returns the first failure's exit code, or 0."""
  code, end, codes = 0, float("inf"), [None]
  while children and None in codes:
    time.sleep(0.1)
    codes = [x.poll() for x in children]
    for i, failed in enumerate(codes):
      if failed and not code:
        code = failed if 0 < failed <= SHELL else AGAIN
        end = time.monotonic() + GRACE_SECONDS
        cause = f"signal {-failed}" if failed < 0 else failed
        sys.stderr.write(f"launch: process {i} ended with {cause}\n")
    _ = [x.kill() for x in children if time.monotonic() > end]
  return code


def commands(args: argparse.Namespace) -> list[tuple[str, str, list[str]]]:
  """For each process an environment variable, its value, and the command."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    where = f"--coordinator=127.0.0.1:{free.getsockname()[1]}"
  main = [sys.executable, "-m", args.module, *args.arguments, where]
  name = gpus.VISIBLE if args.gpus else "JAX_PLATFORMS"
  values = own(args.processes) if args.gpus else ["cpu"] * args.processes
  return [
    (
      name,
      values[i],
      [*main, f"--num_processes={args.processes}", f"--process_id={i}"],
    )
    for i in range(args.processes)
  ]


def own(processes: int) -> list[str]:
  """One GPU for each process, from those that the environment allows."""
  if gpus.VISIBLE not in os.environ:
    return [str(i) for i in range(processes)]
  return gpus.shown(os.environ[gpus.VISIBLE])[:processes]


class Parser(argparse.ArgumentParser):
  """A parser whose errors are one line."""

  def error(self, message: str) -> NoReturn:
    """Raises InputError; argparse calls this."""
    raise InputError(message)


def parsed(argv: list[str] | None) -> argparse.Namespace:
  """The parsed command line; raises InputError for a wrong one."""
  parser = Parser(description="Several processes of one run.")
  parser.add_argument("--processes", type=int, default=2)
  parser.add_argument(
    "--gpus", action="store_true", help="one for each process"
  )
  parser.add_argument("--dry_run", action="store_true", help="only print")
  parser.add_argument("--starts", type=int, default=100, help="at most")
  parser.add_argument("--module", default="unirep.main", help="to run")
  parser.add_argument("arguments", nargs="*", help="of the module, after --")
  args = parser.parse_args(argv)
  if args.processes < 1 or args.starts < 1:
    raise InputError("--processes and --starts must be at least 1")
  if args.processes > MOST:
    raise InputError(f"--processes={args.processes} must be at most {MOST}")
  if args.gpus and len(own(args.processes)) < args.processes:
    shown = os.environ[gpus.VISIBLE]
    raise InputError(f"--processes={args.processes}: {gpus.VISIBLE}={shown!r}")
  return args


def main(argv: list[str] | None = None) -> int:
  """Starts the processes, and starts them again when they ask for it."""
  try:
    args = parsed(argv)
  except InputError as error:
    say(error, "launch")
    return error.exit_code
  children: list[subprocess.Popen] = []
  stopped = False  # by a signal

  def end(number, _):
    nonlocal stopped
    stopped = True
    for child in children:
      child.send_signal(number)

  for number in signals.asked():
    signal.signal(number, end)
  code = 0
  for start in range(args.starts):
    if start:
      sys.stderr.write(f"launch: start {start + 1}\n")
    children.clear()
    for name, value, line in commands(args):
      if args.dry_run:
        print(f"{name}={value}", shlex.join(line))
      else:
        environment = os.environ | {name: value}
        children.append(subprocess.Popen(line, env=environment))
    code = watch(children)
    if code != AGAIN or stopped:
      break
  return code


if __name__ == "__main__":
  streams.guard()
  sys.exit(main())
