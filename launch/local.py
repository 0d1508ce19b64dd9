r"""Several processes of one run on this machine: CPU, or one a GPU.

python -m launch.local --processes=2 -- --config=configs/pretrain.py \
  --workdir=runs/two

What stands behind `--` goes to `python -m unirep.main`. When one process ends
badly the others are ended too, and a line names it. SIGTERM is passed on.
"""

import argparse
import os
import shlex
import signal
import socket
import subprocess
import sys
import time

GRACE_SECONDS = 30  # in which the others find out and end by themselves
AGAIN = 75  # a run that ends with it should be started again


def commands(processes: int, port: int, arguments: list[str], gpus: bool):
  """(environment changes, command) of each process."""
  for i in range(processes):
    env = {"CUDA_VISIBLE_DEVICES": str(i)} if gpus else {"JAX_PLATFORMS": "cpu"}
    where = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={processes}"]
    main = [sys.executable, "-m", "unirep.main", *arguments]
    yield env, [*main, *where, f"--process_id={i}"]


def watch(children: list[subprocess.Popen]) -> int:
  """Waits for all; ends the rest when one fails. Returns the first failure."""
  code, end = 0, None
  while running := [x for x in children if x.poll() is None]:
    time.sleep(0.1)
    for i, child in enumerate(children):
      if child.poll() and not code:
        code = AGAIN if child.returncode < 0 else child.returncode
        how = (
          f"signal {-child.returncode}" if child.returncode < 0 else f"{code}"
        )
        sys.stderr.write(f"launch: process {i} ended with {how}\n")
        end = time.monotonic() + GRACE_SECONDS
    if end and time.monotonic() > end:
      for child in running:
        child.kill()
  return code


def main() -> int:
  """Starts the processes and returns the first failure, or 0."""
  parser = argparse.ArgumentParser(description="Several processes of one run.")
  parser.add_argument("--processes", type=int, default=2)
  parser.add_argument("--gpus", action="store_true", help="GPU i for process i")
  parser.add_argument("--dry_run", action="store_true", help="only print")
  parser.add_argument("arguments", nargs="*", help="for unirep.main, behind --")
  args = parser.parse_args()
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  runs = list(commands(args.processes, port, args.arguments, args.gpus))
  if args.dry_run:
    for env, command in runs:
      print(*(f"{k}={v}" for k, v in env.items()), shlex.join(command))
    return 0
  children = [subprocess.Popen(c, env=os.environ | e) for e, c in runs]

  def pass_on(number: int, _: object) -> None:
    for child in children:
      child.send_signal(number)

  signal.signal(signal.SIGTERM, pass_on)
  signal.signal(signal.SIGINT, pass_on)
  return watch(children)


if __name__ == "__main__":
  sys.exit(main())
