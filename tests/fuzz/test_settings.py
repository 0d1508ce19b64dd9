"""Hostile settings: a right result or one line, whatever is asked for.

Each case is a function of its number. The first ones of each kind run in any
test, all of them in slow ones, which also prepare what is accepted.
"""

import contextlib
import importlib
import io
import math
import pathlib
import random
import signal
import sys
import time
from unittest import mock

import jax
import oneline
import pytest
from absl import app
from absl.testing import flagsaver
from ml_collections import ConfigDict

from unirep import main as cli
from unirep.cli import experiment, flags
from unirep.configuration import build, schema
from unirep.jobs import checks, preparation
from unirep.runtime.errors import InputError

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"
SECONDS = 30  # for one case, on a machine that does other things as well
FAST, ALL = 40, 400  # cases of a kind
VALUES = (
  *(-1, 0, 1, 2, 7, 2**31, 2**63, 2**70, -(2**70), 10**400),
  *(0.5, 1e-300, 1e30, -1e30, math.nan, math.inf, -math.inf),
  *("", "a\0b", "\x1b[31mred", "two\nlines", "x" * 10_000, "../../etc/passwd"),
  *("\u202eright to left", "\udcff", "[/b]", "nan", "None", "%s{}"),
  *(True, False, None, (), (1,), (0,), (math.nan,), ("audio",)),
  *(("audio", "audio"), ("audio", "text", "video"), (2**70, -1), ((1,), 2)),
  *(("",), ({},), {}, {"a": 1}, {"": None}),
)
LIKELY = {  # of a leaf's type: many are right, alone or not
  bool: (True, False),
  int: (0, 1, 2, 3, 5, 8, 64, 1000, 2**16, 2**20, 2**31 - 1, 2**32 - 1),
  float: (0.0, 1e-12, 0.01, 0.25, 0.5, 0.999, 1.0, 2.0, 1e3, 1e4, 1e6, 1e9),
  str: ("", "released", "permutation", "chunked", "ring", "bfloat16", "mean"),
  tuple: ((), ("audio", "video"), ("text", "audio", "video"), (1, 2), (0, 1)),
}
VARIANTS = {
  "data": ("data=avel", "data=ave", "convert,data=avvp", "data=clotho"),
  "convert": ("import", "official"),
  "pretrain": ("", "preset=released", "method=dcid", "data=arrays"),
  "evaluate": ("", "data=digits", "data=arrays"),
  "retrieve": ("", "data=media"),
  "generate": ("",),
  **{"toc": ("",), "tokenize": ("",), "extract": ("",)},
}
TEXTS = (
  *("\0", "\x1b", "(", ")", "'", '"""', "\\", "\t", "\n", "#", "\ufeff", "é"),
  *("import nothing_there\n", "raise SystemExit(0)\n", "1/0\n", "return\n"),
  *("raise ValueError('a\\nb')\n", "config = None\n", "config.job = 3\n"),
  *("raise KeyError\n", "  del config.seed\n", "open('/nowhere')\n", "lambda:"),
  *("def get_config(arg=''):\n  return get_config(arg)\n", "class"),
)


@contextlib.contextmanager
def in_time():
  def late(*_):
    raise AssertionError(f"took more than {SECONDS} s")

  before = signal.signal(signal.SIGALRM, late)
  signal.alarm(SECONDS)
  try:
    yield
  finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
  devices = jax.devices()[:1]
  monkeypatch.setattr(jax, "devices", lambda *_: devices)


def places(config, prefix=()):
  """Every section and leaf."""
  for key, value in config.items():
    yield (*prefix, key)
    if isinstance(value, ConfigDict):
      yield from places(value, (*prefix, key))


def mutated(number):
  """A configuration of which one thing is wrong, and what."""
  draw = random.Random(number)
  job = draw.choice(["pretrain", "pretrain", *schema.JOBS])
  module = importlib.import_module(f"unirep.configs.{job}")
  variant = draw.choice(VARIANTS[job])
  if "size" in getattr(module, "CHOICES", {}):
    variant = ",".join(filter(None, [variant, "size=tiny"]))
  config = module.get_config(variant)
  *parts, last = draw.choice([*places(config)])
  section = config
  for part in parts:
    section = section[part]
  how = draw.choice(["set"] * 6 + ["delete", "add", "rename"])
  likely = LIKELY.get(type(section[last]))
  value = draw.choice(likely if likely and draw.random() < 0.5 else VALUES)
  with section.ignore_type(), section.unlocked():
    if how in ("delete", "rename"):
      del section[last]
    if how in ("add", "rename"):
      last = last[:-1] + draw.choice(["", "x", last])
    if how != "delete":
      with contextlib.suppress(OverflowError):  # ConfigDict's own
        section[last] = value
  return config, f"{job}:{variant} {how} {'.'.join((*parts, last))}={value!r}"


