"""Faults of machines: each run ends as if nothing had happened.

Every case runs the command line, breaks something, runs it again, and compares
all arrays of the last checkpoint and all metrics with those of a run that
nothing happened to. Equal means equal in every bit, as long as the number of
processes and devices stays.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
from test_main import (
  ROOT,
  assert_equal_runs,
  checkpoints,
  command,
  environment,
  final_state,
  logged,
)
from test_main import run as run_main
from test_processes import launch

pytestmark = pytest.mark.slow

ARGUMENTS = (
  *("--config.data.train_size=32", "--config.data.test_size=16"),
  *("--config.steps=12", "--config.checkpoint_every=3"),
  # So that a checkpoint has larger files than a report.
  *("--config.checkpoints_kept=3", "--config.cpc.width=64"),
)
TWO = ("--config.steps=12", "--config.checkpoint_every=3")


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("faults") / "run"
  done = run_main(*ARGUMENTS, f"--workdir={workdir}")
  assert done.returncode == 0, done.stdout + done.stderr
  return workdir


@pytest.fixture(scope="module")
def reference_of_two(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("faults") / "two"
  assert two(workdir).wait() == 0
  return workdir


def begin(line, devices=1, processes=1, **options):
  """Starts a run whose output can be read."""
  return subprocess.Popen(
    line,
    cwd=ROOT,
    env=environment(devices, processes),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    **options,
  )


def one(workdir, *arguments, devices=1, **options):
  line = command(*ARGUMENTS, *arguments, f"--workdir={workdir}")
  return begin(line, devices, **options)


def two(workdir, processes=2):
  line = launch(processes, *TWO, f"--workdir={workdir}")
  return begin(line, processes=processes)


def steps_logged(workdir):
  path = workdir / "metrics.jsonl"
  return path.read_text().count("\n") if path.exists() else 0


def wait_for(process, condition):
  while process.poll() is None and not condition():
    time.sleep(0.005)
  assert process.poll() is None, process.stdout.read()


def go_on(workdir, reference, *arguments):
  done = run_main(*ARGUMENTS, *arguments, f"--workdir={workdir}")
  assert done.returncode == 0, done.stdout + done.stderr
  assert_equal_runs(reference, workdir)
  assert logged(reference) == logged(workdir)
  return done


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_a_random_moment(reference, tmp_path, seed):
  draw, workdir = random.Random(seed), tmp_path / "run"
  process = one(workdir)
  after = draw.randint(0, 10)
  wait_for(process, lambda: steps_logged(workdir) >= after)
  time.sleep(draw.random() * 0.5)
  process.kill()
  process.wait()
  go_on(workdir, reference)


@pytest.mark.parametrize("step", [3, 6, 9])
def test_killed_while_a_checkpoint_is_written(reference, tmp_path, step):
  workdir = tmp_path / "run"
  process = one(workdir)

  def writing():
    names = (workdir / "checkpoints").glob(f"{step}.*")
    return any(True for _ in names)

  wait_for(process, writing)
  process.kill()
  process.wait()
  assert not (workdir / "checkpoints" / str(step)).exists()
  go_on(workdir, reference)
  assert not list((workdir / "checkpoints").glob("*tmp*"))


@pytest.mark.parametrize("after", [1, 4, 8])
def test_terminated(reference, tmp_path, after):
  workdir = tmp_path / "run"
  process = one(workdir)
  wait_for(process, lambda: steps_logged(workdir) >= after)
  process.terminate()
  output, _ = process.communicate()
  assert process.returncode == 75, output
  assert "asked to end" in output
  go_on(workdir, reference)


def damage(path, how):
  size = path.stat().st_size
  with path.open("r+b") as file:
    if how == "truncated":
      file.truncate(size // 2)
    else:
      file.seek(size // 2)
      byte = file.read(1)[0]
      file.seek(size // 2)
      file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("how", ["truncated", "flipped", "missing"])
@pytest.mark.parametrize("item", ["model", "train", "data"])
def test_damaged_checkpoint(reference, tmp_path, item, how):
  workdir = tmp_path / "run"
  shutil.copytree(reference, workdir)
  newest = max(checkpoints(workdir), key=lambda x: int(x.name))
  files = [x for x in (newest / item).rglob("*") if x.is_file()]
  largest = max(files, key=lambda x: x.stat().st_size)
  largest.unlink() if how == "missing" else damage(largest, how)
  done = go_on(workdir, reference)
  assert "is damaged" in done.stderr
  assert "after step 9" in done.stdout


def test_full_disk(reference, tmp_path):
  """No file may grow beyond 256 KiB: every checkpoint fails, nothing else."""

  def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, 2**18))

  workdir = tmp_path / "run"
  process = one(workdir, preexec_fn=limit)
  output, _ = process.communicate()
  assert process.returncode == 0, output
  assert output.count("training goes on") == 4
  assert not checkpoints(workdir), "nothing half-written is left"
  assert logged(workdir) == logged(reference)
  go_on(workdir, reference)


def test_full_disk_where_checkpoints_are_required(tmp_path):
  def limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, 2**18))

  process = one(
    tmp_path / "run", "--config.checkpoints_required", preexec_fn=limit
  )
  output, _ = process.communicate()
  assert process.returncode == 1, output
  line = output.strip().splitlines()[-1]
  assert line.startswith("unirep: no checkpoint of step 3: ")


@pytest.fixture
def small_disk(tmp_path):
  """A file system of its own, with room for a few checkpoints."""
  place = tmp_path / "disk"
  place.mkdir()
  mount = ["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(place)]
  if shutil.which("mount") is None or subprocess.run(mount).returncode:
    pytest.skip("only root may mount a file system")
  yield place
  subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place):
  """Leaves no byte of the disk free."""
  with (place / "ballast").open("wb", buffering=0) as file:
    try:
      while True:
        file.write(bytes(2**16))
    except OSError:
      pass


def test_disk_that_is_full_for_a_while(reference, small_disk):
  workdir = small_disk / "run"
  process = one(workdir)
  wait_for(process, lambda: (workdir / "checkpoints" / "3").exists())
  fill(small_disk)
  said = ""
  while "step 7/" not in said and process.poll() is None:
    said += process.stdout.readline()
  (small_disk / "ballast").unlink()
  output, _ = process.communicate(timeout=120)
  output = said + output
  assert process.returncode == 0, output
  assert "training goes on" in output
  assert_equal_runs(reference, workdir)
  assert logged(workdir) == logged(reference)


def test_disk_that_stays_full(reference, small_disk):
  workdir = small_disk / "run"
  process = one(workdir)
  wait_for(process, lambda: (workdir / "checkpoints" / "3").exists())
  fill(small_disk)
  output, _ = process.communicate(timeout=120)
  assert process.returncode == 1, output
  assert "training goes on" in output
  assert "Transfer across modalities" in output, (
    "the results are shown all the same"
  )
  assert "No space left on device" in output.strip().splitlines()[-1]
  (small_disk / "ballast").unlink()
  go_on(workdir, reference)


def test_place_that_turns_into_a_file(reference, tmp_path):
  workdir = tmp_path / "run"
  process = one(workdir)
  wait_for(process, lambda: (workdir / "checkpoints" / "6").exists())
  (workdir / "checkpoints").rename(workdir / "aside")
  (workdir / "checkpoints").write_text("in the way")
  output, _ = process.communicate()
  assert process.returncode == 0, output
  assert "training goes on" in output
  (workdir / "checkpoints").unlink()
  (workdir / "aside").rename(workdir / "checkpoints")
  go_on(workdir, reference)


def test_eight_devices_then_two_then_four(reference, tmp_path):
  workdir = tmp_path / "run"
  for devices, after in ((8, 2), (2, 6)):
    process = one(workdir, devices=devices)
    wait_for(process, lambda after=after: steps_logged(workdir) >= after)
    process.terminate()
    output, _ = process.communicate()
    assert process.returncode == 75, output
  done = run_main(*ARGUMENTS, f"--workdir={workdir}", devices=4)
  assert done.returncode == 0, done.stdout + done.stderr
  assert_close_runs(reference, workdir)


def assert_close_runs(one, other):
  """As far as rounding on other devices allows."""
  for mine, theirs in zip(logged(one), logged(other), strict=True):
    assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
  step, ours = final_state(one)
  other_step, theirs = final_state(other)
  assert step == other_step
  for name, value in theirs.items():
    if "codebook" in name:
      np.testing.assert_allclose(ours[name], value, atol=1e-4, err_msg=name)


# Two processes.


def pid_of(launcher, process):
  """The process with this number below the launcher."""
  found = subprocess.run(
    ["pgrep", "-P", str(launcher.pid), "-f", f"process_id={process}"],
    capture_output=True,
    text=True,
    check=True,
  )
  return int(found.stdout.split()[0])


def finish_two(workdir, reference):
  process = two(workdir)
  output, _ = process.communicate()
  assert process.returncode == 0, output
  assert_equal_runs(reference, workdir)
  assert logged(reference) == logged(workdir)


@pytest.mark.parametrize("after", [0, 5, 9])
@pytest.mark.parametrize("victim", [0, 1])
def test_one_of_two_is_killed(reference_of_two, tmp_path, victim, after):
  workdir = tmp_path / "run"
  launcher = two(workdir)
  wait_for(launcher, lambda: steps_logged(workdir) >= after)
  if after == 0:
    wait_for(launcher, lambda: (workdir / "config.json").exists())
  os.kill(pid_of(launcher, victim), signal.SIGKILL)
  began = time.monotonic()
  output, _ = launcher.communicate(timeout=180)
  assert time.monotonic() - began < 120
  assert launcher.returncode == 75, output
  assert f"process {victim} ended with signal 9" in output
  if victim == 1 and after:
    assert "process 1 of 2 did not answer" in output
  finish_two(workdir, reference_of_two)


@pytest.mark.parametrize("victim", [0, 1])
def test_one_of_two_gets_the_notice(reference_of_two, tmp_path, victim):
  workdir = tmp_path / "run"
  launcher = two(workdir)
  wait_for(launcher, lambda: steps_logged(workdir) >= 4)
  os.kill(pid_of(launcher, victim), signal.SIGTERM)
  output, _ = launcher.communicate(timeout=180)
  assert launcher.returncode == 75, output
  assert output.count("asked to end") == 2, "both stop at the same step"
  finish_two(workdir, reference_of_two)


def test_one_of_two_hangs(reference_of_two, tmp_path):
  workdir = tmp_path / "run"
  launcher = two(workdir)
  wait_for(launcher, lambda: steps_logged(workdir) >= 4)
  victim = pid_of(launcher, 1)
  os.kill(victim, signal.SIGSTOP)
  began = time.monotonic()
  output, _ = launcher.communicate(timeout=300)
  assert time.monotonic() - began < 200
  assert launcher.returncode == 75, output
  assert "unhealthy" in output or "did not answer" in output
  finish_two(workdir, reference_of_two)


def test_two_processes_then_one_then_four(reference_of_two, tmp_path):
  workdir = tmp_path / "run"
  for processes, after in ((2, 2), (1, 6)):
    process = two(workdir, processes)
    wait_for(process, lambda after=after: steps_logged(workdir) >= after)
    process.terminate()
    output, _ = process.communicate()
    assert process.returncode == 75, output
  process = two(workdir, 4)
  output, _ = process.communicate()
  assert process.returncode == 0, output
  assert_close_runs(reference_of_two, workdir)
