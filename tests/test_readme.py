"""What the README shows works."""

import importlib
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from unirep.configs import pretrain
from unirep.jobs import preparation

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()
PAGES = [TEXT, *(p.read_text() for p in sorted(ROOT.glob("docs/*.md")))]


def blocks(language, text=TEXT):
  return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_readme_is_short_and_its_links_lead_somewhere():
  assert len(TEXT) < 8000
  for page, folder in ((TEXT, ROOT), *((p, ROOT / "docs") for p in PAGES[1:])):
    for link in re.findall(r"\]\(([^)]+)\)", page):
      assert link.startswith("https://") or (folder / link).exists(), link


def named(code):
  """The file that a block of Python says it is, or None."""
  found = re.match(r"# (\w+\.py)\n", code)
  return found and found.group(1)


@pytest.fixture
def one_device(monkeypatch):
  import jax

  devices = jax.devices()[:1]
  monkeypatch.setattr(jax, "devices", lambda: devices)


def prepared(config):
  """All of a run but the training."""
  made = preparation.prepare(config)
  made.batches.close()
  return made, preparation.describe(made)


def test_your_data_in_ten_lines(tmp_path, monkeypatch, one_device):
  monkeypatch.chdir(tmp_path)
  code = blocks("python")[0]
  assert len(code.strip().splitlines()) <= 11
  exec(code, {})
  command = next(c for c in blocks("sh") if "data=arrays" in c)
  flags = dict(f[2:].split("=", 1) for f in shlex.split(command)[3:])
  config = pretrain.get_config(flags["config"].split(":", 1)[1])
  config.data.path = flags["config.data.path"]
  made, text = prepared(config)
  assert len(made.train) == 58
  assert made.batch_size == 56
  assert "58 samples to learn from, 6 held out" in text
  assert "a batch has 56 samples instead of 80" in text
  assert "1, 2, 4 or 8 devices" in text


def sensors(folder):
  """Data as the configuration of one's own names them."""
  rng = np.random.default_rng(0)
  np.savez(
    folder / "sensors.npz",
    lidar=rng.random((24, 4, 6, 6, 3), np.float32),
    radar=rng.random((24, 4, 5), np.float32),
    note=rng.random((24, 7), np.float32),
  )


def test_modalities_of_your_own(tmp_path, monkeypatch, one_device):
  monkeypatch.chdir(tmp_path)
  sensors(tmp_path)
  names = {}
  exec(blocks("python")[1], names)
  made, _ = prepared(names["get_config"]())
  assert made.network.order == ("lidar", "radar", "note")
  assert made.network.fine == ("lidar", "radar")


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md"])
def test_all_of_it_runs_in_its_order_as_printed(page, tmp_path):
  """In a directory of data alone; only the installation is left out."""
  sensors(tmp_path)
  recordings = ROOT.parent / "shared/data/fsdd/fsdd_recordings.zip"
  if recordings.exists():
    shutil.copy(recordings, tmp_path / "recordings.zip")
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  own = str(pathlib.Path(sys.executable).parent)  # where `python` is ours
  environment["PATH"] = own + os.pathsep + environment["PATH"]
  environment.pop("XLA_FLAGS", None)
  done = []
  text = (ROOT / page).read_text()
  for language, code in re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL):
    if language == "python":
      name = named(code)
      (tmp_path / (name or "snippet.py")).write_text(code)
      lines = [] if name else ["python snippet.py"]
    else:
      lines = code.replace("\\\n", " ").strip().splitlines()
    for line in lines:
      command = line.split("&&")[-1].strip().removeprefix(".venv/bin/")
      if "check.sh" in command:
        continue  # of the clone
      if "recordings.zip" in command and not recordings.exists():
        continue
      assert command.startswith("python "), command
      run = subprocess.run(
        command,
        shell=True,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
      )
      assert run.returncode == 0, f"{command}\n{run.stdout}\n{run.stderr}"
      done.append(command)
  assert len(done) >= 7


def test_every_config_in_a_command_loads():
  commands = [
    line
    for page in PAGES
    for block in blocks("sh", page)
    for line in block.splitlines()
    if "--config=" in line
  ]
  assert len(commands) >= 5
  for line in commands:
    name = re.search(r"--config=(\S+)", line).group(1)
    path, _, arg = name.partition(":")
    own = [x for p in PAGES for x in blocks("python", p) if named(x) == path]
    if own:
      names = {}
      exec(own[0], names)
      config = names["get_config"](*filter(None, [arg]))
    else:
      name = path.removesuffix(".py").replace("/", ".")
      config = importlib.import_module(name).get_config(arg)
    for key in re.findall(r"--config\.(\S+?)=", line):
      assert key.split(".")[0] in config, line


def test_a_trained_model_in_six_lines(trained, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "runs").mkdir()
  (tmp_path / "runs" / "first").symlink_to(trained)
  names = {}
  code = blocks("python")[2]
  assert len(code.split("\n\n")[-1].splitlines()) <= 6
  exec(code, names)
  assert names["codes"].shape == (3, 10)
  np.testing.assert_array_equal(
    names["vectors"], names["model"].codebook[names["codes"]]
  )


def test_check_script_is_a_script():
  script = ROOT / "launch" / "check.sh"
  subprocess.run(["bash", "-n", script], check=True)
  for step in ("ruff format --check", "ruff check", "basedpyright", "pytest"):
    assert step in script.read_text()
  assert "launch/check.sh" in (ROOT / ".ci" / "run").read_text()
