"""Extraction: seconds of media a second.

python -m benchmarks.extract --media=FILE.mp4

Runs copies of a file through each extractor that fits it, with 0, 1 and 2
worker processes, whose start counts too. Prints captions a second for text.
"""

import argparse
import pathlib
import shutil
import tempfile
import time

from unirep.extract import (
  clips,
  containers,
  features,
  registry,
  samples,
  store,
)
from unirep.extract.features import Settings
from unirep.extract.registry import EXTRACTORS
from unirep.runtime.errors import InputError

TAKES = {"image": "video", "waveform": "audio"}


def speed(media, name, m, copies, workers, length):
  """Seconds of media a second through one extractor."""
  with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    (place / "in").mkdir()
    for i in range(copies):
      shutil.copy(media, place / "in" / f"{i:04}{media.suffix}")
    steps = max(1, int(length))
    front = features.front(Settings({m: name}, 1.0, steps, 1, "float16"))
    listed = samples.find(str(place / "in"), clips.columns(front.plan.needs))
    clip = clips.read(listed[0], front.plan)
    if isinstance(clip, clips.Failure):
      raise InputError(f"{media}: {clip.reason}")
    features.compute(front, clip)  # compiles
    began = time.perf_counter()
    options = {"workers": workers, "timeout": 600}
    store.write(samples.divide(listed, {}), front, place, **options)
    return copies * steps / (time.perf_counter() - began)


def captions(extractor):
  """Captions a second, one at a time."""
  run = extractor.load().run
  texts = [f"{n} people wait at a bus stop in the rain" for n in range(200)]
  run(texts[:1])  # compiles
  began = time.perf_counter()
  for text in texts:
    run([text])
  return len(texts) / (time.perf_counter() - began)


def main(argv=None):
  """Prints a row for each extractor."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--media", required=True, type=pathlib.Path)
  parser.add_argument("--copies", type=int, default=64)
  parser.add_argument("--extractors", nargs="*", default=[*EXTRACTORS])
  args = parser.parse_args(argv)
  length = containers.duration(str(args.media))
  print("| extractor | 0 workers | 1 worker | 2 workers |")
  print("|---|---|---|---|")
  for name in args.extractors:
    try:
      extractor = registry.extractor("extractors", name)
      if extractor.takes == "text":
        rates = [captions(extractor)]
      elif extractor.takes in TAKES:
        rates = [
          speed(
            args.media, name, TAKES[extractor.takes], args.copies, n, length
          )
          for n in (0, 1, 2)
        ]
      else:
        continue
    except InputError as error:
      print(f"left out: {error}")
      continue
    print(f"| {name} | {' | '.join(f'{x:.0f}' for x in rates)} |")


if __name__ == "__main__":
  main()
