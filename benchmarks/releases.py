"""Reading clips of a release: archives of pickles against what is converted.

python -m benchmarks.releases
python -m benchmarks.releases --clips=200 --workers=2

Both sides read the same clips of VGGSound-AVEL's size (noise of which half is
zero, as behind a ReLU), warm, in one process, and give float32. Prints samples
and MB of float32 a second, their ratio, and bytes a clip on disk. With workers
it also times batches of 8 through the pipeline of training.
"""

import json
import pathlib
import pickle
import tempfile
import time
import zipfile
from typing import Any

import numpy as np
from absl import app, flags
from rich.console import Console

from unirep.configs import data
from unirep.data import pipeline
from unirep.data.datasets import releases
from unirep.jobs import dispatch

CLIPS = flags.DEFINE_integer("clips", 40, "Clips.", lower_bound=10)
PASSES = flags.DEFINE_integer("passes", 3, "The best of so many.")
WORKERS = flags.DEFINE_integer("workers", 0, "Processes that load data.")
NAME, PROMPT = "race car", "The roar of a high-speed race car engine"


def write(folder: pathlib.Path, clips: int) -> dict[str, str]:
  """The layout of the release; where its parts are."""
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


def rate(source) -> dict[str, float]:
  """Samples and MB a second of one core, the best of some passes."""
  best, size = float("inf"), 0
  for _ in range(PASSES.value):
    began, size = time.process_time(), 0
    for i in range(len(source)):
      size += sum(x.nbytes for x in source[i]["features"].values())
    best = min(best, time.process_time() - began)
  return {"samples_s": len(source) / best, "mb_s": size / best / 1e6}


def batches(source) -> float:
  """Samples a second through the pipeline of training."""
  stream = pipeline.batches(
    source, batch_size=8, seed=0, num_workers=WORKERS.value
  )
  next(stream)
  count, began = 4 * len(source) // 8, time.perf_counter()
  for _ in range(count):
    next(stream)
  seconds = time.perf_counter() - began
  stream.close()
  return 8 * count / seconds


def main(argv: list[str]) -> None:
  """Prints it all."""
  del argv
  with tempfile.TemporaryDirectory() as made:
    folder = pathlib.Path(made)
    config: Any = data.get_config("convert,data=avel")
    config.data.update(write(folder, CLIPS.value))
    config.data.whole = False
    dispatch.run(config, folder / "converted", Console(quiet=True))
    options: dict[str, Any] = config.data.to_dict()
    both: dict[str, Any] = {"archives": options}
    both["converted"] = {**options, "converted": str(folder / "converted")}
    found: dict[str, Any] = {}
    for name, given in both.items():
      source = releases.source("avel", given, "clips", "train")
      found[name] = rate(source) | {"batches_samples_s": batches(source)}
    sizes = {"archives": "*/zip/*.zip", "converted": "converted/*/*/*record*"}
    for name, pattern in sizes.items():
      size = sum(x.stat().st_size for x in folder.glob(pattern))
      found[name]["bytes_a_clip"] = size / CLIPS.value
    pair = (found[x]["samples_s"] for x in ("converted", "archives"))
    found["ratio"] = next(pair) / next(pair)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
  app.run(main)
