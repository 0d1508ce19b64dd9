"""Search of a large gallery: unirep beside the flat index of faiss-cpu.

python -m benchmarks.retrieval
python -m benchmarks.retrieval --items=100000 --queries=1000

Both search the k best items of a gallery of random vectors, in a memory-mapped
file, for many queries. They run in turns, each in a process of its own, so that
a slow minute hits both. Prints seconds of the whole search, peak memory of the
process in GB, and the share of results that are equal. The index of faiss holds
a copy of the gallery; the time to make it is printed apart. Without faiss
(`pip install faiss-cpu`) unirep is measured alone.
"""

import argparse
import importlib.util
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

ROWS = 2**16  # of the gallery, written at a time


def make(folder, items, width, queries):
  """Writes a gallery and queries."""
  rng = np.random.default_rng(0)
  gallery = np.lib.format.open_memmap(
    folder / "gallery.npy", "w+", np.float32, (items, width)
  )
  for first in range(0, items, ROWS):
    part = gallery[first : first + ROWS]
    part[:] = rng.standard_normal(part.shape, np.float32)
  gallery.flush()
  np.save(
    folder / "query.npy", rng.standard_normal((queries, width), np.float32)
  )


def ours(gallery, query, k):
  """Indices from unirep, and seconds to get ready and to search."""
  from unirep.inference import nearest
  from unirep.inference.nearest import Items

  began = time.perf_counter()
  # Compiles: one chunk has the same program.
  nearest.search(Items(query), Items(gallery[: nearest.ITEMS]), k)
  ready = time.perf_counter()
  indices = nearest.search(Items(query), Items(gallery), k)[1]
  return indices, ready - began, time.perf_counter() - ready


def theirs(gallery, query, k):
  """Indices from faiss, and seconds to get ready and to search."""
  # Not a dependency of the tests: named, so that no type checker looks for it.
  faiss = importlib.import_module("faiss")

  began = time.perf_counter()
  index = faiss.IndexFlatIP(gallery.shape[1])
  index.add(np.ascontiguousarray(gallery))
  ready = time.perf_counter()
  indices = index.search(query, k)[1]
  return indices, ready - began, time.perf_counter() - ready


SIDES = {"unirep": ours, "faiss": theirs}


def one(folder, side, k):
  """Measures one side in this process, and prints it as JSON."""
  gallery = np.load(folder / "gallery.npy", mmap_mode="r")
  indices, ready, seconds = SIDES[side](
    gallery, np.load(folder / "query.npy"), k
  )
  np.save(folder / f"{side}.npy", indices)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  peak /= 2**30 if sys.platform == "darwin" else 2**20
  sys.stdout.write(json.dumps([ready, seconds, peak]))


def main(argv=None):
  """Prints a row for each side and round."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--items", type=int, default=1_000_000)
  parser.add_argument("--width", type=int, default=256)
  parser.add_argument("--queries", type=int, default=10_000)
  parser.add_argument("--k", type=int, default=10)
  parser.add_argument("--rounds", type=int, default=1)
  parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
  parser.add_argument("--folder", type=pathlib.Path, help="of the gallery")
  args = parser.parse_args(argv)
  if args.side:
    one(args.folder, args.side, args.k)
    return
  there = importlib.util.find_spec("faiss") is not None
  if not there:
    print("faiss is not installed (pip install faiss-cpu): unirep alone")
  with tempfile.TemporaryDirectory(dir=args.folder) as name:
    folder = pathlib.Path(name)
    make(folder, args.items, args.width, args.queries)
    print("| side | ready s | search s | peak GB |\n|---|---|---|---|")
    sides = [side for side in SIDES if there or side == "unirep"]
    for side in sides * args.rounds:
      line = [sys.executable, "-m", "benchmarks.retrieval", f"--k={args.k}"]
      line += [f"--side={side}", f"--folder={folder}"]
      done = subprocess.run(line, check=True, capture_output=True, text=True)
      ready, seconds, peak = json.loads(done.stdout)
      print(
        f"| {side} | {ready:.1f} | {seconds:.1f} | {peak:.2f} |", flush=True
      )
    if there:
      both = [np.sort(np.load(folder / f"{side}.npy"), 1) for side in sides]
      print(f"found alike: {100 * (both[0] == both[1]).mean():.2f} %")


if __name__ == "__main__":
  main()
