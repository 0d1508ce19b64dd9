"""Features larger than memory: what does a run on them hold?

python -m benchmarks.disk --folder=/tmp/big --workdir=/tmp/run --workers=2

Makes sparse float16 files of 20.8 GB, which take no room, unless they are in
`folder`. Prints how long opening them and the first batch take, then trains and
evaluates as a user would, and prints what the process and its workers held at
most, in each part of it. What follows `--` goes to that command too. Linux.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import inputs
from unirep.configs import pretrain
from unirep.jobs import preparation

CLIPS, STEPS, HELD_OUT = 40_000, 20, 0.002
EVERY = 0.1  # seconds between two looks


def write(folder: pathlib.Path, clips: int) -> None:
  """A folder of .npy files, as docs/data.md has it."""
  (folder / "label").mkdir(parents=True)
  for m, shape in inputs.PAPER.items():
    path = folder / f"{m}.npy"
    np.lib.format.open_memmap(path, "w+", np.float16, (clips, *shape))
  np.save(folder / "label" / "class.npy", np.arange(clips) % 5)


def first_batch(folder: pathlib.Path, workers: int) -> None:
  """Prints how long it takes, from nothing."""
  config: Any = pretrain.get_config("data=arrays")
  config.data.update({"path": str(folder), "holdout": HELD_OUT})
  config.workers, began = workers, time.perf_counter()
  job = preparation.prepare(config)
  opened = time.perf_counter()
  next(job.batches)
  print(
    f"opened after {opened - began:.2f} s, first batch of {job.batch_size}"
    f" {time.perf_counter() - opened:.2f} s later",
    flush=True,
  )
  job.batches.close()


def family(pid: int) -> Iterator[int]:
  """A process and all below it."""
  yield pid
  for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
    for child in (thread / "children").read_text().split():
      yield from family(int(child))


def resident(pid: int) -> tuple[int, int]:
  """Bytes, and what they are if those that several share are split evenly."""
  rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
  found = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", rollup, re.M))
  return 1024 * int(found.get("Rss", 0)), 1024 * int(found.get("Pss", 0))


class Watch(threading.Thread):
  """Looks at a process and its workers until it ends.

  Attributes:
    most: bytes of all since the last `reset`; shared ones count once.
    largest: bytes of the largest one, likewise, with all that it shares.
  """

  def __init__(self, pid: int):
    super().__init__(daemon=True)
    self._pid = pid
    self.reset()

  def reset(self) -> None:
    """Forgets what was held before."""
    self.most = self.largest = 0

  def run(self) -> None:
    """Looks, again and again."""
    while True:
      try:
        held = [resident(pid) for pid in family(self._pid)]
      except OSError:  # one has just ended
        held = []
      self.most = max(self.most, sum(split for _, split in held))
      self.largest = max([self.largest, *(whole for whole, _ in held)])
      time.sleep(EVERY)


def main(argv=None):
  """Prints a row a part: what was held, and after how many seconds."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--folder", type=pathlib.Path, required=True)
  parser.add_argument("--workdir", required=True)
  parser.add_argument("--workers", type=int, default=0)
  parser.add_argument("--clips", type=int, default=CLIPS)
  parser.add_argument("--steps", type=int, default=STEPS)
  args, more = parser.parse_known_args(argv)
  if not (args.folder / "label" / "class.npy").exists():
    write(args.folder, args.clips)
  first_batch(args.folder, args.workers)
  command = [
    *(sys.executable, "-u", "-m", "unirep.main"),
    "--config=configs/pretrain.py:data=arrays",
    f"--config.data.path={args.folder}",
    f"--config.data.holdout={HELD_OUT}",
    f"--config.workers={args.workers}",
    f"--config.steps={args.steps}",
    f"--workdir={args.workdir}",
    *(x for x in more if x != "--"),
  ]
  print(*command, flush=True)
  began = time.perf_counter()
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
    watch = Watch(process.pid)
    watch.start()

    def tell(part):
      print(
        f"{part}: {watch.largest / 1e9:.2f} GB in the largest process,"
        f" {watch.most / 1e9:.2f} in all, after"
        f" {time.perf_counter() - began:.0f} s",
        flush=True,
      )
      watch.reset()

    for line in process.stdout or ():
      if f"step {args.steps}/{args.steps}" in line:
        tell("trained")
    tell("evaluated")
  print(f"exit code {process.returncode}")
  return process.returncode


if __name__ == "__main__":
  sys.exit(main())
