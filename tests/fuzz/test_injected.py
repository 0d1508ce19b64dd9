"""Sixty faults of machines: what is left goes on to the undisturbed run's bits.

A library between the program and the system (`faulty.c`) lets calls fail that
have a path of the run in them, whoever makes them: Python, Orbax, TensorStore.
Beside the run lie files of somebody else, which must be there in the end as
they were.
"""

import errno
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from test_main import (
  assert_equal_runs,
  checkpoints,
  command,
  environment,
  logged,
)

from unirep.jobs import workdir as workdirs
from unirep.train import digests

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
pytestmark = pytest.mark.slow

ARGUMENTS = (
  *("--config.data.train_size=32", "--config.data.test_size=16"),
  *("--config.steps=8", "--config.checkpoint_every=2"),
  *("--config.checkpoints_kept=2", "--config.checkpoint_seconds=0"),
)
FOREIGN = {
  "notes.txt": "mine",
  ".hidden": "also mine",
  "checkpoints/2024/thesis.txt": "years of work",
  "checkpoints/readme.txt": "do not delete",
  "checkpoints/3/model.bin": "not a checkpoint",
  "codes/mine.npz": "no codes",
  "quarantine/checkpoint-2/old": "from another day",
  "summary.json.part": "a half",
  "tensorboard/mine.txt": "a curve",
}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
  """The faults, compiled."""
  compiler = shutil.which("cc")
  if not compiler:
    pytest.skip("no C compiler")
  path = tmp_path_factory.mktemp("faulty") / "faulty.so"
  source = os.path.join(HERE, "faulty.c")
  line = [compiler, "-O1", "-shared", "-fPIC", "-o", path, source, "-ldl"]
  subprocess.run(line, check=True)
  return path


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("injected") / "run"
  done = start(workdir).wait()
  assert done == 0
  return workdir


def start(workdir, *arguments, **faults):
  """A run, with these variables in its environment."""
  with open(f"{workdir}.log", "a") as log:
    return subprocess.Popen(
      command(*ARGUMENTS, *arguments, f"--workdir={workdir}"),
      cwd=ROOT,
      env=environment() | {k: str(v) for k, v in faults.items()},
      stdout=log,
      stderr=subprocess.STDOUT,
    )


@pytest.fixture
def workdir(reference, tmp_path):
  """A run that has not begun, and files of somebody else in its directory."""
  place = tmp_path / "run"
  place.mkdir()
  shutil.copy(reference / workdirs.CONFIG, place)
  for name, text in FOREIGN.items():
    path = place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  return place


def said(workdir):
  with open(f"{workdir}.log") as log:
    return log.read()


def faulted(workdir, library, op, path, code, first=0, count=1, **more):
  """The exit code of a run with a fault."""
  process = start(
    workdir,
    LD_PRELOAD=library,
    FAULT_OP=op,
    FAULT_PATH=path,
    FAULT_FROM=first,
    FAULT_COUNT=count,
    FAULT_ERRNO=code,
    **more,
  )
  code = process.wait(timeout=300)
  text = said(workdir)
  assert "Traceback" not in text, text
  return code


def goes_on(workdir, reference):
  """The same command, without faults, ends as the undisturbed run did."""
  assert start(workdir).wait(timeout=300) == 0, said(workdir)
  assert "Traceback" not in said(workdir)
  assert_equal_runs(reference, workdir)
  assert logged(reference) == logged(workdir)
  for name, text in FOREIGN.items():
    assert (workdir / name).read_text() == text, name


def wait_for(process, condition):
  while process.poll() is None and not condition():
    time.sleep(0.005)


def lines(workdir):
  path = workdir / "metrics.jsonl"
  return path.read_text().count("\n") if path.exists() else 0


@pytest.mark.parametrize("seed", range(12))
def test_killed(reference, workdir, seed):
  draw = random.Random(seed)
  process, after = start(workdir), draw.randint(0, 7)
  wait_for(process, lambda: lines(workdir) >= after)
  time.sleep(draw.random())
  process.kill()
  process.wait()
  goes_on(workdir, reference)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seconds", [0.5, 2, 4, 6, 8])
def test_asked_to_end(reference, workdir, number, seconds):
  process = start(workdir)
  time.sleep(seconds)
  if process.poll() is None:
    process.send_signal(number)
  assert process.wait(timeout=120) in (0, 75, -number, 130), said(workdir)
  goes_on(workdir, reference)


