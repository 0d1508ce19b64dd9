"""A run from before the rooms moved loads, goes on, and is evaluated."""

import json
import pathlib
import tarfile

import jax
import numpy as np
import pytest

import unirep
from unirep import api

OLD = pathlib.Path(__file__).resolve().parents[1] / "old" / "run.tar.xz"


def place(folder, monkeypatch):
  with tarfile.open(OLD) as archive:
    archive.extractall(folder, filter="data")
  monkeypatch.chdir(folder)  # its data has a relative path


@pytest.fixture
def folder(tmp_path, monkeypatch):
  place(tmp_path, monkeypatch)
  return tmp_path


def config_of(**changes):
  config = unirep.config("pretrain:data=arrays,size=tiny", **changes)
  config.modalities = ("video", "audio")
  config.encoders.video.update({"kind": "sequence", "specific": 4})
  config.encoders.audio.specific = 4
  config.data.path = "features.npz"
  config.model.update({"dim": 4, "heads": 1, "hidden": 4})
  config.cpc.width = config.club.hidden = 4
  config.codebook.size, config.checkpoints_kept = 8, 1
  config.codes.update({"threshold": 1e-6, "agreed": 0.0, "until": 1.0})
  return config


def test_its_model_gives_the_same_codes(folder):
  model = unirep.load("run")
  shown = "<Tokenizer of video, audio: 8 codes of 4 dimensions, 4 awake>"
  assert repr(model) == shown
  with np.load("features.npz") as file:
    features = {m: file[m] for m in model.modalities}
  with np.load("expected.npz") as expected:
    for m, idx in model.encode(features).items():
      np.testing.assert_array_equal(idx, expected[f"codes/{m}"])
    for m, states in model.states(features).items():
      general = expected[f"general/{m}"]
      np.testing.assert_allclose(states.general_NxTxD, general, atol=1e-5)


def test_its_run_goes_on(folder, monkeypatch):
  one = jax.devices()[:1]
  monkeypatch.setattr(jax, "devices", lambda *_: one)
  run = unirep.pretrain(config_of(steps=4), "run")
  assert run["steps_this_session"] == 2
  expected = json.loads(pathlib.Path("expected.json").read_text())
  lines = pathlib.Path("run/metrics.jsonl").read_text().splitlines()
  assert len(lines) == len(expected) == 4
  for line, then in zip(lines, expected, strict=True):
    now = json.loads(line)
    del now["steps_per_second"]
    assert now.keys() == then.keys()
    for name, value in then.items():
      assert now[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_a_run_with_other_settings_is_refused(folder):
  with pytest.raises(unirep.errors.InputError, match=r"codebook\.size=8"):
    unirep.pretrain(config_of(), "run", **{"codebook.size": 9})


def test_its_codes_are_not_made_again(folder):
  config = unirep.config("tokenize", checkpoint="run", features="features.npz")
  result = api.run("tokenize", config, "tokens")
  assert (result["new"], result["files"]) == (0, 1)


def test_it_is_evaluated(folder):
  config = unirep.config("evaluate:data=arrays,size=tiny", checkpoint="run")
  for split in ("train", "validation", "test"):
    config.data[split] = "features.npz"
  config.tasks = ("classification",)
  rows = unirep.evaluate(config, "evaluated").rows
  assert {(row["source"], row["target"]) for row in rows} == {
    (a, b) for a in ("video", "audio") for b in ("video", "audio")
  }
