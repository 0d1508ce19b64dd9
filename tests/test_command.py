"""The door of the command line, from a directory that holds nothing."""

import os
import pathlib
import subprocess
import sys
import tomllib
import zipfile

import pytest

from unirep import command, overview
from unirep.configs import pretrain

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(folder, *line, code=0):
  done = subprocess.run(
    [sys.executable, *line],
    cwd=folder,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == code, done.stderr
  return done


@pytest.mark.parametrize("module", ["unirep", "unirep.main"])
def test_help_lists_what_there_is(tmp_path, module):
  text = run(tmp_path, "-m", module, "--help").stdout
  for name in (
    "pretrain",
    "evaluate",
    "retrieve",
    "toc",
    "tokenize",
    "extract",
  ):
    assert f"configs/{name}.py" in text
  assert "preset=clean|released" in text
  assert "config.batch_size = 80" in text
  assert '"threshold": 0.2,  # ... where residuals agree by that much' in text
  text = run(tmp_path, "-m", module, "--help", "--config=configs/toc.py").stdout
  assert "config.batch_size" not in text
  assert "config.codebook" in text


def test_every_key_is_in_the_help():
  """Of the default and of every variant, its last name at least."""

  def names(config):
    for name, value in config.items():
      yield name
      if hasattr(value, "items"):
        yield from names(value)

  text = overview.text([])
  for variant in ("", "preset=released", "data=digits", "data=arrays"):
    for name in names(pretrain.get_config(variant)):
      assert name in text, name


def test_a_file_that_is_there_wins(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  packaged = overview.packaged("configs/toc.py:a=b")
  path, _, arg = packaged.partition(":")
  assert pathlib.Path(path).read_text() == (ROOT / "configs/toc.py").read_text()
  assert arg == "a=b"
  (tmp_path / "configs").mkdir()
  (tmp_path / "configs/toc.py").write_text("")
  assert overview.packaged("configs/toc.py:a=b") == "configs/toc.py:a=b"
  assert overview.packaged("configs/none.py") == "configs/none.py"
  assert overview.packaged("../configs/toc.py") == "../configs/toc.py"
  own = overview.located(["unirep", "--config", "configs/tokenize.py", "-x"])
  assert own[2].endswith("unirep/configs/tokenize.py")
  assert own[::3] == ["unirep", "-x"]


def test_the_package_says_what_is_public(tmp_path):
  code = (
    "import sys, unirep; print(unirep.__version__, *dir(unirep));"
    "assert 'jax' not in sys.modules"
  )
  version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  shown = run(tmp_path, "-c", code).stdout
  public = ["__version__", "config", "evaluate", "generate", "load"]
  public += ["pretrain", "retrieve"]
  assert shown.split() == [version["version"], *public]


def test_an_old_python_is_told_so(monkeypatch, capsys):
  monkeypatch.setattr(sys, "version_info", (3, 10, 4))
  assert command.run(["unirep"]) == 2
  error = capsys.readouterr().err
  assert error.startswith("unirep: needs Python 3.11 or newer, this is")
  assert error.count("\n") == 1


@pytest.mark.parametrize("module", ["unirep", "unirep.main"])
@pytest.mark.parametrize(
  ("package", "name", "words"),
  [
    ("absl", "absl", "the package 'absl' is missing (No module"),
    ("ml_collections", "ml_collections.x", "the package 'ml_collections' is"),
    ("jax", "jax", "the package 'jax' is missing (No module"),
    ("optax", None, "a package is broken (No module"),
  ],
)
def test_a_missing_package_is_named(tmp_path, module, package, name, words):
  (tmp_path / f"{package}.py").write_text(
    f"raise ImportError('No module\\nhere', name={name!r})"
  )
  done = run(tmp_path, "-m", module, "--config=configs/pretrain.py", code=2)
  assert done.stderr.startswith(f"unirep: {words}")
  assert "install unirep again" in done.stderr
  assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
  ("code", "words"),
  [("import nothing_there", "nothing_there"), ("def f(:", "invalid syntax")],
)
def test_a_configuration_that_is_broken_is_one_line(tmp_path, code, words):
  (tmp_path / "mine.py").write_text(code)
  done = run(tmp_path, "-m", "unirep", "--config=mine.py", code=2)
  (line,) = [x for x in done.stderr.splitlines() if "unirep: " in x]
  assert words in line
  assert "Traceback" not in done.stderr


def test_a_device_that_is_not_there_is_one_line(tmp_path, monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "cuda")
  done = run(tmp_path, "-m", "unirep", "--config=configs/toc.py", code=2)
  (line,) = [x for x in done.stderr.splitlines() if "unirep" in x]
  assert line.startswith("unirep: JAX_PLATFORMS='cuda': no such device (")
  assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_wheel_has_one_name_and_all_that_it_needs(tmp_path):
  line = ["-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path)]
  run(tmp_path, *line, str(ROOT))
  (wheel,) = tmp_path.glob("*.whl")
  names = zipfile.ZipFile(wheel).namelist()
  tops = {name.split("/")[0] for name in names}
  assert {top for top in tops if "dist-info" not in top} == {"unirep"}
  for folder in ("configs", "launch"):
    for path in (ROOT / folder).rglob("*"):
      if path.is_file() and path.suffix != ".pyc":
        assert f"unirep/{path.relative_to(ROOT).as_posix()}" in names
