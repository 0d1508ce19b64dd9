"""Five modalities, one of them missing from a third: trained, read, asked."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from rich.console import Console
from test_main import ROOT, environment

import unirep
from unirep.configs import evaluate, pretrain, tokenize
from unirep.data import arrays
from unirep.jobs import dispatch, preparation
from unirep.launch import sweep
from unirep.runtime.errors import InputError

N, T, CLASSES = 36, 10, 3
SHAPES = {
  "camera": (T, 5, 5, 3),
  "sound": (T, 6),
  "motion": (T, 4),
  "place": (5,),
  "text": (7, 6),
}
QUIET = Console(quiet=True)
FILE = """
from test_missing_modalities import config_of

def get_config():
  return config_of({path!r})
"""
SWEEP = """
def get_sweep():
  return [{{"config": {config!r}, "seed": seed}} for seed in {seeds}]
"""


def features(lacks="sound"):
  rng = np.random.default_rng(0)
  out = {m: rng.normal(size=(N, *shape)) for m, shape in SHAPES.items()}
  out[lacks][::3] = np.nan
  out["length/text"] = rng.integers(2, 8, N)
  return out | {"label/class": np.arange(N) % 4 % CLASSES}


def config_of(path, arg="data=arrays,size=tiny"):
  config = pretrain.get_config(arg)
  config.data.update({"path": str(path), "missing": True, "holdout": 0.3})
  config.modalities = tuple(SHAPES)
  config.fine = ("camera", "sound", "motion")
  kinds = ("grid", "sequence", "vector", "vector", "sequence")
  config.encoders = {
    m: {"kind": kind, "specific": 8}
    for m, kind in zip(SHAPES, kinds, strict=True)
  }
  if "released" not in arg:  # so that two steps wake several codes
    config.codes.update({"threshold": 1e-6, "agreed": 0.0, "until": 1.0})
  return config


@pytest.fixture
def one_device(monkeypatch):
  devices = jax.devices()[:1]
  monkeypatch.setattr(jax, "devices", lambda: devices)


@pytest.mark.slow
def test_one_is_missing_from_a_third(tmp_path, one_device):
  path, workdir = tmp_path / "five.npz", tmp_path / "run"
  np.savez(path, **features())
  dispatch.run(config_of(path), workdir, QUIET)
  summary = json.loads((workdir / "summary.json").read_text())
  assert summary["codebook"]["awake"] > 1
  pairs = len(SHAPES) * (len(SHAPES) - 1)
  assert len(summary["cross_modal"]) == pairs
  assert len(summary["sharing"]["transfer"]) == pairs
  assert len(summary["sharing"]["clip"]["recall"]) == pairs
  metrics = [json.loads(x) for x in (workdir / "metrics.jsonl").open()]
  assert all(np.isfinite(list(x.values())).all() for x in metrics)
  # The frozen model takes what there is.
  model = unirep.load(workdir)
  source = arrays.load(path, missing=True)
  found = model.codes(source)
  here_N = np.arange(N) % 3 > 0
  for m in SHAPES:
    there = here_N if m == "sound" else np.ones(N, bool)
    np.testing.assert_array_equal((found.idx[m] >= 0).any(1), there)
    np.testing.assert_array_equal(found.clip[m] >= 0, there)
  own = model.encode(sound=features()["sound"])["sound"]
  np.testing.assert_array_equal(found.idx["sound"], own)
  partly = features()["sound"][here_N]
  partly[0, 0] = np.nan
  with pytest.raises(InputError, match="NaN"):
    model.encode(sound=partly)
  tokens = tokenize.get_config()
  tokens.checkpoint, tokens.features = str(workdir), str(path)
  with pytest.raises(InputError, match="NaN"):
    dispatch.run(tokens, tmp_path / "tokens", QUIET)
  tokens.missing = True
  dispatch.run(tokens, tmp_path / "tokens", QUIET)
  with np.load(tmp_path / "tokens" / "codes" / path.name) as file:
    for m, idx_NxT in found.idx.items():
      np.testing.assert_array_equal(file[m], idx_NxT)
  asked = evaluate.get_config("data=arrays,size=tiny")
  asked.checkpoint, asked.toc.keep = str(workdir), (8, 16)
  asked.trained_on = asked.tested_on = ("sound", "text")
  asked.data.update(dict.fromkeys(("train", "validation", "test"), str(path)))
  with pytest.raises(InputError, match="NaN"):
    dispatch.run(asked, tmp_path / "refused", QUIET)
  asked.data.missing = True
  results = dispatch.run(asked, tmp_path / "asked", QUIET)
  found = {(x["source"], x["target"]) for x in results["rows"]}
  assert len(found) == 4


def written(folder, seeds):
  """The data, a configuration and a sweep of it, as a user has them."""
  np.savez(folder / "five.npz", **features())
  config, path = folder / "five.py", folder / "sweep.py"
  config.write_text(FILE.format(path=str(folder / "five.npz")))
  path.write_text(SWEEP.format(config=str(config), seeds=seeds))
  return config, [f"--sweep={path}", f"--workdir={folder / 'runs'}"]


def table(folder):
  """What a sweep wrote: a mapping a run."""
  header, _, *lines = (folder / "runs/table.md").read_text().splitlines()
  names = header.strip("| ").split(" | ")
  return [
    dict(zip(names, x.strip("| ").split(" | "), strict=True)) for x in lines
  ]


@pytest.mark.slow  # two minutes of two runs; the table is test_sweep's
def test_a_sweep_shows_it(tmp_path, one_device):
  """The run of a sweep, made here instead of in a process."""
  _, swept = written(tmp_path, [0])
  (run,) = sweep.grid.load(tmp_path / "sweep.py", tmp_path / "runs")
  assert sweep.main([*swept, "--how=table"]) == 1
  dispatch.run(config_of(tmp_path / "five.npz"), run.workdir, QUIET)
  assert sweep.main([*swept, "--how=table"]) == 0
  (row,) = table(tmp_path)
  assert (row["seed"], row["state"]) == ("0", "finished")
  assert "sound->text %" in row


@pytest.mark.slow
def test_every_public_door_takes_it(tmp_path):
  """Trained, loaded, encoded, evaluated, swept, each as a user does it."""
  config, swept = written(tmp_path, [0, 1])
  tests = (ROOT, ROOT / "tests", pathlib.Path(__file__).parent)
  path = os.pathsep.join(map(str, tests))  # of what configurations import

  def run(module, *arguments):
    done = subprocess.run(
      [sys.executable, "-m", module, *arguments],
      cwd=tmp_path,
      env={**environment(), "PYTHONPATH": path},
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

  run("unirep.launch.sweep", *swept, "--jobs=1")
  for seed, row in enumerate(table(tmp_path)):
    assert (row["seed"], row["state"]) == (str(seed), "finished")
  run("unirep.main", f"--config={config}", "--workdir=run")
  features_too = {m: x for m, x in features().items() if m in SHAPES}
  del features_too["sound"]  # NaN is no feature
  model = unirep.load(tmp_path / "run")
  lengths = {"text": features()["length/text"]}
  idx = model.encode(features_too, lengths)
  wanted = {"camera": (N, T), "motion": (N, T), "place": (N, 1), "text": (N, 1)}
  assert {m: x.shape for m, x in idx.items()} == wanted
  text = [
    x[:n] for x, n in zip(features()["text"], lengths["text"], strict=True)
  ]
  np.testing.assert_array_equal(model.encode(text=text)["text"], idx["text"])
  names = tuple(SHAPES)
  run(
    "unirep.main",
    "--config=configs/evaluate.py:data=arrays,size=tiny",
    "--config.checkpoint=run",
    f"--config.trained_on={names}",
    f"--config.tested_on={names}",
    "--config.toc.keep=(8, 16)",
    "--config.data.missing=True",
    *(f"--config.data.{x}=five.npz" for x in ("train", "validation", "test")),
    "--workdir=asked",
  )
  rows = json.loads((tmp_path / "asked/results.json").read_text())["rows"]
  found = {(x["source"], x["target"]) for x in rows}
  assert len(found) == len(SHAPES) ** 2
  assert all(0 <= x["value"] <= 1 for x in rows if x["leads"])


def refused(words, workdir, config):
  with pytest.raises(InputError, match=words) as error:
    dispatch.run(config, workdir, QUIET)
  assert "\n" not in str(error.value)
  assert not workdir.exists()


def test_what_can_not_be_is_refused_before_anything_is_written(tmp_path):
  path, workdir = tmp_path / "five.npz", tmp_path / "run"
  np.savez(path, **features())
  config = config_of(path)
  config.data.missing = False
  refused(r"five\.npz: features\['sound'\] holds NaN", workdir, config)
  released = config_of(path, "data=arrays,size=tiny,preset=released")
  refused(r"codes\.rule='released'.*must be 'shared'", workdir, released)
  for key in ("cmcm.paired", "club.per_step"):
    config = config_of(path)
    loss, name = key.split(".")
    config.loss[loss][name] = False
    refused(rf"loss\.{key}=False.*must be True", workdir, config)
  whole = features()
  whole["sound"] = np.zeros((N, *SHAPES["sound"]))
  np.savez(path, **whole)
  preparation.prepare(released).batches.close()  # with nothing missing
