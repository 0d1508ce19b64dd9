"""Releases checked, converted and used, as a user does it."""

import hashlib
import json
import pathlib
import pickle
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import releases as mini
from rich.console import Console
from test_main import environment

from unirep.configs import data as data_of
from unirep.data.datasets import releases
from unirep.data.release import shards
from unirep.jobs import data as job
from unirep.jobs import dispatch
from unirep.runtime.errors import InputError

QUIET = Console(quiet=True)
WHERE = "tensorflow_datasets.core.features"
ROOT = pathlib.Path(__file__).resolve().parents[2]


def config_of(name, folder, do="check", **changes):
  config = data_of.get_config(f"{do},data={name}")
  config.data.update(mini.SETS[name](folder))
  config.data.update(changes)
  return config


def ids(workdir):
  return (workdir / "exclude.txt").read_text().split()


def digests(folder):
  return {
    x.relative_to(folder).as_posix(): hashlib.sha256(x.read_bytes()).hexdigest()
    for x in sorted(folder.rglob("*"))
    if x.is_file()
  }


@pytest.mark.parametrize("name", mini.SETS)
def test_a_whole_set_is_checked_and_converted(name, tmp_path):
  config = config_of(name, tmp_path)
  found = dispatch.run(config, tmp_path / "checked", QUIET)
  assert found["problems"] == []
  config.do, config.shard = "convert", 4
  made = dispatch.run(config, tmp_path / "converted", QUIET)
  assert sum(made["samples"].values()) == sum(found["parts"].values())
  assert "tensorflow" not in sys.modules
  options = dict(config.data)
  for kind in ("clips", "events", "other"):
    for split in ("train", "validation", "test"):
      if name == "avel" and split == "test":
        continue
      ours = releases.source(name, options, kind, split)
      theirs = releases.source(
        name, {**options, "converted": str(tmp_path / "converted")}, kind, split
      )
      assert len(ours) == len(theirs) > 0
      theirs = pickle.loads(pickle.dumps(theirs))  # as workers get it
      for i in range(len(ours)):
        same_sample(ours[i], theirs[i])


def every(options):
  source = releases.source("ave", options, "clips", "train")
  return [source[i] for i in range(len(source))]


def same_sample(a, b):
  assert a.keys() == b.keys()
  for part in a:
    assert a[part].keys() == b[part].keys()
    for name, x in a[part].items():
      y = b[part][name]
      assert (y.dtype, np.shape(y)) == (x.dtype, np.shape(x))
      if part == "features" and x.ndim > 2:
        x = x.astype("f2").astype("f4")
      np.testing.assert_array_equal(x, y)


def test_a_check_lists_all_that_is_wrong(tmp_path):
  config = config_of("avel", tmp_path)
  folder = tmp_path / "feature"
  (folder / "audio/zip/Nz15RLDx4Rc.zip").unlink()
  (folder / "video/zip/avelavel_03.zip").write_bytes(b"PK\3\4")
  mini.zipped(
    folder / "video/zip", "avelavel_14", np.full((10, 5, 5, 4), np.nan)
  )
  (tmp_path / "held.txt").write_text("avelavel_00\n")
  config.against = (str(tmp_path / "held.txt"),)
  with pytest.raises(job.NotReadyError) as error:
    dispatch.run(config, tmp_path / "checked", QUIET)
  assert error.value.exit_code == 1
  assert "4 problems, first" in str(error.value)
  wrong = {"Nz15RLDx4Rc", "avelavel_03", "avelavel_14", "avelavel_00"}
  assert {*ids(tmp_path / "checked")} == wrong
  found = json.loads((tmp_path / "checked" / "check.json").read_text())
  assert found["problems"] == {"missing": 1, "unreadable": 2, "shared": 1}
  config.data.exclude = str(tmp_path / "checked" / "exclude.txt")
  again = dispatch.run(config, tmp_path / "again", QUIET)
  assert again["parts"] == {"train": 9, "val": 4, "test": 3}


