"""Five modalities come to share one codebook through the public command."""

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

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
