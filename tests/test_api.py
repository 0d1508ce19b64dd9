"""The command line in Python."""

import pathlib

import numpy as np
import pytest
from ml_collections import ConfigDict

import unirep
from unirep import api
from unirep.cli import settings
from unirep.runtime.errors import InputError


def test_a_configuration_by_name_with_changed_keys():
  config = unirep.config(
    "pretrain:data=digits,size=tiny", steps=7, **{"optimizer.clip": 2.0}
  )
  assert (config.steps, config.optimizer.clip) == (7, 2.0)
  assert config.data.source == "digits"
  again = unirep.config("configs/pretrain.py:data=digits,size=tiny")
  assert again.steps != 7


@pytest.mark.parametrize(
  ("name", "changes", "line"),
  [
    ("nothing", {}, "nothing.py"),
    ("pretrain:data=nothing", {}, "nothing"),
    ("pretrain", {"stepz": 1}, "no key stepz"),
    ("pretrain", {"optimizer.x.y": 1}, "no key optimizer.x.y"),
    ("pretrain", {"steps": "many"}, "steps='many'"),
    ("pretrain", {"steps": None}, "steps=None"),
    ("pretrain", {"steps": True}, "steps=True"),
    ("pretrain", {"optimizer": {"bogus": 1}}, "no key optimizer.bogus"),
    ("pretrain", {"optimizer": 3}, "optimizer=3"),
    (None, {}, "None is no name"),
  ],
)
def test_what_is_wrong_is_said_in_one_line(name, changes, line):
  with pytest.raises(InputError, match=line) as caught:
    unirep.config(name, **changes)
  assert "\n" not in str(caught.value)


def test_a_job_gives_its_rows_and_prints_nothing(trained, tmp_path, capfd):
  config = unirep.config("retrieve:size=tiny", checkpoint=trained)
  asked = config.to_json()
  found = unirep.retrieve(config, tmp_path / "a", at=(1,))
  assert capfd.readouterr() == ("", "")
  assert config.to_json() == asked, "the caller's configuration is left alone"
  assert found.workdir == tmp_path / "a"
  assert found.rows == found["rows"]
  some = found.where(source="audio", target="text", metric="r@1")
  assert len(some) > 1
  assert {row["target"] for row in some} == {"text"}
  assert found._repr_markdown_() == (tmp_path / "a/results.md").read_text()
  assert str(tmp_path) in repr(found)
  loud = unirep.retrieve(
    "retrieve:size=tiny", tmp_path / "b", verbose=True, checkpoint=trained
  )
  assert "results.json" in capfd.readouterr().out
  assert {row["metric"] for row in loud.rows} > {"r@1", "r@5"}


def test_a_configuration_of_another_job_is_refused(tmp_path):
  with pytest.raises(InputError, match="job=evaluate"):
    unirep.retrieve("evaluate", tmp_path)
  with pytest.raises(InputError, match="job=None"):
    unirep.generate(ConfigDict(), tmp_path)


def test_bars_are_all_that_is_shown(capfd):
  console = api._Bars()
  console.print("a table")
  assert capfd.readouterr() == ("", "")


def test_parts_paths_and_numbers_are_taken():
  config = unirep.config(
    "retrieve",
    checkpoints=[pathlib.Path("a"), "b"],
    resamples=np.int64(7),
    toc={"keep": (4, 8)},
  )
  assert config.checkpoints == ("a", "b")
  assert config.resamples == 7
  assert config.toc.keep == (4, 8)
  assert config.toc.top_share == (1, 0)
  assert unirep.config(pathlib.Path("configs/toc.py")).job == "toc"


def test_arguments_of_the_program_are_its_own(monkeypatch):
  argv = ["x", "--config=other.py", "--config.nokey=77", "--flagfile=/none"]
  monkeypatch.setattr("sys.argv", argv)
  assert unirep.config("pretrain:size=tiny").job == "pretrain"


def test_a_place_for_every_configuration():
  one, other = (settings.default_workdir(text) for text in ("a", "b"))
  assert one.parent == other.parent == pathlib.Path("runs")
  assert one != other