def test_a_broken_list_is_one_problem(tmp_path):
  config = config_of("avel", tmp_path)
  path = tmp_path / "Vggsound" / "vggsound-avel40k.csv"
  path.write_text(path.read_text() + "race car,IqTSyx3L0j8,val\n")
  with pytest.raises(job.NotReadyError, match=r"1 problem,.*line 22: the id"):
    dispatch.run(config, tmp_path / "checked", QUIET)
  config.data.whole = True
  path.write_text("category,video_id,split\nrace car,IqTSyx3L0j8,val\n")
  with pytest.raises(job.NotReadyError, match=r"1 rows, .* with 40801"):
    dispatch.run(config, tmp_path / "again", QUIET)


def test_videos_in_two_splits_are_shared(tmp_path):
  config = config_of("ave", tmp_path, spare_shared=False)
  with pytest.raises(job.NotReadyError, match=r"RUhOCu3LNXM.*test"):
    dispatch.run(config, tmp_path / "checked", QUIET)


def test_other_options_than_those_of_the_files_are_refused(tmp_path):
  config = config_of("ave", tmp_path, "convert")
  dispatch.run(config, tmp_path / "converted", QUIET)
  options = dict(config.data) | {"converted": str(tmp_path / "converted")}
  options["spare_shared"] = False
  with pytest.raises(InputError, match=r"spare_shared=True, not False"):
    releases.source("ave", options, "clips", "train")
  with pytest.raises(InputError, match=r"has no valor/1\.0\.0"):
    releases.source("valor", options, "clips", "train")
  config.data.spare_shared = False
  with pytest.raises(InputError, match="another"):
    job.run(job.prepare(config), tmp_path / "converted", QUIET)


