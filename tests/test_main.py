"""The command line as a user meets it: it trains, resumes, refuses."""

import ast
import contextlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from absl import app
from absl.testing import flagsaver
from rich.console import Console

from unirep import main as cli
from unirep.cli import flags
from unirep.configs import pretrain
from unirep.jobs import dispatch, preparation
from unirep.runtime.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parent.parent
TINY = "configs/pretrain.py:size=tiny"
QUICK = ("--config.data.train_size=32", "--config.data.test_size=16")


def command(*arguments, config=TINY):
  return [sys.executable, "-m", "unirep.main", f"--config={config}", *arguments]


def environment(devices=1, processes=1):
  flags = os.environ["XLA_FLAGS"].split()  # as tests compile
  flags = [f for f in flags if "device_count" not in f]
  flags.append(f"--xla_force_host_platform_device_count={devices}")
  change = {"XLA_FLAGS": " ".join(flags), "PYTHONPATH": str(ROOT)}
  # The same programs over and over: compile them once. With several devices
  # on CPU the cache of this JAX is not safe: programs that exchange something
  # came back from it in another order.
  if devices == processes == 1:
    programs = os.path.join(os.environ["UNIREP_TEST_SESSION"], "programs")
    change["JAX_COMPILATION_CACHE_DIR"] = programs
    change["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
  return os.environ | change


def run(*arguments, config=TINY, devices=1, cwd=ROOT):
  return subprocess.run(
    command(*arguments, config=config),
    capture_output=True,
    text=True,
    cwd=cwd,
    env=environment(devices),
    timeout=600,
    check=False,
  )


def refused(*arguments, config=TINY, devices=1):
  """Runs what must fail and returns its one line, without a process."""
  argv, err = command(*arguments, config=config)[2:], io.StringIO()
  own = {"return_value": jax.devices()[:devices]}
  app.define_help_flags()  # once, and not to be forgotten below
  with (
    # Keys of a configuration become flags, of which there is one set.
    flagsaver.flagsaver((flags.WORKDIR, "")),
    contextlib.chdir(ROOT),
    contextlib.redirect_stderr(err),
    mock.patch.object(sys, "argv", argv),  # ml_collections looks there
    mock.patch.object(jax, "devices", **own),
    pytest.raises(SystemExit) as end,
  ):
    cli.run(argv)
  return one_line(end.value.code, err.getvalue())


def one_line(code, errors):
  assert code == 2, errors
  lines = [x for x in errors.splitlines() if x.startswith("unirep: ")]
  assert len(lines) == 1, errors
  assert "Traceback" not in errors
  return lines[0]


def final_state(workdir):
  """Every array of the newest checkpoint, by its place in the tree."""
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])

  def place(x):  # whatever devices the run had
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device)

  step = max(int(x.name) for x in checkpoints(workdir))
  items = {}
  with ocp.StandardCheckpointer() as reader:
    for name in ("model", "train"):
      path = (workdir / "checkpoints" / str(step) / name).resolve()
      like = jax.tree.map(place, reader.metadata(path).item_metadata.tree)
      items[name] = reader.restore(path, target=like)
  leaves = jax.tree_util.tree_leaves_with_path(items)
  return step, {jax.tree_util.keystr(k): np.asarray(v) for k, v in leaves}


def assert_equal_runs(one, other):
  step, ours = final_state(one)
  other_step, theirs = final_state(other)
  assert step == other_step
  assert ours.keys() == theirs.keys()
  for name in ours:
    np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def test_writes_what_it_promises(finished):
  workdir, _ = finished
  summary = json.loads((workdir / "summary.json").read_text())
  assert summary["steps"] == 6
  assert summary["seconds"] > 0
  assert summary["config"]["codebook"]["size"] == 16
  pair = summary["cross_modal"]["audio->video"]
  assert {"accuracy", "ceiling", "chance"} <= set(pair)
  assert {"usage", "perplexity", "dead", "awake"} <= set(summary["codebook"])
  shared = summary["sharing"]
  assert set(shared["transfer"]) == set(summary["cross_modal"])
  assert 0 <= shared["step"]["agreement_same"]["audio-video"] <= 1
  assert shared["codes"]["size"] == 16
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  assert [json.loads(x)["step"] for x in lines] == [1, 2, 3, 4, 5, 6]
  assert (workdir / "report.png").stat().st_size > 10_000
  assert (workdir / "report.pdf").stat().st_size > 10_000
  assert list((workdir / "tensorboard").iterdir())


