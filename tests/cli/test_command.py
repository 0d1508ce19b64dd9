"""The door of the command line, from a directory that holds nothing."""

import os
import pathlib
import subprocess
import sys
import tomllib
import zipfile

import oneline
import pytest

import unirep
from unirep import main
from unirep.cli import help, settings
from unirep.configs import pretrain
from unirep.runtime.errors import InputError, one_line

ROOT = pathlib.Path(__file__).resolve().parents[2]


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


def test_says_its_version(tmp_path):
  said = run(tmp_path, "-m", "unirep", "--version").stdout
  assert said == f"unirep {unirep.__version__}\n"


def test_alone_it_prints_the_help(tmp_path):
  assert run(tmp_path, "-m", "unirep").stdout == help.text([])
  assert not [*tmp_path.iterdir()]


def test_every_key_is_in_the_help():
  """Of the default and of every variant, its last name at least."""

  def names(config):
    for name, value in config.items():
      yield name
      if hasattr(value, "items"):
        yield from names(value)

  text = help.text([])
  for variant in ("", "preset=released", "data=digits", "data=arrays"):
    for name in names(pretrain.get_config(variant)):
      assert name in text, name


def test_a_file_that_is_there_wins(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  packaged = help.packaged("configs/toc.py:a=b")
  path, _, arg = packaged.partition(":")
  assert pathlib.Path(path).read_text() == (ROOT / "configs/toc.py").read_text()
  assert arg == "a=b"
  (tmp_path / "configs").mkdir()
  (tmp_path / "configs/toc.py").write_text("")
  assert help.packaged("configs/toc.py:a=b") == "configs/toc.py:a=b"
  assert help.packaged("toc:a=b") == "configs/toc.py:a=b"
  assert help.packaged("configs/none.py") == "configs/none.py"
  assert help.packaged("../configs/toc.py") == "../configs/toc.py"
  own = help.located(["unirep", "--config", "configs/tokenize.py", "-x"])
  assert own[2].endswith("unirep/configs/tokenize.py")
  assert own[::3] == ["unirep", "-x"]


def test_the_package_says_what_is_public(tmp_path):
  code = (
    "import sys, unirep; print(unirep.__version__, *dir(unirep));"
    "assert 'jax' not in sys.modules"
  )
  version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  shown = run(tmp_path, "-c", code).stdout
  public = ["__version__", "config", "errors", "evaluate", "generate", "load"]
  public += ["nearest", "pretrain", "retrieve", "toc"]
  assert shown.split() == [version["version"], *public]


def test_an_old_python_is_told_so(monkeypatch, capsys):
  monkeypatch.setattr(sys, "version_info", (3, 10, 4))
  assert main.run(["unirep"]) == 2
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
  [
    ("import nothing_there", "row 1: ModuleNotFoundError: No module named"),
    ("def f(:", "row 1: invalid syntax"),
    ("\nraise SystemExit(0)", "row 2: SystemExit: 0"),
    ("x = 1\nx / 0", "row 2: ZeroDivisionError"),
    ("def get_config():\n  return get_config()", "row 2: RecursionError"),
    ("def get_config():\n  return", "its get_config gives None"),
    ("def get_config():\n  return {}", "its get_config gives a dict"),
    ("x = 1", "has no function get_config"),
    ("def get_config():\n  raise ValueError('a\\nb')", "row 2: ValueError: a"),
  ],
)
def test_a_configuration_that_is_broken_is_one_line(tmp_path, code, words):
  path = tmp_path / "mine.py"
  path.write_text(code)
  with pytest.raises(InputError) as error:
    settings.config(path)
  line = oneline.check(str(error.value))
  assert line.startswith(str(path))
  assert words in line


def test_a_file_that_was_read_before_is_not_read_again(tmp_path):
  (tmp_path / "empty.py").touch()
  assert settings.config("toc").job == "toc"
  with pytest.raises(InputError, match="has no function get_config"):
    settings.config(tmp_path / "empty.py")


def test_a_broken_configuration_ends_the_program_with_a_line(tmp_path):
  (tmp_path / "my\nown.py").write_text("1/0")
  done = run(tmp_path, "-m", "unirep", "--config=my\nown.py", code=2)
  line = oneline.check(done.stderr.removesuffix("\n"))
  assert (
    line == "unirep: my\\nown.py, row 1: ZeroDivisionError: division by zero"
  )


@pytest.mark.parametrize(
  "streams", ["| head -c 1", ">/dev/full", ">&-", "2>&-", "2>/dev/full", "<&-"]
)
@pytest.mark.parametrize("ends", [0, 2])
def test_streams_end_nothing(tmp_path, streams, ends):
  """Python itself ends with 120 if it could not write."""
  what = "sys.stdout.write('\u00e4\U0001f600\\n' * 9**5)"
  code = (
    "import sys; from unirep import main; from unirep.runtime import errors;"
    f"main.run = lambda _: {what} and errors.say('\u00e4') or {ends};"
    "main.main()"
  )
  (tmp_path / "door.py").write_text(code)
  line = f"{sys.executable} door.py {streams}; exit ${{PIPESTATUS[0]}}"
  done = subprocess.run(
    ["bash", "-c", line],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == ends
  assert done.stderr == ("" if streams[0] == "2" else "unirep: \\xe4\n")


def test_a_file_takes_no_place_of_a_closed_stream(tmp_path):
  """Libraries write to descriptor 2: it must not be a checkpoint."""
  code = (
    "import os; from unirep import main;"
    "main.run = lambda _: open('data', 'w').fileno() < 3;"
    "main.main()"
  )
  (tmp_path / "door.py").write_text(code)
  line = ["bash", "-c", f"{sys.executable} door.py 0<&- 1>&- 2>&-"]
  environment = {**os.environ, "PYTHONPATH": str(ROOT)}
  done = subprocess.run(line, cwd=tmp_path, env=environment, check=False)
  assert done.returncode == 0


def test_a_device_that_is_not_there_is_one_line(tmp_path, monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "cuda")
  done = run(tmp_path, "-m", "unirep", "--config=configs/toc.py", code=2)
  (line,) = [x for x in done.stderr.splitlines() if "unirep" in x]
  assert line.startswith("unirep: JAX_PLATFORMS='cuda': no such device (")
  assert "Traceback" not in done.stderr


def test_a_save_that_fails_is_our_line_alone(tmp_path):
  """Orbax, asyncio and TensorStore would write more than a hundred lines."""
  code = """
import pathlib, resource
import jax.numpy as jnp
from absl import logging
from train import test_saving
from unirep.cli import experiment
from unirep.train import saving

logging.use_absl_handler()
experiment._quiet_orbax()
resource.setrlimit(resource.RLIMIT_FSIZE, (2**18, 2**18))
manager = saving.open_manager(pathlib.Path("checkpoints"))
saver = saving.Saver(manager, logging.warning, 3)
saver.save(test_saving.step(test_saving.a_state()), {}, {})
saver.wait()
"""
  path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": path},
    capture_output=True,
    text=True,
    check=True,
  )
  lines = [x for x in done.stderr.splitlines() if "before flag" not in x]
  assert len(lines) == 1, done.stderr
  assert "no checkpoint of step 1: " in lines[0]


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


def test_a_line_is_a_line():
  for text in (
    "a\nb",
    "\x1b[31m",
    "\r",
    "\u202e",
    "\udcff",
    "\x9b",
    "x" * 10**6,
  ):
    assert oneline.check(one_line(text)).encode()
  assert one_line("plain: ä 1.5 %") == "plain: ä 1.5 %"
