"""The paper's whole pretraining, from files of its size to codes.

python -m benchmarks.whole --folder=/tmp/clips --workdir=/tmp/whole
python -m benchmarks.whole --folder=/tmp/clips --clips=2000 --steps=100 ...

Writes as many clips into `folder` as the paper trains on, unless they exist.
They are generated in float16 and of VGGSound-AVEL's size, of 141 events.
Then it trains `size=paper` on them as a user would, in bfloat16 and with all
clips in the memory of the devices, and prints the time at the end of each part.
Arguments behind `--` go to that command too.
"""

import argparse
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time

import numpy as np

from benchmarks import inputs

CLIPS, STEPS, EVENTS, HELD_OUT = 40_801, 2040, 141, 0.05
BLOCK = 64


def write(folder: pathlib.Path, clips: int) -> None:
  """A folder of .npy files, as docs/data.md has it."""
  (folder / "label").mkdir(parents=True)
  event_N = np.random.default_rng(0).integers(0, EVENTS, clips)
  for m, shape in inputs.PAPER.items():
    path = folder / f"{m}.npy"
    np.lib.format.open_memmap(path, "w+", np.float16, (clips, *shape))
  starts = range(0, clips, BLOCK)
  with multiprocessing.Pool() as pool:
    pool.starmap(fill, [(folder, i, event_N[i : i + BLOCK]) for i in starts], 1)
  np.save(folder / "label" / "class.npy", event_N)


def fill(folder: pathlib.Path, start: int, event_B: np.ndarray) -> None:
  """Some rows of all files: noise, and the event while it is on."""
  rng = np.random.default_rng([1, start])
  on_BxT = rng.random((len(event_B), 10)) < 0.7
  for m, shape in inputs.PAPER.items():
    centre_CxF = np.random.default_rng(len(m)).normal(size=(EVENTS, shape[-1]))
    x = rng.standard_normal((len(event_B), *shape), np.float32)
    seen = on_BxT if m != "text" else np.ones_like(on_BxT)
    mean = 2 * seen[:, :, None] * centre_CxF[event_B][:, None]
    mean = mean.reshape(*mean.shape[:2], *[1] * (x.ndim - 3), -1)
    x = x + mean.astype(np.float32)
    if x.ndim > 3:
      x = np.maximum(x, 0)  # as behind a ReLU
    rows = np.lib.format.open_memmap(folder / f"{m}.npy", "r+")
    rows[start : start + len(event_B)] = x


def main(argv=None):
  """Prints a row for each part, with the time in seconds."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--folder", type=pathlib.Path, required=True)
  parser.add_argument("--workdir", required=True)
  parser.add_argument("--clips", type=int, default=CLIPS, help="to learn from")
  parser.add_argument("--steps", type=int, default=STEPS)
  args, more = parser.parse_known_args(argv)
  if not (args.folder / "label" / "class.npy").exists():
    began = time.perf_counter()
    write(args.folder, round(args.clips / (1 - HELD_OUT)))
    print(f"clips are written after {time.perf_counter() - began:.0f} s")
  command = [
    sys.executable,
    "-m",
    "unirep.main",
    "--config=configs/pretrain.py:data=arrays,size=paper",
    f"--config.data.path={args.folder}",
    f"--config.data.holdout={HELD_OUT}",
    "--config.data.device_resident=True",
    "--config.dtype=bfloat16",
    f"--config.steps={args.steps}",
    f"--workdir={args.workdir}",
    *(x for x in more if x != "--"),
  ]
  print(*command, flush=True)
  began, last = time.perf_counter(), f"step {args.steps}/{args.steps}"
  wanted = (" on ", " samples, ", "compiled", last, "summary.json")
  environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
  with subprocess.Popen(
    command, stdout=subprocess.PIPE, text=True, env=environment
  ) as process:
    for line in process.stdout or ():
      if any(x in line for x in wanted):
        print(
          f"{time.perf_counter() - began:6.1f} s {line.strip()}", flush=True
        )
  print(f"{time.perf_counter() - began:6.1f} s exit code {process.returncode}")
  return process.returncode


if __name__ == "__main__":
  sys.exit(main())
