"""Speed of reading the clips of a release, for each way to store them.

python -m benchmarks.input
python -m benchmarks.input --clips=400 --workers=0,2

All ways give the same clips of VGGSound-AVEL's size as float32, from warm
caches; they are noise, half of it zero, as behind a ReLU. Prints a table: clips
a second of processor time, for one process that reads at random; and clips and
MB of float32 a second of wall time, in batches of training, by the number of
worker processes. From the memory of the devices no process reads.
"""

import pathlib
import pickle
import tempfile
import time
import zipfile
from typing import Any

import h5py
import jax
import numpy as np
from absl import app, flags
from rich.console import Console

from unirep.configs import data
from unirep.data import arrays, pipeline
from unirep.data.datasets import releases
from unirep.jobs import dispatch, pretrain
from unirep.parallel import mesh as meshes
from unirep.train import resident

CLIPS = flags.DEFINE_integer("clips", 160, "Clips.", lower_bound=10)
PASSES = flags.DEFINE_integer("passes", 3, "The best of so many.")
WORKERS = flags.DEFINE_list("workers", ["0", "2"], "Processes that load data.")
BATCH = 8
NAME, PROMPT = "race car", "The roar of a high-speed race car engine"


def write(folder: pathlib.Path, clips: int) -> dict[str, str]:
  """Writes clips in the layout of the release; returns its parts."""
  rng, labels = np.random.default_rng(0), folder / "labels"
  labels.mkdir()
  rows = ["category,video_id,split"]
  shapes = {"video": (10, 7, 7, 512), "audio": (10, 128)}
  for i in range(clips):
    rows.append(f"{NAME},clip{i:07d},{'val' if i == 0 else 'train'}")
    for m, shape in shapes.items():
      place = folder / m / "zip"
      place.mkdir(parents=True, exist_ok=True)
      x = np.maximum(rng.normal(size=shape).astype(np.float32), 0)
      path = place / f"{rows[-1].split(',')[1]}.zip"
      with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pkl", pickle.dumps(x.astype(np.float64), 3))
  (labels / "vggsound-avel40k.csv").write_text("\n".join(rows))
  (labels / "VggsoundAVEL40kCategories.txt").write_text(NAME)
  prompts = labels / "vggsoundCategories2Prompts.csv"
  prompts.write_text(f"label,prompt\n{NAME},{PROMPT}\n")
  return {"labels": str(labels), "features": str(folder)}


def h5(folder: pathlib.Path, source) -> pathlib.Path:
  """Writes the clips to an HDF5 file, a chunk each, maps as float16."""
  path = folder / "all.h5"
  with h5py.File(path, "w") as file:
    for m, x in source[0]["features"].items():
      kind = np.float16 if x.ndim > 3 else np.float32
      rows = np.stack([source[i]["features"][m] for i in range(len(source))])
      file.create_dataset(m, data=rows.astype(kind), chunks=(1, *x.shape))
  return path


def rate(source) -> float:
  """Clips a second of processor time, the best of several passes."""
  order = np.random.default_rng(0).permutation(len(source)).tolist()
  best = float("inf")
  for _ in range(PASSES.value):
    began = time.process_time()
    for i in order:
      source[i]
    best = min(best, time.process_time() - began)
  return len(source) / best


def fed(batches, count: int) -> float:
  """Clips a second of wall time that a feed brings to the devices."""
  jax.block_until_ready(next(batches))
  began = time.perf_counter()
  for _ in range(count):
    jax.block_until_ready(next(batches))
  return BATCH * count / (time.perf_counter() - began)


def row(console: Console, name: str, source, size: int) -> None:
  """Prints one way to store clips, with each number of workers."""
  console.print(f"| {name} | {rate(source):.0f} | ", end="")
  mesh, count = meshes.make(BATCH), 4 * len(source) // BATCH
  for workers in map(int, WORKERS.value):
    stream = pipeline.batches(
      source, batch_size=BATCH, seed=0, num_workers=workers
    )
    speed = fed(pretrain.on_devices(stream, mesh), count)
    stream.close()
    console.print(f"{speed:.0f} / {speed * size / 1e6:.0f} | ", end="")
  console.print()


def main(argv: list[str]) -> None:
  """Prints the table."""
  del argv
  console = Console(width=200, highlight=False)
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    config: Any = data.get_config("convert,data=avel")
    config.data.update(write(folder, CLIPS.value))
    config.data.whole = False
    dispatch.run(config, folder / "converted", Console(quiet=True))
    given: dict[str, Any] = config.data.to_dict()
    zips = releases.source("avel", given, "clips", "train")
    given["converted"] = str(folder / "converted")
    records = releases.source("avel", given, "clips", "train")
    size = sum(x.nbytes for x in zips[0]["features"].values())
    console.print(
      "| kept as | clips/s of a core | "
      + " | ".join(f"clips/s / MB/s, {n} workers" for n in WORKERS.value)
      + " |\n|"
      + "---|" * (2 + len(WORKERS.value))
    )
    row(console, "zip + pickle", zips, size)
    row(console, "HDF5", arrays.load(h5(folder, zips)), size)
    row(console, "ArrayRecord", records, size)
    mesh = meshes.make(BATCH)
    kept = resident.put(records, mesh)
    numbers = resident.Numbers(len(records))
    stream = pipeline.batches(numbers, batch_size=BATCH, seed=0)
    speed = fed(resident.batches(stream, kept, mesh), 4 * len(records) // BATCH)
    where = jax.devices()[0].device_kind
    console.print(
      f"| memory of the device ({where}) | | {speed:.0f} / "
      f"{speed * size / 1e6:.0f} | |"
    )


if __name__ == "__main__":
  app.run(main)
