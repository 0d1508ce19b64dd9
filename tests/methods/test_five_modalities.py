"""Five modalities at once, through every public door."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

import unirep

CLASSES, N, T = 8, 1200, 6
FINE = {  # a step of each: two grids, a sequence, a vector
  "camera": (5, 5, 8),
  "depth": (6, 5, 6),
  "sound": (16,),
  "motion": (12,),
}
CONFIG = """
from unirep.configs import pretrain

def get_config():
  config = pretrain.get_config("data=arrays")
  config.data.path = {path!r}
  config.modalities = ("camera", "depth", "sound", "motion", "text")
  config.fine = ("camera", "depth", "sound", "motion")
  config.encoders = {{
    "camera": {{"kind": "grid", "specific": 16}},
    "depth": {{"kind": "grid", "specific": 16}},
    "sound": {{"kind": "sequence", "specific": 32}},
    "motion": {{"kind": "vector", "specific": 32}},
    "text": {{"kind": "sequence", "specific": 32}},
  }}
  config.model.update({{"dim": 64, "hidden": 128}})
  config.cpc.width = 64
  config.club.hidden = 32
  config.codebook.size = 64
  config.steps = 200
  config.probe.steps = 200
  return config
"""


def features(rng):
  """One event a sample, in a window that the fine modalities share."""
  label = rng.integers(0, CLASSES, N)
  start, time = rng.integers(0, 3, N)[:, None], np.arange(T)
  shown = (time >= start) & (time < start + 4)
  ids = np.where(shown, label[:, None], CLASSES)
  out = {}
  for name, shape in FINE.items():
    looks = rng.normal(size=(CLASSES + 1, shape[-1]))
    looks[-1] = 0
    own = 0.3 * rng.normal(size=(N, 1, shape[-1]))  # a speaker, a camera
    x = looks[ids] + own
    if len(shape) == 3:
      x = np.maximum(x, 0)[:, :, None, None] / 4
    x = x + 0.3 * rng.normal(size=(N, T, *shape))
    out[name] = x.astype(np.float32)
  words = rng.normal(size=(CLASSES + 20, 24))
  length = rng.integers(3, 9, N)
  said = rng.integers(CLASSES, CLASSES + 20, (N, 8))
  said[np.arange(N), rng.integers(0, length)] = label
  text = words[said] * (np.arange(8) < length[:, None])[:, :, None]
  out["text"] = text.astype(np.float32)
  return out | {"length/text": length, "label/class": label}


@pytest.mark.slow
def test_every_pair_transfers_by_index(tmp_path):
  path = tmp_path / "five.npz"
  np.savez(path, **features(np.random.default_rng(0)))
  (tmp_path / "five.py").write_text(CONFIG.format(path=str(path)))
  workdir = tmp_path / "run"
  command = [sys.executable, "-m", "unirep.main"]
  command += [f"--config={tmp_path / 'five.py'}", f"--workdir={workdir}"]
  subprocess.run(command, check=True)
  summary = json.loads((workdir / "summary.json").read_text())
  transfer = summary["sharing"]["transfer"]
  names = [*FINE, "text"]
  pairs = {f"{m}->{n}" for m, n in itertools.permutations(names, 2)}
  assert transfer.keys() == pairs
  for pair, score in transfer.items():
    assert score["ceiling"] > 0.8, pair  # by chance 0.16: the codes say much
    assert score["accuracy"] >= 0.9 * score["ceiling"], pair


HOLES = """
from unirep.configs import pretrain

def get_config():
  config = pretrain.get_config("data=arrays,size=tiny")
  config.data.update({{"path": {path!r}, "missing": True}})
  config.modalities = ("camera", "sound", "motion", "place", "text")
  config.fine = ("camera", "sound", "motion")
  kinds = ("grid", "sequence", "sequence", "vector", "sequence")
  config.encoders = {{
    m: {{"kind": kind, "specific": 8}}
    for m, kind in zip(config.modalities, kinds)
  }}
  config.steps = 4
  return config
"""
SWEEP = """
def get_sweep():
  return [{{"config": {config!r}, "seed": seed}} for seed in (0, 1)]
"""
SIZE, STEPS = 90, 10


def with_holes(rng):
  """A camera, a sound and a motion of ten steps, a place, a ragged text."""
  shapes = {"camera": (STEPS, 5, 5, 8), "sound": (STEPS, 16)}
  shapes |= {"motion": (STEPS, 12), "place": (1, 10), "text": (7, 9)}
  label = np.arange(SIZE) % 3
  arrays = {
    m: rng.normal(size=(SIZE, *shape)) + label.reshape(-1, *(1,) * len(shape))
    for m, shape in shapes.items()
  }
  arrays["motion"][rng.random(SIZE) < 1 / 3] = np.nan
  arrays = {m: x.astype(np.float32) for m, x in arrays.items()}
  length = rng.integers(2, 8, SIZE)
  return arrays | {"length/text": length, "label/class": label}


def run(module, *flags):
  subprocess.run([sys.executable, "-m", f"unirep.{module}", *flags], check=True)


@pytest.mark.slow
def test_one_that_a_third_lacks_goes_through_every_door(tmp_path):
  path, workdir = tmp_path / "holes.npz", tmp_path / "run"
  arrays = with_holes(np.random.default_rng(0))
  np.savez(path, **arrays)
  config = tmp_path / "holes.py"
  config.write_text(HOLES.format(path=str(path)))
  run("main", f"--config={config}", f"--workdir={workdir}")

  model = unirep.load(workdir)
  some = {m: arrays[m][:8] for m in model.modalities}
  codes = model.encode(some, lengths={"text": arrays["length/text"][:8]})
  lacks = np.isnan(some["motion"]).all((1, 2))
  assert lacks.any()
  assert not lacks.all()
  assert ((codes["motion"] == -1).all(1) == lacks).all()
  assert {m: x.shape[1] for m, x in codes.items()} == {
    **dict.fromkeys(("camera", "sound", "motion"), STEPS),
    **dict.fromkeys(("place", "text"), 1),
  }
  assert (model.encode_clips(some)["motion"] == -1).tolist() == lacks.tolist()
  assert not model.embed(motion=list(some["motion"]))["motion"][
    lacks.argmax()
  ].any()

  splits = [
    f"--config.data.{x}={path}" for x in ("train", "validation", "test")
  ]
  run(
    "main",
    *("--config=configs/evaluate.py:data=arrays,size=tiny", *splits),
    *("--config.data.missing", f"--config.checkpoint={workdir}"),
    f"--workdir={tmp_path / 'evaluated'}",
  )
  results = json.loads((tmp_path / "evaluated" / "results.json").read_text())
  fine = {"camera", "sound", "motion"}  # the checkpoint's, nobody named them
  assert {row["source"] for row in results["rows"]} == fine
  assert {row["target"] for row in results["rows"]} == fine

  sweep = tmp_path / "sweep.py"
  sweep.write_text(SWEEP.format(config=str(config)))
  flags = f"--sweep={sweep}", f"--workdir={tmp_path / 'swept'}"
  run("launch.sweep", *flags)
  assert "camera" in (tmp_path / "swept" / "table.md").read_text()
