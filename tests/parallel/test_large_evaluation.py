"""20,000 clips are evaluated by two processes as by one, and after a kill."""

import json
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from test_main import ROOT, environment
from test_processes import launch, run

from unirep.inference import codes as coded

SIZES = (
  "--config.steps=2",
  "--config.data.train_size=20000",
  "--config.data.test_size=5000",
)
FOUND = ("cross_modal", "sharing", "codebook")


def parts(workdir):
  """Chunks that are finished -> when they were written."""
  found = {}
  for path in (workdir / "codes").glob("*.parts/*.npz"):
    try:
      found[path] = path.stat().st_mtime_ns
    except FileNotFoundError:  # they have just become one file
      continue
  return found


@pytest.mark.slow
def test_two_processes_that_were_killed_find_what_one_finds(tmp_path):
  one, two = tmp_path / "one", tmp_path / "two"
  run(1, *SIZES, f"--workdir={one}")
  codes = sorted((one / "codes").glob("*.npz"))
  assert len(codes) == 3
  for name in ("config.json", "checkpoints"):  # the same model, to the bit
    place = shutil.copytree if (one / name).is_dir() else shutil.copy
    two.mkdir(exist_ok=True)
    place(one / name, two / name)
  command = launch(2, *SIZES, f"--workdir={two}")
  options = {"cwd": ROOT, "env": environment(processes=2)}
  first = subprocess.Popen(command, start_new_session=True, **options)
  try:
    while len(parts(two)) < 2:
      assert first.poll() is None, "it ended before it was killed"
      time.sleep(0.01)
  finally:
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
  kept, seen = parts(two), {}
  assert not list((two / "codes").glob("*.npz"))
  second = subprocess.Popen(command, **options)
  while second.poll() is None:
    for path, written in parts(two).items():
      seen.setdefault(path, set()).add(written)
    time.sleep(0.01)
  assert second.returncode == 0
  for path, written in kept.items():
    assert seen[path] == {written}, "made again"
  for path in codes:
    ours, theirs = coded.read(two / "codes" / path.name), coded.read(path)
    for mine, other in zip(ours, theirs, strict=True):
      assert mine.keys() == other.keys()
      for name, x in other.items():
        np.testing.assert_array_equal(mine[name], x, err_msg=name)
  sizes = {
    path.name.split("-")[0]: len(coded.read(path)[1]["audio"]) for path in codes
  }
  assert sizes["train"] == 20_000
  results = [json.loads((x / "summary.json").read_text()) for x in (one, two)]
  for name in FOUND:
    assert results[0][name] == results[1][name], name