def test_kill_and_resume_is_bit_exact(finished, tmp_path):
  """kill -9 once at a random moment of training, then go on."""
  reference, arguments = finished
  workdir = tmp_path / "run"
  process = subprocess.Popen(
    command(*arguments, f"--workdir={workdir}"),
    cwd=ROOT,
    env=environment(),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  metrics, stop_after = workdir / "metrics.jsonl", random.randint(1, 4)
  while process.poll() is None:
    if metrics.exists() and metrics.read_text().count("\n") >= stop_after:
      time.sleep(random.random() * 0.3)  # also inside a checkpoint's writing
      process.send_signal(signal.SIGKILL)
      break
    time.sleep(0.01)
  process.wait()
  done = run(*arguments, f"--workdir={workdir}")
  assert done.returncode == 0, done.stdout + done.stderr
  assert_equal_runs(reference, workdir)
  assert logged(reference) == logged(workdir)


def logged(workdir):
  """The metrics of a run, without its speed."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [
    {k: v for k, v in json.loads(x).items() if k != "steps_per_second"}
    for x in lines
  ]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_notice_saves_and_asks_to_be_started_again(
  finished, tmp_path, number
):
  """A signal after the first step, far from the first regular checkpoint."""
  reference, arguments = finished
  workdir = tmp_path / "run"
  arguments = (
    *arguments,
    "--config.checkpoint_every=100",
    f"--workdir={workdir}",
  )
  process = subprocess.Popen(
    command(*arguments),
    cwd=ROOT,
    env=environment(),
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
  )
  metrics = workdir / "metrics.jsonl"
  while process.poll() is None:
    if metrics.exists() and metrics.read_text().count("\n"):
      process.send_signal(number)
      break
    time.sleep(0.001)
  _, errors = process.communicate()
  assert process.returncode == 75, errors
  (step,) = re.findall(r"saved after step (\d),", errors)
  assert (workdir / "checkpoints" / step).is_dir()
  done = run(*arguments)
  assert done.returncode == 0, done.stdout + done.stderr
  assert_equal_runs(reference, workdir)
  assert logged(reference) == logged(workdir)


def rewind(finished, tmp_path, steps=2):
  """A copy of the finished run without its last checkpoints."""
  workdir = tmp_path / "run"
  shutil.copytree(finished[0], workdir)
  kept = sorted(int(x.name) for x in checkpoints(workdir))
  for step in kept[-steps:]:
    shutil.rmtree(workdir / "checkpoints" / str(step))
  return workdir, kept[-steps - 1]


def checkpoints(workdir):
  """Steps that Orbax has finished; folders of others may lie beside them."""
  found = (workdir / "checkpoints").iterdir()
  named = [x for x in found if x.name.isdigit()]
  return [x for x in named if (x / "_CHECKPOINT_METADATA").exists()]


@pytest.mark.slow
def test_cut_checkpoint_falls_back_to_the_one_before(finished, tmp_path):
  workdir = tmp_path / "run"
  shutil.copytree(finished[0], workdir)
  newest = max(checkpoints(workdir), key=lambda x: int(x.name))
  files = [x for x in (newest / "train").rglob("*") if x.is_file()]
  largest = max(files, key=lambda x: x.stat().st_size)
  with largest.open("r+b") as file:
    file.truncate(largest.stat().st_size // 2)
  done = run(*finished[1], f"--workdir={workdir}")
  assert done.returncode == 0, done.stdout + done.stderr
  assert "is damaged" in done.stderr
  assert largest.name in done.stderr
  assert "after step 5" in done.stdout
  assert_equal_runs(finished[0], workdir)
  again = run(*finished[1], f"--workdir={workdir}")
  assert "damaged" not in again.stderr  # the step was written anew


def test_only_damaged_checkpoints_are_refused(finished, tmp_path):
  workdir = tmp_path / "run"
  shutil.copytree(finished[0], workdir)
  for place in checkpoints(workdir):
    shutil.rmtree(place / "model")
  line = refused(*finished[1], f"--workdir={workdir}")
  assert "none of the checkpoints" in line


@pytest.mark.parametrize(
  "devices", [pytest.param(n, marks=pytest.mark.slow) for n in (2, 4)]
)
def test_restores_on_another_number_of_devices(finished, tmp_path, devices):
  workdir, last = rewind(finished, tmp_path)
  done = run(*finished[1], f"--workdir={workdir}", devices=devices)
  assert done.returncode == 0, done.stdout + done.stderr
  assert f"after step {last}" in done.stdout
  assert f"{devices} cpu" in done.stdout
  _, ours = final_state(workdir)
  _, theirs = final_state(finished[0])
  for name, value in theirs.items():
    if "model" in name:
      np.testing.assert_allclose(ours[name], value, atol=1e-4, err_msg=name)


def test_other_config_is_refused(finished):
  workdir, arguments = finished
  line = refused(*arguments, "--config.seed=1", f"--workdir={workdir}")
  assert "seed=0, not 1" in line


def test_a_batch_must_fit_beside_the_state(monkeypatch):
  config = pretrain.get_config("size=tiny")
  config.data.update({"train_size": 16, "test_size": 8})
  job = preparation.prepare(config)
  state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(job.shapes))
  row = sum(x.nbytes for x in job.sample["features"].values())
  sizes = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": state + 8 * row}
  real = os.sysconf
  monkeypatch.setattr(os, "sysconf", lambda key: sizes.get(key) or real(key))
  monkeypatch.setattr(jax, "devices", lambda: jax.local_devices()[:1])
  preparation.prepare(config)
  sizes["SC_PHYS_PAGES"] -= 1
  with pytest.raises(InputError, match="do not fit"):
    preparation.prepare(config)


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--config.batch_size=0"], ["batch_size=0"]),
    (["--config.modalities=('audio',)"], ["two or more"]),
    (["--config.modalities=('audio', 'smell')"], ["smell"]),
    (["--config.fine=('video',)"], ["fine"]),
    (["--config.encoders.video.kind=cube"], ["cube"]),
    (["--config.encoders.video.kind=sequence"], ["video", "(10, 7, 7, 16)"]),
    (["--config.dtype=float16"], ["float16"]),
    (["--config.model.heads=3"], ["heads=3"]),
    (["--config.workers=-1"], ["-1"]),
    (["--config.steps=0"], ["steps=0"]),
    (["--config.dropout=1.5"], ["dropout"]),
    (["--config.codes.rule=moon"], ["moon"]),
    (["--config.loss.distribution.kind=square"], ["square"]),
    (["--config.model.sphere=False"], ["model.sphere=True"]),
    (["--config.codes.places=0"], ["codes.places=0"]),
    (["--config.codes.until=1.5"], ["codes.until=1.5"]),
    (["--config.codes.limit=0"], ["codes.limit=0"]),
    (["--config.model.pool=max"], ["max"]),
    (["--config.optimizer.decay=sudden"], ["sudden"]),
    (["--config.seed=-1"], ["seed"]),
    (["--config.optimizer.learning_rate=1e999"], ["learning_rate=inf"]),
    (["--config.optimizer.clip=0.0"], ["clip=0.0", "above 0"]),
    (["--config.checkpoint_seconds=-1.0"], ["checkpoint_seconds=-1.0"]),
    (
      ["--config.model.dim=65536", "--config.model.hidden=262144"],
      ["do not fit", "GiB"],
    ),
    (["--config.steps=2147483648"], ["steps=2147483648", "2147483647"]),
    (["--config.probe.samples=-1"], ["probe.samples=-1", "at least 0"]),
  ],
)
def test_bad_settings_end_in_one_line(arguments, words, tmp_path):
  workdir = tmp_path / "run"
  line = refused_here("size=tiny", [*QUICK, *arguments], workdir)
  for word in words:
    assert word in line
  assert not workdir.exists(), "nothing half-written"


def refused_here(variant, arguments, workdir):
  """The line of a run that must be refused, without a process of its own."""
  config = pretrain.get_config(variant)
  for argument in arguments:
    key, _, value = argument.removeprefix("--config.").partition("=")
    with contextlib.suppress(ValueError, SyntaxError):
      value = ast.literal_eval(value)
    config.update_from_flattened_dict({key: value})
  with pytest.raises(InputError) as error:
    dispatch.run(config, workdir, Console(quiet=True))
  line = str(error.value)
  assert "\n" not in line
  return line


@pytest.mark.parametrize(
  ("argument", "words"),
  [
    ("--config.nothing=1", "nothing"),
    ("--nothing=1", "nothing"),
    ("stray", "stray"),
    ("--config.batch_size=many", "many"),
    ("--config.batch_size=-1", "batch_size"),
  ],
)
def test_bad_flags_end_in_one_line(argument, words, tmp_path):
  workdir = tmp_path / "run"
  assert words in refused(*QUICK, argument, f"--workdir={workdir}")
  assert not workdir.exists(), "nothing half-written"


def test_a_process_ends_in_one_line():
  done = run("--config.nothing=1")
  assert "nothing" in one_line(done.returncode, done.stderr)


def test_unknown_variant_and_file():
  assert "colour=red" in refused(config="configs/pretrain.py:colour=red")
  assert "absent.py" in refused(config="configs/absent.py")


def test_batch_that_devices_cannot_share(tmp_path):
  line = refused(
    *QUICK, "--config.batch_size=9", f"--workdir={tmp_path / 'run'}", devices=2
  )
  assert "batch_size=9" in line
  assert "2 devices" in line


def write_npz(path, **change):
  rng = np.random.default_rng(0)
  arrays = {
    "video": rng.random((24, 4, 5, 5, 3), np.float32),
    "audio": rng.random((24, 4, 6), np.float32),
    "text": rng.random((24, 5, 7), np.float32),
    "length/text": rng.integers(1, 6, 24),
    "label/class": rng.integers(0, 3, 24),
  }
  arrays |= change
  np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
  return path


def nan_audio():
  audio = np.zeros((24, 4, 6), np.float32)
  audio[3, 1, 2] = np.nan
  return audio


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"audio": None}, ["audio"]),
    ({"audio": nan_audio()}, ["audio", "NaN", "(3, 1, 2)"]),
    ({"audio": np.zeros((24, 4), np.float32)}, ["time steps"]),
    ({"audio": np.zeros((23, 4, 6), np.float32)}, ["audio", "23"]),
    ({"audio": np.zeros((24, 6, 6), np.float32)}, ["time steps", "6"]),
    ({"video": np.zeros((24, 4, 4, 4, 3), np.float32)}, ["video", "(4, 4)"]),
    ({"video": np.zeros((24, 4, 3), np.float32)}, ["video", "grid"]),
    ({"length/text": np.full(24, 9)}, ["text", "9"]),
  ],
)
def test_bad_arrays_end_in_one_line(change, words, tmp_path):
  path = write_npz(tmp_path / "features.npz", **change)
  arguments = [f"--config.data.path={path}"]
  line = refused_here("size=tiny,data=arrays", arguments, tmp_path / "run")
  for word in words:
    assert word in line
  assert not (tmp_path / "run").exists()


def test_missing_and_corrupt_data(tmp_path):
  config = f"{TINY},data=arrays"
  assert "data.path" in refused(config=config)
  absent = tmp_path / "absent.npz"
  assert "absent.npz" in refused(f"--config.data.path={absent}", config=config)
  broken = tmp_path / "broken.npz"
  broken.write_bytes(write_npz(tmp_path / "whole.npz").read_bytes()[:900])
  assert "broken.npz" in refused(f"--config.data.path={broken}", config=config)
  digits = f"{TINY},data=digits"
  line = refused("--config.data.fsdd=/nowhere", config=digits)
  assert "/nowhere" in line


def test_unwritable_workdir(tmp_path):
  (tmp_path / "file").write_text("not a directory")
  line = refused(*QUICK, f"--workdir={tmp_path / 'file' / 'run'}")
  assert "file" in line


@pytest.mark.slow
def test_non_finite_loss_stops_and_saves(tmp_path):
  done = run(
    *QUICK,
    "--config.optimizer.learning_rate=1e4",
    "--config.optimizer.clip=1e9",
    "--config.steps=20",
    f"--workdir={tmp_path / 'run'}",
  )
  assert done.returncode == 1
  assert "step " in done.stderr
  assert "nan" in done.stderr or "inf" in done.stderr
  assert list((tmp_path / "run" / "nonfinite").iterdir())
