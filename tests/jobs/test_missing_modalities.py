"""Five modalities, one of them missing from a third: trained, read, asked."""

import json

import jax
import numpy as np
import pytest
from rich.console import Console

import unirep
from unirep.configs import evaluate, pretrain, tokenize
from unirep.data import arrays
from unirep.errors import InputError
from unirep.jobs import dispatch, preparation

N, T, CLASSES = 36, 10, 3
SHAPES = {
  "camera": (T, 5, 5, 3),
  "sound": (T, 6),
  "motion": (T, 4),
  "place": (5,),
  "text": (7, 6),
}
QUIET = Console(quiet=True)


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
  source = arrays.load_npz(path, missing=True)
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
