"""Broken files given to readers, in processes that may die of them.

As a program it reads some files, and says a line of each: python -m fuzz.trial
TARGET FIRST LAST.
"""

import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

SECONDS = 10  # that a file may take
MEMORY = 3 * 2**29  # bytes that it may take: the cap and half of it
SEED = 0
ROOT = pathlib.Path(__file__).parents[2]


class Result(NamedTuple):
  """What came of the files of one target.

  Attributes:
    refused: how many were.
    accepted: likewise, for what they say.
    wrong: number of a file -> what is wrong with how it was taken.
    peak: bytes above what an idle process takes.
    slowest: seconds.
  """

  refused: int
  accepted: int
  wrong: dict[int, str]
  peak: int
  slowest: float


def run(name, count):
  """Gives a target `count` files."""
  said, wrong, first = {}, {}, 0
  while first < count:
    lines, code = _child(name, first, count)
    said |= {line["number"]: line for line in lines}
    first = max([first - 1, *(x["number"] for x in lines)]) + 1
    if first < count:
      wrong[first] = f"ended its process ({code})"
      first += 1
  wrong |= {i: x["wrong"] for i, x in said.items() if x["wrong"]}
  fine = [x for x in said.values() if not x["wrong"]]
  return Result(
    sum(x["refused"] for x in fine),
    sum(not x["refused"] for x in fine),
    wrong,
    max((x["peak"] for x in said.values()), default=0),
    max((x["seconds"] for x in said.values()), default=0.0),
  )


def _child(name, first, last):
  path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
  command = sys.executable, "-m", "fuzz.trial", name, str(first), str(last)
  done = subprocess.run(
    command,
    capture_output=True,
    check=False,
    cwd=ROOT,
    env=os.environ | {"PYTHONPATH": path},
  )
  lines = [json.loads(x) for x in done.stdout.splitlines() if x[-1:] == b"}"]
  assert lines or done.returncode < 0, done.stderr.decode()[-2000:]
  return lines, done.returncode


def main(name, first, last):
  from fuzz import mutations, targets

  target = targets.TARGETS[name]
  with tempfile.TemporaryDirectory() as folder:
    good = _read(target, pathlib.Path(folder), target.data)
    _limit()
    idle = _peak()
    for number in range(first, last):
      data = mutations.mutated(target.data, SEED, *name.encode(), number)
      signal.alarm(SECONDS)  # which ends the process
      began = time.perf_counter()
      refused, wrong = _judged(target, pathlib.Path(folder), data, good)
      signal.alarm(0)
      line = {
        **{"number": number, "refused": refused, "wrong": wrong},
        "seconds": time.perf_counter() - began,
        "peak": _peak() - idle,
      }
      print(json.dumps(line), flush=True)


def _read(target, folder, data):
  with tempfile.TemporaryDirectory(dir=folder) as place:
    path = pathlib.Path(place, target.name)
    path.write_bytes(data)
    return target.read(path)


def _judged(target, folder, data, good):
  """Whether a file was refused, and what is wrong with that, if anything."""
  import oneline
  from fuzz import targets

  try:
    found = _read(target, folder, data)
  except targets.REFUSED as error:
    text = getattr(error, "reason", None) or str(error)
    try:
      oneline.check(text)
    except AssertionError as broken:
      return True, f"says {broken}"
    return True, ""
  except Exception as error:
    return True, f"raised {type(error).__name__}: {error}"
  right = _same(found, good) if target.right is None else None
  right = target.right(data, found) if right is None else right
  return False, "" if right else "was taken for something else"


def _same(found, good):
  return found.keys() == good.keys() and all(
    x.dtype == good[key].dtype
    and x.shape == good[key].shape
    and x.tobytes() == good[key].tobytes()
    for key, x in found.items()
  )


def _peak():
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _limit():
  pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
  most = pages * resource.getpagesize() + MEMORY
  resource.setrlimit(resource.RLIMIT_AS, (most, most))
  signal.signal(signal.SIGALRM, signal.SIG_DFL)


if __name__ == "__main__":
  main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