WRITING = [
  ("open", "run/checkpoints/", errno.EIO, 20),
  ("open", "run/checkpoints/", errno.ENOSPC, 60),
  ("open", "run/checkpoints/4", errno.EACCES, 0),
  ("write", "run/checkpoints/", errno.EIO, 3),
  ("write", "run/checkpoints/", errno.ENOSPC, 10),
  ("write", "run/checkpoints/2", errno.EDQUOT, 0),
  ("write", "ocdbt", errno.ENOSPC, 5),
  ("write", "run/checkpoints/", errno.EINTR, 2),
  ("write", "run/checkpoints/", 0, 0),
  ("fsync", "run/checkpoints/", errno.EIO, 1),
  ("rename", "run/checkpoints/", errno.EIO, 0),
  ("rename", "run/checkpoints/4", errno.ENOSPC, 0),
  ("rename", "digests", errno.EIO, 1),
  ("unlink", "run/checkpoints/", errno.EIO, 0),
  ("open", "metrics.jsonl", errno.EINTR, 0),
  ("write", "metrics.jsonl", errno.ENOSPC, 2),
  ("write", "metrics.jsonl", 0, 0),
  ("open", "tensorboard", errno.EIO, 0),
  ("open", "codes/", errno.EIO, 0),
  ("write", "summary.json", errno.EIO, 0),
  ("rename", "summary.json", errno.EIO, 0),
  ("write", "report.png", errno.ENOSPC, 0),
  ("open", "config.json", errno.EIO, 1),
]


@pytest.mark.parametrize(("op", "path", "code", "first"), WRITING)
def test_a_call_fails_while_it_runs(
  reference, workdir, library, op, path, code, first
):
  count = 1 if code else 10**6
  ended = faulted(workdir, library, op, path, code, first, count)
  assert ended in (0, 1, 2), said(workdir)
  goes_on(workdir, reference)


READING = [
  ("open", "run/checkpoints/", errno.EIO, 4),
  ("open", "model/_METADATA", errno.EIO, 0),
  ("open", "digests.json", errno.EIO, 0),
  ("read", "run/checkpoints/", errno.EIO, 2),
  ("read", "ocdbt", errno.EIO, 8),
  ("read", "run/checkpoints/", errno.EINTR, 2),
  ("read", "run/checkpoints/", 0, 0),
  ("read", "run/checkpoints/", -1, 0),
  ("read", "metrics.jsonl", errno.EIO, 0),
]


@pytest.mark.parametrize(("op", "path", "code", "first"), READING)
def test_a_call_fails_while_it_resumes(
  reference, workdir, library, op, path, code, first
):
  process = start(workdir)
  wait_for(process, lambda: lines(workdir) >= 5)
  process.terminate()
  assert process.wait(timeout=120) in (0, 75)
  there = [x.name for x in checkpoints(workdir)]
  count = 1 if code > 0 else 20
  ended = faulted(workdir, library, op, path, code, first, count)
  assert ended in (0, 1, 2), said(workdir)
  if ended:
    assert {*there} <= {x.name for x in checkpoints(workdir)}, "none is lost"
  goes_on(workdir, reference)


@pytest.mark.parametrize("skew", [-(10**8), 10**8])
def test_the_clock_is_wrong(reference, workdir, library, skew):
  faulted(workdir, library, "clock", "", 0, FAULT_SKEW=skew)
  goes_on(workdir, reference)


@pytest.mark.parametrize("seed", range(3))
def test_the_lock_is_deleted_and_another_run_comes(reference, workdir, seed):
  one = start(workdir)
  wait_for(one, lambda: lines(workdir) >= seed + 1)
  (workdir / workdirs.LOCK).unlink()
  two = start(workdir)
  codes = one.wait(timeout=300), two.wait(timeout=300)
  assert {*codes} <= {0, 2}, said(workdir)
  assert 0 in codes, said(workdir)
  goes_on(workdir, reference)


@pytest.mark.parametrize("seed", range(4))
def test_a_file_is_cut(reference, workdir, seed):
  process, root = start(workdir), workdir / "checkpoints"
  wait_for(process, lambda: len(digests.known(root)) >= 2)
  process.kill()
  process.wait()
  newest = root / max(digests.known(root), key=int)
  files = sorted(x for x in newest.rglob("*") if x.is_file())
  draw = random.Random(seed)
  path = draw.choice([x for x in files if x.stat().st_size])
  os.truncate(path, path.stat().st_size // 2)
  goes_on(workdir, reference)


def test_two_runs_in_one_directory(reference, tmp_path):
  """Fifty times, at random offsets: one wins, the other ends at once with 2."""
  draw = random.Random(0)
  for i in range(50):
    workdir = tmp_path / str(i)
    began = time.monotonic()
    one = start(workdir, "--config.steps=2")
    time.sleep(draw.random() * 3)
    two = start(workdir, "--config.steps=2")
    wait_for(one, lambda two=two: two.poll() is not None)
    waited = time.monotonic() - began
    codes = sorted([one.wait(timeout=300), two.wait(timeout=300)])
    text = said(workdir)
    assert codes == [0, 2], text
    assert text.count("is in use by process") == 1, text
    assert waited < 60, "far from the end of the other"
    assert len(logged(workdir)) == 2
