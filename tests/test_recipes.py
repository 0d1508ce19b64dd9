"""The recipes of CONTRIBUTING.md, applied to a copy as printed."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from test_main import environment

ROOT = pathlib.Path(__file__).resolve().parent.parent


def blocks(kind):
  text = (ROOT / "CONTRIBUTING.md").read_text()
  return re.findall(rf"^```{kind}\n(.*?)^```", text, re.M | re.S)


def insert(text, change):
  """Adds the lines with a + below the last line without one above them."""
  lines = text.split("\n")
  at = None
  for line in change:
    mark, line = line[:2], line[2:]
    if mark == "+ ":
      at += 1
      lines.insert(at, line)
    else:
      assert lines.count(line) == 1, line
      at = lines.index(line)
  return "\n".join(lines)


def apply_all(copy):
  written = []
  for block in blocks("python"):
    path = copy / re.match(r"# (\S+\.py)\n", block)[1]
    assert not path.exists()
    path.write_text(block.split("\n", 1)[1])
    written.append(path)
  changed = []
  for block in blocks("diff"):
    name, *change = block.strip("\n").split("\n")
    path = copy / name.strip()
    path.write_text(insert(path.read_text(), change))
    changed.append(path)
  return written, changed


def features(path, count, seed):
  rng = np.random.default_rng(seed)
  label_N = rng.integers(0, 3, count).astype("i4")
  shape = {"video": (10, 5, 5, 6), "audio": (10, 4, 6), "text": (10, 6)}
  contents = {
    m: rng.normal(size=(count, *s)).astype("f4") for m, s in shape.items()
  }
  start_Nx1 = rng.integers(0, 4, (count, 1))
  on_NxT = np.arange(10) >= start_Nx1
  contents["label/class"] = label_N
  contents["label/segments"] = (on_NxT * (1 + label_N[:, None])).astype("i4")
  np.savez(path, **contents)


@pytest.fixture
def copy(tmp_path):
  """A copy of the tree with all recipes applied, and what they changed."""
  copy = tmp_path / "copy"
  for name in ("unirep", "configs", "launch", "pyproject.toml", "tests"):
    (copy / name).parent.mkdir(exist_ok=True)
    if (ROOT / name).is_dir():
      shutil.copytree(ROOT / name, copy / name, symlinks=True)
    else:
      shutil.copy(ROOT / name, copy / name)
  written, changed = apply_all(copy)
  # A loss, a configuration and the layers of a kind; a source and a task.
  assert len(written) == 5
  assert len(changed) == 4
  return copy, (*written, *changed)


def test_the_recipes_fit_the_tree(copy):
  for path in copy[1]:
    check = [sys.executable, "-m", "ruff", "check", "--quiet"]
    skip = ["--ignore", "I001"]  # a line that is inserted may stand elsewhere
    subprocess.run([*check, *skip, str(path)], check=True, cwd=copy[0])


@pytest.mark.slow
def test_the_recipes_work_as_printed(copy):
  copy, _ = copy
  for name, seed in (("train", 0), ("validation", 1), ("test", 2)):
    features(copy / f"{name}.npz", 16, seed)
  own = {"PYTHONPATH": str(copy)}
  for command in blocks("sh")[-1].replace("\\\n", " ").strip().split("\n"):
    command = re.sub(r"(=configs/\w+\.py:\S+)", r"\1,size=tiny", command)
    command = command.replace("python", sys.executable, 1)
    if "evaluate.py" in command:
      command += " --config.toc.keep='(8, 16)'"  # of a tiny code's 16
      devices = 1
    else:
      devices = 2  # the loss is a mean over them
    change = environment(devices) | own
    subprocess.run(command, shell=True, check=True, cwd=copy, env=change)
  first = (copy / "runs/mine/metrics.jsonl").read_text().split("\n")[0]
  assert {f"norm/{m}" for m in ("video", "audio", "text")} <= {
    *json.loads(first)
  }
  results = json.loads((copy / "runs/mine-onset/results.json").read_text())
  assert {row["task"] for row in results["rows"]} == {"onset"}
  layering = [sys.executable, "-m", "pytest", "-q", "tests/test_layering.py"]
  subprocess.run(layering, check=True, cwd=copy, env=os.environ | own)
