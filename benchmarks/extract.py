"""Extraction: seconds of media a second.

python -m benchmarks.extract --media=FILE.mp4

Copies of a file through each extractor that takes what it has, with 0, 1 and 2
worker processes; to start these is a part of it. Captions are counted a second.
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
  """Seconds of media a second, of one extractor."""
  with tempfile.TemporaryDirectory() as folder:
    place = pathlib.Path(folder)
    (place / "in").mkdir()
    for i in range(copies):
      shutil.copy(media, place / "in" / f"{i:04}{media.suffix}")
    steps = max(1, int(length))
    made = features.front(Settings({m: name}, 1.0, steps, 1, "float16"))
    found = samples.find(str(place / "in"), clips.columns(made.plan.needs))
    clip = clips.read(found[0], made.plan)
    if isinstance(clip, clips.Failure):
      raise InputError(f"{media}: {clip.reason}")
    features.compute(made, clip)  # compiles
    began = time.perf_counter()
    options = {"workers": workers, "timeout": 600}
    store.write(samples.divide(found, {}), made, place, **options)
    return copies * steps / (time.perf_counter() - began)


def captions(made):
  """Captions a second, one by one as they come."""
  run = made.load().run
  texts = [f"{n} people wait at a bus stop in the rain" for n in range(200)]
  run(texts[:1])  # compiles
  began = time.perf_counter()
  for text in texts:
    run([text])
  return len(texts) / (time.perf_counter() - began)


def main(argv=None):
  """Prints a row an extractor."""
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
      made = registry.extractor("extractors", name)
      if made.takes == "text":
        rates = [captions(made)]
      elif made.takes in TAKES:
        rates = [
          speed(args.media, name, TAKES[made.takes], args.copies, n, length)
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
