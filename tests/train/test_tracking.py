"""Weights & Biases: one run for a work directory, and only where asked for.

A module of ours stands in for theirs: nothing leaves this machine.
"""

import io
import json
import sys

import pytest
from rich.console import Console

from unirep.runtime.errors import InputError
from unirep.train import tracking
from unirep.train.log import Log, leaves

FAKE = """
import json, pathlib

class Error(Exception):
  pass

class Run:
  def __init__(self, options):
    self.options, self.lines, self.summary = options, [], {}

  def log(self, metrics, step):
    self.lines.append([step, metrics])

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    said = [self.options, self.lines, self.summary, kind is None]
    path = pathlib.Path(self.options["dir"]) / "said.json"
    path.write_text(json.dumps(said))

def init(**options):
  if options["project"] == "private":
    raise Error("no key\\nlong story")
  return Run(options)
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
  """The package's stand-in, only for this test."""
  folder = tmp_path / "packages"
  folder.mkdir()
  (folder / "wandb.py").write_text(FAKE)
  monkeypatch.syspath_prepend(folder)
  monkeypatch.delitem(sys.modules, "wandb", raising=False)
  yield
  sys.modules.pop("wandb", None)


def said(tmp_path):
  return json.loads((tmp_path / "said.json").read_text())


def test_metrics_settings_and_results_arrive(package, tmp_path):
  tracking.check("play")
  settings = {"codebook": {"size": 8}}
  console = Console(file=io.StringIO())
  with tracking.run("play", tmp_path, settings) as tracker:
    with Log(tmp_path, 9, 0, console, settings, tracker) as log:
      log.write(4, {"loss": 0.5, "steps_per_second": 2.0})
    tracker.summary.update(leaves({"codes": {"awake": 3}, "note": ["a", "b"]}))
  options, lines, summary, well = said(tmp_path)
  assert options["project"] == "play"
  assert options["config"] == settings
  assert options["name"] == tmp_path.name
  assert lines == [[4, {"loss": 0.5, "steps_per_second": 2.0}]]
  assert summary == {"codes.awake": 3, "note": "['a', 'b']"}
  assert well


def test_a_resumed_run_is_the_same_run(package, tmp_path):
  names = []
  for folder in (tmp_path / "a", tmp_path / "a", tmp_path / "b"):
    folder.mkdir(exist_ok=True)
    with tracking.run("play", folder, {}):
      pass
    options, *_ = said(folder)
    assert options["resume"] == "allow"
    names.append(options["id"])
  assert names[0] == names[1] != names[2]


def test_a_run_that_fails_is_said_to(package, tmp_path):
  with pytest.raises(KeyError), tracking.run("play", tmp_path, {}):
    raise KeyError
  assert said(tmp_path)[-1] is False


def test_without_a_login_it_ends_in_one_line(package, tmp_path):
  with pytest.raises(InputError, match=r"no key; log in .*WANDB_MODE") as error:
    tracking.run("private", tmp_path, {})
  assert "\n" not in str(error.value)


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [str(tmp_path)])
  monkeypatch.delitem(sys.modules, "wandb", raising=False)
  (tmp_path / "wandb").mkdir()  # as the package leaves behind
  with pytest.raises(
    InputError, match=r"pip install 'unirep\[wandb\]'"
  ) as error:
    tracking.check("play")
  assert "\n" not in str(error.value)


def test_nobody_asked(tmp_path, monkeypatch):
  monkeypatch.setattr(tracking, "PACKAGE", "a_package_that_is_not_there")
  tracking.check("")
  with tracking.run("", tmp_path, {}) as tracker:
    assert tracker is None
  assert not [*tmp_path.iterdir()]
