"""Signals at any moment: a line, 75, and a rerun that ends as if nothing was.

Each signal comes at moments from the first import to the last file.
"""

import os
import signal
import subprocess
import sys
import time

import oneline
import pytest
from test_main import (
  QUICK,
  ROOT,
  assert_equal_runs,
  command,
  environment,
  logged,
)

from unirep.runtime import signals

SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"]
MOMENTS = 12
ARGUMENTS = (*QUICK, "--config.steps=6")


def defaults():
  for name in SIGNALS:  # these tests may run under nohup
    signal.signal(signal.Signals[name], signal.SIG_DFL)


def start(line, **options):
  return subprocess.Popen(
    line,
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    preexec_fn=defaults,
    **options,
  )


def sleeping(what, **options):
  """The command line, with another program instead of a job."""
  code = (
    "import sys, time\nfrom unirep import main\n"
    f"main.run = lambda _: print('here', flush=True) or {what}\n"
    "main.main()\n"
  )
  options = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, **options}
  process = start([sys.executable, "-c", code], **options)
  assert process.stdout.readline() == "here\n"
  return process


@pytest.mark.parametrize("name", SIGNALS)
def test_the_door_ends_with_a_line(name):
  process = sleeping("time.sleep(60)")
  process.send_signal(signal.Signals[name])
  _, error = process.communicate(timeout=10)
  assert process.returncode == 75
  assert oneline.check(error.removesuffix("\n")) == (
    f"unirep: asked to end ({name}); the same command goes on"
  )


def test_who_reads_no_more_keeps_nobody():
  """A pipe that is full on both sides, and a process that hangs in it."""
  process = sleeping("[print('x' * 10**6, file=sys.stderr) for _ in '12345']")
  time.sleep(0.2)
  process.terminate()
  assert process.wait(10) == 75
  process.stdout.close()
  process.stderr.close()


def test_what_is_forked_is_not_the_program():
  """A child that is told to end is no word to its parent."""
  process = sleeping(
    "__import__('multiprocessing').get_context('fork').Process("
    "target=time.sleep, args=(60,)).start() or time.sleep(0.2) or "
    "[x.terminate() or x.join() for x in "
    "__import__('multiprocessing').active_children()] and 0"
  )
  _, error = process.communicate(timeout=20)
  assert (process.returncode, error) == (0, "")


def test_a_second_interrupt_ends_training_at_once():
  """Where the handler is training's, which a long step keeps waiting."""
  process = sleeping(
    "(__import__('signal').signal(2, lambda *_: None), "
    "print('set', flush=True), [time.sleep(0.1) for _ in range(300)])"
  )
  assert process.stdout.readline() == "set\n"
  process.send_signal(signal.SIGINT)
  time.sleep(0.3)
  assert process.poll() is None
  process.send_signal(signal.SIGINT)
  _, error = process.communicate(timeout=10)
  assert process.returncode == signals.INTERRUPTED == 130
  assert oneline.check(error.removesuffix("\n")).startswith("unirep: inter")


@pytest.mark.parametrize("code", [0, 2, 75])
def test_once_the_end_is_known_it_stays(code):
  """Also where Python itself ends, and has no handler any more."""
  process = sleeping(
    "__import__('atexit').register(lambda: print('end', flush=True) or "
    f"[time.sleep(0.01) for _ in range(40)]) and {code}"
  )
  assert process.stdout.readline() == "end\n"
  process.terminate()
  output, error = process.communicate(timeout=10)
  assert (process.returncode, output, error) == (code, "", "")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
  """A run, and the seconds that it takes where programs are compiled."""
  folder = tmp_path_factory.mktemp("signals")
  for name in ("cold", "warm"):
    began = time.monotonic()
    line = command(*ARGUMENTS, f"--workdir={folder / name}")
    process = start(line, env=environment())
    output, error = process.communicate()
    assert process.returncode == 0, output + error
  return folder / "warm", time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_at_any_moment(undisturbed, tmp_path, name, moment):
  reference, seconds = undisturbed
  workdir = tmp_path / "run"
  line = command(*ARGUMENTS, f"--workdir={workdir}")
  process = start(line, env=environment())
  time.sleep(0.3 + (seconds - 0.3) * moment / (MOMENTS - 1))
  process.send_signal(signal.Signals[name])
  _, error = process.communicate(timeout=60)
  assert process.returncode in ((0, 75) if moment > MOMENTS // 2 else (75,))
  said = [x for x in error.splitlines() if x and "Ctrl-C again" not in x]
  assert len(said) == (process.returncode == 75), error
  if said:
    assert oneline.check(said[0]).startswith(f"unirep: asked to end ({name})")
  process = start(line, env=environment())
  output, error = process.communicate()
  assert process.returncode == 0, output + error
  assert_equal_runs(reference, workdir)
  assert logged(reference) == logged(workdir)


@pytest.mark.slow
@pytest.mark.parametrize("job", ["evaluate", "retrieve", "toc", "tokenize"])
@pytest.mark.parametrize("moment", [0.3, 0.6, 0.9])
def test_other_jobs(undisturbed, tmp_path, job, moment):
  reference, _ = undisturbed
  arguments = [f"--config=configs/{job}.py", f"--workdir={tmp_path / 'out'}"]
  if job == "toc":
    arguments += [f"--config.codebook={reference}"]
  elif job == "tokenize":
    arguments += [f"--config.checkpoint={reference}"]
    arguments += [f"--config.features={features(tmp_path)}"]
  else:
    arguments[0] += ":size=tiny"
    arguments += [f"--config.checkpoint={reference}"]
  line = [sys.executable, "-m", "unirep.main", *arguments]
  began = time.monotonic()
  done = start(line, env=environment())
  output, error = done.communicate()
  seconds = time.monotonic() - began
  assert done.returncode == 0, output + error
  line[4] = f"--workdir={tmp_path / 'again'}"
  process = start(line, env=environment())
  time.sleep(seconds * moment)
  process.terminate()
  _, error = process.communicate(timeout=60)
  if process.returncode:
    assert process.returncode == 75
    oneline.check(error.removesuffix("\n"))


def features(folder):
  import numpy as np

  from unirep.configs import pretrain
  from unirep.data import pipeline, sources

  config = pretrain.get_config("size=tiny")
  config.data.train_size = config.data.test_size = 32
  _, test = sources.pair(config.data, config.modalities, config.fine)
  batch = pipeline.stack([test[i] for i in range(32)])
  np.savez(folder / "mine.npz", **batch["features"])
  return folder / "mine.npz"
