"""Memory of a run on features that are larger than memory.

python -m benchmarks.disk --folder=/tmp/big --workdir=/tmp/run --workers=2

Makes sparse float16 files of 20.8 GB in `folder`, unless they exist; they take
no room. Prints the time to open them and the time to the first batch. Then it
trains and evaluates as a user would, and prints the peak memory of the process
and its workers in each part. Arguments behind `--` go to that command too.
Linux alone.
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
EVERY = 0.1  # seconds between two samples


def write(folder: pathlib.Path, clips: int) -> None:
  """A folder of .npy files, as docs/data.md has it."""
  (folder / "label").mkdir(parents=True)
  for m, shape in inputs.PAPER.items():
    path = folder / f"{m}.npy"
    np.lib.format.open_memmap(path, "w+", np.float16, (clips, *shape))
  np.save(folder / "label" / "class.npy", np.arange(clips) % 5)


def first_batch(folder: pathlib.Path, workers: int) -> None:
  """Prints the time to open the files, and the time to the first batch."""
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
  """Yields a process and all its descendants."""
  yield pid
  for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
    for child in (thread / "children").read_text().split():
      yield from family(int(child))


def resident(pid: int) -> tuple[int, int]:
  """Bytes of a process: all, and with shared ones split evenly."""
  rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
  sizes = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB", rollup, re.M))
  return 1024 * int(sizes.get("Rss", 0)), 1024 * int(sizes.get("Pss", 0))


class Watch(threading.Thread):
  """Samples the memory of a process and its workers until it ends.

  Attributes:
    most: peak bytes of all together since `reset`; shared ones count once.
    largest: peak bytes of the largest process, with all that it shares.
  """

  def __init__(self, pid: int):
    super().__init__(daemon=True)
    self._pid = pid
    self.reset()

  def reset(self) -> None:
    """Forgets earlier peaks."""
    self.most = self.largest = 0

  def run(self) -> None:
    """Samples every `EVERY` seconds."""
    while True:
      try:
        held = [resident(pid) for pid in family(self._pid)]
      except OSError:  # a process has just ended
        held = []
      self.most = max(self.most, sum(split for _, split in held))
      self.largest = max([self.largest, *(whole for whole, _ in held)])
      time.sleep(EVERY)


def main(argv=None):
  """Prints a row for each part: peak memory, and the time in seconds."""
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
    sys.executable,
    "-um",
    "unirep.main",
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
