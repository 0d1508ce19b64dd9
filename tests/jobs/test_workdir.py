"""A work directory is of one run, and what is not of a run is left alone."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time

import pytest
from rich.console import Console

from unirep.configuration import build
from unirep.data.release import inspection
from unirep.extract import assembly
from unirep.jobs import convert, dispatch, encoding
from unirep.jobs import workdir as workdirs
from unirep.runtime.errors import InputError
from unirep.train import log, restoring, tracking

HOLD = """
import pathlib, sys, time
from unirep.jobs import workdir as workdirs
place = pathlib.Path(sys.argv[1])
with workdirs.held(place):
  workdirs.claim(place, {"a": 1})
  print("held", flush=True)
  time.sleep(60)
"""


def holder(place):
  """Another process that has the directory."""
  line = [sys.executable, "-c", HOLD, str(place)]
  process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
  assert process.stdout.readline() == "held\n"
  return process


def test_another_process_is_refused_until_it_ends(tmp_path):
  process = holder(tmp_path)
  began = time.monotonic()
  with (
    pytest.raises(InputError, match=f"in use by process {process.pid} on"),
    workdirs.held(tmp_path),
  ):
    raise AssertionError
  assert time.monotonic() - began < 1
  process.kill()  # it has no chance to clean up
  process.wait()
  with workdirs.held(tmp_path):
    workdirs.claim(tmp_path, {"a": 1})
  with workdirs.held(tmp_path):  # it ends with the context
    workdirs.claim(tmp_path, {"a": 1})


def test_two_runs_of_one_process(tmp_path):
  with workdirs.held(tmp_path):
    workdirs.claim(tmp_path, {"a": 1})
    with (
      pytest.raises(InputError, match="another run of this process"),
      workdirs.held(tmp_path),
    ):
      raise AssertionError


def test_a_lock_that_somebody_deletes_is_taken_again_or_missed(tmp_path):
  with workdirs.held(tmp_path):
    workdirs.claim(tmp_path, {"a": 1})
    (tmp_path / workdirs.LOCK).unlink()
    workdirs.hold_on(tmp_path)
    assert (tmp_path / workdirs.LOCK).exists()
    workdirs.hold_on(tmp_path)
    (tmp_path / workdirs.LOCK).unlink()
    process = holder(tmp_path)
    with pytest.raises(InputError, match="in use by process"):
      workdirs.hold_on(tmp_path)
    process.kill()
    process.wait()


def test_a_file_system_without_locks_says_so(tmp_path, monkeypatch, caplog):
  def none(*_):
    raise OSError(37, "No locks available")

  monkeypatch.setattr(workdirs.fcntl, "lockf", none)
  with caplog.at_level(logging.WARNING), workdirs.held(tmp_path):
    workdirs.claim(tmp_path, {"a": 1})
  assert "cannot be locked (No locks available)" in caplog.text


def test_a_child_does_not_keep_the_lock(tmp_path):
  with workdirs.held(tmp_path):
    workdirs.claim(tmp_path, {"a": 1})
    child = os.fork()
    if not child:
      time.sleep(5)
      os._exit(0)
  with workdirs.held(tmp_path):
    workdirs.claim(tmp_path, {"a": 1})
  os.kill(child, 9)
  os.waitpid(child, 0)


def test_all_that_jobs_write_has_a_name_of_ours(trained):
  names = {x.name for x in trained.iterdir()}
  assert names <= {*workdirs.OURS, workdirs.CONFIG, workdirs.LOCK}
  others = (
    *(restoring.QUARANTINE, encoding.DATA, tracking.ID, convert.OFFICIAL),
    *(inspection.PROBLEMS, inspection.EXCLUDE, inspection.SUMMARY),
    *(assembly.FEATURES, assembly.FAILED, log.METRICS, log.BOARD),
  )
  assert {*others} <= {*workdirs.OURS}


@pytest.mark.parametrize("name", ["summary.json", "checkpoints", "report.png"])
def test_what_somebody_else_wrote_is_not_written_over(tmp_path, name):
  (tmp_path / name).mkdir()
  with pytest.raises(InputError, match=f"holds {name}, and no config.json"):
    workdirs.claim(tmp_path, {"a": 1})
  assert [x.name for x in tmp_path.iterdir()] == [name]


def test_other_data_are_refused_unless_allowed(tmp_path):
  old = {"a": 1, "identity": {"train": "5 samples, ab", "test": "same"}}
  new = {"a": 1, "identity": {"train": "5 samples, cd", "test": "same"}}
  workdirs.claim(tmp_path, old)
  with pytest.raises(InputError, match="was '5 samples, ab' and is '5 samp"):
    workdirs.check(tmp_path, new)
  workdirs.check(tmp_path, {**new, "allow_changed": True})
  # A sweep knows the configurations of its runs, and nothing of their data.
  workdirs.check(tmp_path, {"a": 1})
  with pytest.raises(InputError, match="a=1, not 2"):
    workdirs.check(tmp_path, {"a": 2})
  # A run from before data were recorded goes on.
  (tmp_path / workdirs.CONFIG).write_text(json.dumps({"a": 1}))
  workdirs.check(tmp_path, new)


def test_a_checkpoint_of_other_settings_is_refused(trained, tmp_path):
  """Also where the run beside it is the one that is asked for."""
  workdir = tmp_path / "run"
  shutil.copytree(trained / "checkpoints", workdir / "checkpoints")
  settings = json.loads((trained / "config.json").read_text())
  settings["seed"] += 1
  (workdir / "config.json").write_text(json.dumps(settings))
  config = build.from_json(settings)
  with pytest.raises(InputError, match=r"the checkpoint in .* seed=0, not 1"):
    dispatch.run(config, workdir, Console(quiet=True))
