"""Several processes of one run on this machine: on CPU, or one a GPU.

python -m launch.local --processes=2 -- --config=configs/pretrain.py
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


def watch(children: list[subprocess.Popen]) -> int:
  """Waits for all, and returns how the first one failed, or 0."""
  code, end, codes = 0, float("inf"), [None]
  while None in codes:
    time.sleep(0.1)
    codes = [x.poll() for x in children]
    for i, failed in enumerate(codes):
      if failed and not code:
        code, end = max(failed, 0) or AGAIN, time.monotonic() + GRACE_SECONDS
        how = f"signal {-failed}" if failed < 0 else failed
        sys.stderr.write(f"launch: process {i} ended with {how}\n")
    _ = [x.kill() for x in children if time.monotonic() > end]
  return code


def main() -> int:
  """Starts the processes and waits for them."""
  parser = argparse.ArgumentParser(description="Several processes of one run.")
  parser.add_argument("--processes", type=int, default=2)
  parser.add_argument("--gpus", action="store_true", help="GPU i for process i")
  parser.add_argument("--dry_run", action="store_true", help="only print")
  parser.add_argument("arguments", nargs="*", help="of unirep.main, after --")
  args = parser.parse_args()
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    where = f"--coordinator=127.0.0.1:{free.getsockname()[1]}"
  main = [sys.executable, "-m", "unirep.main", *args.arguments, where]
  name, children = "CUDA_VISIBLE_DEVICES" if args.gpus else "JAX_PLATFORMS", []
  for i in range(args.processes):
    value = str(i) if args.gpus else "cpu"
    line = [*main, f"--num_processes={args.processes}", f"--process_id={i}"]
    if args.dry_run:
      print(f"{name}={value}", shlex.join(line))
      continue
    children.append(subprocess.Popen(line, env=os.environ | {name: value}))
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda n, _: [x.send_signal(n) for x in children])
  return watch(children)


if __name__ == "__main__":
  sys.exit(main())