def attempt(config, whole):
  """Whether it was accepted; else it is one line."""
  try:
    schema.check(build.as_json(config))
    if config.job != "pretrain":
      return True
    if whole:
      preparation.prepare(config).batches.close()
    elif config.data.source == "synthetic":
      checks.check_pretrain(config)
      build.training(config)
  except InputError as error:
    oneline.check(error)
    return False
  return True


def settings_case(number, whole=False):
  config, what = mutated(number)
  try:
    with in_time():
      return attempt(config, whole)
  except Exception as error:
    raise AssertionError(what) from error


def spoken(argv):
  """The exit code and what was said; nothing is trained."""
  out, err = io.StringIO(), io.StringIO()

  def job(config, *_):
    schema.check(build.as_json(config))

  app.define_help_flags()
  with (
    in_time(),
    flagsaver.flagsaver((flags.WORKDIR, "")),
    contextlib.redirect_stderr(err),
    contextlib.redirect_stdout(out),
    mock.patch.object(sys, "argv", argv),
    mock.patch.object(experiment.dispatch, "run", job),
    pytest.raises(SystemExit) as end,
  ):
    cli.run(argv)
  code = end.value.code or 0
  assert code in (0, 2), (argv, err.getvalue())
  if code:
    (line,) = err.getvalue().removesuffix("\n").split("\n")
    assert oneline.check(line).startswith("unirep: "), argv
  else:
    assert not err.getvalue()
  return code == 0


def argv_case(number, folder):
  draw = random.Random(number)
  job = draw.choice([*schema.JOBS])
  module = importlib.import_module(f"unirep.configs.{job}")
  known = [".".join(x) for x in places(module.get_config())]
  key, value = draw.choice(known), draw.choice(VALUES)
  text = str(value).replace("\0", "")[:5000]
  noise = [
    f"--config.{key}",
    f"--config.{key}.{draw.choice(known)}={text}",
    f"--config.{key[:-1]}={text}",
    f"--config.{key}[0]={text}",
    f"--{key}={text}",
    f"--workdir={text}",
    f"--config={text}",
    f"--config=configs/{job}.py:{text}",
    draw.choice(["--num_processes", "--process_id", "--init_timeout"])
    + f"={text}",
    *("stray", "-", "--", "---", "--=", "--config.", "--config..=1"),
  ]
  chosen = draw.choice([f"--config.{key}={text}"] * 8 + noise)
  argv = ["unirep", f"--config=configs/{job}.py", f"--workdir={folder}/run"]
  return spoken([*argv, chosen])


def file_case(number, folder):
  draw = random.Random(number)
  name = draw.choice(["pretrain", "toc", "tokenize", "extract"])
  text = (CONFIGS / f"{name}.py").read_text()
  for _ in range(draw.randint(1, 3)):
    at = draw.randrange(len(text))
    how = draw.randrange(4)
    if how == 0:
      text = text[:at] + draw.choice(TEXTS) + text[at:]
    elif how == 1:
      text = text[:at] + text[at + draw.randint(1, 40) :]
    elif how == 2:
      lines = text.split("\n")
      lines.insert(draw.randrange(len(lines)), draw.choice(TEXTS))
      text = "\n".join(lines)
    else:
      text = text[:at] if draw.random() < 0.2 else text.replace("1", "-1", 9)
  path = folder / f"mine{number}.py"
  path.write_text(text)
  return spoken(["unirep", f"--config={path}", f"--workdir={folder}/run"])


def test_settings():
  assert {settings_case(number) for number in range(FAST)} == {True, False}


def test_arguments(tmp_path):
  assert {argv_case(i, tmp_path) for i in range(FAST)} == {True, False}


def test_files(tmp_path):
  assert {file_case(i, tmp_path) for i in range(FAST)} == {True, False}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["settings", "arguments", "files"])
def test_many(kind, tmp_path, capsys):
  accepted, slowest, number = 0, (0.0, 0), 0
  for number in range(FAST, ALL):
    began = time.monotonic()
    if kind == "settings":
      accepted += settings_case(number, whole=True)
    else:
      case = argv_case if kind == "arguments" else file_case
      accepted += case(number, tmp_path)
    slowest = max(slowest, (time.monotonic() - began, number))
  with capsys.disabled():
    sys.stdout.write(
      f"\n{kind}: {number + 1 - FAST} tried, {accepted} accepted, the rest "
      f"refused; the slowest, number {slowest[1]}, took {slowest[0]:.1f} s\n"
    )
