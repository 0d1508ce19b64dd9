"""100,000 clips become codes: in little memory, after two kills, by two."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from test_main import ROOT, environment
from test_processes import launch

from unirep.data.procedural.synthetic import SyntheticEvents

pytestmark = pytest.mark.slow
COUNT = 100_000


@pytest.fixture(scope="module")
def features(tmp_path_factory):
  """A folder of .npy files; rows repeat those of some samples."""
  folder = tmp_path_factory.mktemp("large") / "features"
  (folder / "label").mkdir(parents=True)
  source = SyntheticEvents(size=64)
  samples = [source[i]["features"] for i in range(64)]
  draw = np.random.default_rng(0)
  for m in ("audio", "text"):
    x = np.stack([s[m] for s in samples])
    rows = np.lib.format.open_memmap(
      folder / f"{m}.npy", "w+", np.float16, (COUNT, *x.shape[1:])
    )
    for first in range(0, COUNT, 1000):
      rows[first : first + 1000] = x[draw.integers(64, size=1000)]
  np.save(folder / "label" / "class.npy", draw.integers(0, 10, COUNT))
  return folder


def line(trained, features, workdir, processes=1):
  arguments = (
    "--config=configs/tokenize.py",
    f"--config.checkpoint={trained}",
    f"--config.features={features}",
    f"--workdir={workdir}",
  )
  if processes == 1:
    return [sys.executable, "-m", "unirep.main", *arguments]
  head = launch(processes)[: launch(processes).index("--") + 1]
  return [*head, *arguments]


def content(workdir):
  folder = workdir / "codes"
  return {
    x.relative_to(folder).as_posix(): x.read_bytes() if x.is_file() else None
    for x in folder.rglob("*")
  }


def test_little_memory_two_kills_and_two_processes(trained, features, tmp_path):
  whole = tmp_path / "whole"
  done = subprocess.Popen(
    line(trained, features, whole), cwd=ROOT, env=environment()
  )
  _, code, used = os.wait4(done.pid, 0)
  assert code == 0
  assert used.ru_maxrss < 2 * 2**20, f"{used.ru_maxrss} kB"
  wanted = content(whole)
  assert sorted(wanted) == [
    "features",
    "features/00000.npz",
    "features/00001.npz",
  ]

  killed = tmp_path / "killed"
  for count in (3, 9):
    process = subprocess.Popen(
      line(trained, features, killed), cwd=ROOT, env=environment()
    )
    while process.poll() is None and len(parts(killed)) < count:
      time.sleep(0.01)
    assert process.poll() is None, "it ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
  subprocess.run(
    line(trained, features, killed), cwd=ROOT, env=environment(), check=True
  )
  assert content(killed) == wanted

  two = tmp_path / "two"
  subprocess.run(
    line(trained, features, two, 2),
    cwd=ROOT,
    env=environment(processes=2),
    check=True,
  )
  assert content(two) == wanted


def parts(workdir):
  return [*(workdir / "codes").glob("*/*.parts/*.npz")]
