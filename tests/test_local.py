"""Several processes of one run on one machine."""

import os
import signal
import subprocess
import sys
import time

import oneline
import pytest

from unirep.launch import local

# Counts its starts in a file, and asks for another one until there were three.
PROGRAM = """
import pathlib, sys
log = pathlib.Path(sys.argv[1])
with log.open("a") as file:
  file.write(sys.argv[-1] + "\\n")
sys.exit(75 if log.read_text().count("=0") < 3 else int(sys.argv[2]))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
  (tmp_path / "counting.py").write_text(PROGRAM)
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))
  return "--module=counting"


@pytest.mark.parametrize("code", [0, 2])
def test_a_run_is_started_as_long_as_it_asks_for_it(
  module, tmp_path, code, monkeypatch
):
  monkeypatch.setattr(signal, "signal", lambda *_: None)
  log = tmp_path / "log"
  arguments = [module, "--processes=1", "--", str(log), str(code)]
  assert local.main(arguments) == code
  assert log.read_text().splitlines() == ["--process_id=0"] * 3


def test_there_is_an_end_to_it(module, tmp_path, monkeypatch):
  monkeypatch.setattr(signal, "signal", lambda *_: None)
  log = tmp_path / "log"
  arguments = [module, "--processes=1", "--starts=2", "--", str(log), "0"]
  assert local.main(arguments) == 75
  assert len(log.read_text().splitlines()) == 2


def test_who_is_asked_to_end_does_not_start_again(tmp_path, monkeypatch):
  (tmp_path / "waiting.py").write_text(
    "import pathlib, signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
    "pathlib.Path(sys.argv[1]).write_text('here')\n"
    "time.sleep(60)\n"
  )
  line = [sys.executable, "-m", "unirep.launch.local", "--processes=1"]
  launcher = subprocess.Popen(
    [*line, "--module=waiting", "--", str(tmp_path / "here")],
    env=os.environ | {"PYTHONPATH": f"{tmp_path}:{os.getcwd()}"},
  )
  while not (tmp_path / "here").exists():
    time.sleep(0.05)
  launcher.terminate()
  assert launcher.wait(30) == 75


@pytest.mark.parametrize(
  ("argument", "words"),
  [
    ("--processes=0", "--processes and --starts must be at least 1"),
    ("--processes=-1", "--processes and --starts must be at least 1"),
    ("--processes=99999999", "--processes=99999999 must be at most 1024"),
    ("--processes=two", "--processes: invalid int value: 'two'"),
    ("--proc\n", "unrecognized arguments: --proc\\n"),
  ],
)
def test_what_it_can_not_mean_is_one_line(capsys, argument, words):
  assert local.main([argument]) == 2
  error = oneline.check(capsys.readouterr().err.removesuffix("\n"))
  assert error.startswith("launch: ")
  assert words in error


def test_a_code_of_a_shell_is_a_signal():
  child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(137)"])
  assert local.watch([child]) == 75
