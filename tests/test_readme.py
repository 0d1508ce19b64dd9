"""What the README shows works."""

import importlib
import pathlib
import re
import shlex
import subprocess

import numpy as np
import pytest
from rich.console import Console

from unirep.jobs import dispatch

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


@pytest.fixture
def one_device(monkeypatch):
  import jax

  devices = jax.devices()[:1]
  monkeypatch.setattr(jax, "devices", lambda: devices)


def shrink(config):
  """Two quick steps of whatever is configured."""
  config.update({"steps": 2, "batch_size": 8, "log_every": 1})
  config.model.update({"dim": 16, "heads": 2, "hidden": 16})
  config.cpc.width = config.club.hidden = 8
  config.codebook.size = 16
  config.probe.steps = 2
  for encoder in config.encoders.values():
    encoder.specific = 8
  return config


def test_your_data_in_ten_lines(tmp_path, monkeypatch, one_device):
  monkeypatch.chdir(tmp_path)
  code = blocks("python")[0]
  assert len(code.strip().splitlines()) <= 11
  exec(code, {})
  command = next(c for c in blocks("sh") if "data=arrays" in c)
  flags = dict(f[2:].split("=", 1) for f in shlex.split(command)[3:])
  from unirep.configs import pretrain

  config = pretrain.get_config(flags["config"].split(":", 1)[1])
  config.data.path = flags["config.data.path"]
  summary = dispatch.run(
    shrink(config), pathlib.Path(flags["workdir"]), Console(quiet=True)
  )
  assert summary["cross_modal"]["audio->video"]["chance"] > 0


def test_modalities_of_your_own(tmp_path, monkeypatch, one_device):
  monkeypatch.chdir(tmp_path)
  rng = np.random.default_rng(0)
  np.savez(
    "sensors.npz",
    lidar=rng.random((24, 4, 6, 6, 3), np.float32),
    radar=rng.random((24, 4, 5), np.float32),
    note=rng.random((24, 7), np.float32),
  )
  names = {}
  exec(blocks("python")[1], names)
  config = shrink(names["get_config"]())
  summary = dispatch.run(config, tmp_path / "run", Console(quiet=True))
  assert summary["steps"] == 2
  assert summary["cross_modal"] == {}  # no labels, no evaluation


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
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    config = module.get_config(arg)
    for key in re.findall(r"--config\.(\S+?)=", line):
      assert key.split(".")[0] in config, line


def test_a_trained_model_in_six_lines(tmp_path, monkeypatch, one_device):
  monkeypatch.chdir(tmp_path)
  from unirep.configs import pretrain

  config = pretrain.get_config("size=tiny")
  config.data.train_size, config.data.test_size = 24, 16
  dispatch.run(config, pathlib.Path("runs/first"), Console(quiet=True))
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