def test_what_is_broken_in_converted_files_is_one_line(tmp_path):
  config = config_of("ave", tmp_path, "convert")
  dispatch.run(config, tmp_path / "converted", QUIET)
  options = dict(config.data) | {"converted": str(tmp_path / "converted")}
  folder = tmp_path / "converted" / "ave" / "1.0.0"
  path = next(folder.glob("*train*"))
  whole = path.read_bytes()
  for content in (b"", whole[:100], whole[: len(whole) // 2], b"x" * 70000):
    path.write_bytes(content)
    with pytest.raises(InputError, match="convert again") as error:
      every(options)
    assert "\n" not in str(error.value)
  for file in (
    "ids.json",
    "meaning.json",
    "features.json",
    "dataset_info.json",
  ):
    kept = (folder / file).read_bytes()
    for content in (b"", b"[", b"[" * 100_000, b"[]", b"\xff"):
      (folder / file).write_bytes(content)
      with pytest.raises(InputError) as error:
        releases.source("ave", options, "clips", "train")
      assert "\n" not in str(error.value)
    (folder / file).write_bytes(kept)


def test_descriptions_of_strangers_import_nothing(tmp_path, monkeypatch):
  config = config_of("ave", tmp_path, "convert")
  dispatch.run(config, tmp_path / "converted", QUIET)
  options = dict(config.data) | {"converted": str(tmp_path / "converted")}
  folder = tmp_path / "converted" / "ave" / "1.0.0"
  (tmp_path / "stranger.py").write_text("raise SystemExit('imported')")
  monkeypatch.syspath_prepend(tmp_path)
  legacy = '{"type": "stranger.Tensor", "content": {}, "featuresDict"'
  for file, old, new in (
    ("features.json", f"{WHERE}.tensor_feature.Tensor", "stranger.Tensor"),
    ("features.json", '{\n "featuresDict"', legacy),
    ("dataset_info.json", "{DATASET}-", "../../{DATASET}-"),
    ("dataset_info.json", '"shardLengths": [', '"shardLengths": ["9",'),
    ("ids.json", "VWi2ENBuTbw", 'VWi2ENBuTbw", "x'),
  ):
    kept = (folder / file).read_text()
    changed = kept.replace(old, new)
    assert changed != kept
    (folder / file).write_text(changed)
    with pytest.raises(InputError) as error:
      releases.source("ave", options, "clips", "train")
    assert "\n" not in str(error.value)
    assert "stranger" not in sys.modules
    (folder / file).write_text(kept)


@pytest.mark.slow  # two commands
def test_killed_twice_and_the_same_bytes(tmp_path):
  config = config_of("avel", tmp_path, "convert")
  config.shard = 1
  dispatch.run(config, tmp_path / "whole", QUIET)
  changes = {"labels": "Vggsound", "features": "feature"}
  flags = [f"--config.data.{k}={tmp_path / v}" for k, v in changes.items()]
  command = [
    *(sys.executable, "-m", "unirep.main"),
    *("--config=configs/data.py:convert,data=avel", *flags, "--config.shard=1"),
    *("--config.data.whole=False", f"--workdir={tmp_path / 'killed'}"),
  ]
  folder = tmp_path / "killed" / "avel" / "1.0.0"
  for count in (2, 8):
    process = subprocess.Popen(
      command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE
    )
    while process.poll() is None and len([*folder.glob("avel*")]) < count:
      time.sleep(0.002)
    process.kill()
    error = process.communicate()[1].decode()
    assert process.returncode == -signal.SIGKILL, error
    assert not (folder / "dataset_info.json").exists()
  dispatch.run(config, tmp_path / "killed", QUIET)
  ours = {k: v for k, v in digests(folder).items() if not k.startswith(".")}
  assert ours == digests(tmp_path / "whole" / "avel" / "1.0.0")


def test_stopped_anywhere_and_the_same_bytes(tmp_path, monkeypatch):
  """As the slow one, in this process."""
  config = config_of("avel", tmp_path, "convert")
  config.shard = 3
  dispatch.run(config, tmp_path / "whole", QUIET)
  serialized, left = shards.serialized, [0]

  def stops(*args):
    left[0] -= 1
    if not left[0]:
      raise KeyboardInterrupt
    return serialized(*args)

  monkeypatch.setattr(shards, "serialized", stops)
  folder = tmp_path / "stopped" / "avel" / "1.0.0"
  for left[0] in (2, 5, 7):
    with pytest.raises(KeyboardInterrupt):
      dispatch.run(config, tmp_path / "stopped", QUIET)
    assert not (folder / "dataset_info.json").exists()
  left[0] = 1000
  dispatch.run(config, tmp_path / "stopped", QUIET)
  assert digests(folder) == digests(tmp_path / "whole" / "avel" / "1.0.0")


@pytest.mark.slow
def test_what_the_page_shows_works(tmp_path):
  """docs/releases.md, in small."""
  mini.avel(tmp_path)
  (tmp_path / "vggsound40k").symlink_to(tmp_path)
  mini.ave(tmp_path)
  page = (ROOT / "docs" / "releases.md").read_text()
  lines = re.search(r"```sh\n(.*?)```", page, re.DOTALL).group(1).splitlines()
  for line in lines:
    line = line.replace("size=paper", "size=tiny")
    line = line.replace("data=ave ", "data=ave,size=tiny ")
    words = [sys.executable, *line.split()[1:], "--config.data.whole=False"]
    done = subprocess.run(
      words, cwd=tmp_path, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
  assert len(lines) == 4


@pytest.mark.slow  # two commands
def test_a_command_ends_with_one(tmp_path):
  """What a check finds is no traceback, and 1; what it needs is 2."""
  places = mini.msvd(tmp_path)
  (tmp_path / "feature/video/zip/vid1_0_1.zip").write_bytes(b"")
  command = [sys.executable, "-m", "unirep.main", "--config.data.whole=False"]
  command.insert(3, "--config=configs/data.py:check,data=msvd")
  for flags, code, words in (
    (
      [f"--config.data.{k}={v}" for k, v in places.items()],
      1,
      "1 problem, first",
    ),
    ([], 2, "data.features is empty"),
  ):
    done = subprocess.run(
      [*command, *flags, f"--workdir={tmp_path / 'checked'}"],
      cwd=ROOT,
      env=environment(),
      capture_output=True,
      text=True,
    )
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
