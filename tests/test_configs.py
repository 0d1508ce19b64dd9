"""Every config loads, runs two steps through the experiment, leaves no key."""

import pathlib

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from rich.console import Console

from configs import pretrain
from unirep.experiment import build, checks, jobs

ROOT = pathlib.Path(__file__).resolve().parent.parent
FSDD = ROOT.parent / "shared" / "data" / "fsdd" / "fsdd_recordings.zip"


class Watched(ConfigDict):
  """Remembers which leaves were read."""

  seen: set

  def __init__(self, config, prefix="", seen=None):
    super().__init__()
    object.__setattr__(self, "seen", set() if seen is None else seen)
    object.__setattr__(self, "prefix", prefix)
    with self.ignore_type():
      for key, value in config.items():
        if isinstance(value, ConfigDict):
          value = Watched(value, f"{prefix}{key}.", self.seen)
        super().__setitem__(key, value)

  def __getitem__(self, key):
    if "prefix" in self.__dict__ and not isinstance(
      super().__getitem__(key), ConfigDict
    ):
      self.seen.add(f"{self.prefix}{key}")
    return super().__getitem__(key)


def leaves(config, prefix=""):
  for key, value in config.items():
    if isinstance(value, ConfigDict):
      yield from leaves(value, f"{prefix}{key}.")
    else:
      yield f"{prefix}{key}"


def small_variant(arg, tmp_path):
  config = pretrain.get_config(arg)
  if config.data.source == "digits":
    if not FSDD.exists():
      pytest.skip("no recordings")
    config.data.fsdd = str(FSDD)
  if config.data.source == "arrays":
    rng = np.random.default_rng(0)
    np.savez(
      tmp_path / "mine.npz",
      video=rng.random((32, 4, 5, 5, 3), np.float32),
      audio=rng.random((32, 4, 6), np.float32),
      text=rng.random((32, 5, 7), np.float32),
      **{"label/class": rng.integers(0, 3, 32)},  # without: no probe is trained
    )
    config.data.path = str(tmp_path / "mine.npz")
  else:
    config.data.train_size, config.data.test_size = 24, 16
  return config


@pytest.mark.parametrize(
  ("data", "preset"),
  [
    ("synthetic", "clean"),
    ("synthetic", "released"),
    ("digits", "clean"),
    ("arrays", "clean"),
    pytest.param("digits", "released", marks=pytest.mark.slow),
    pytest.param("arrays", "released", marks=pytest.mark.slow),
  ],
)
def test_two_steps_and_no_key_unread(data, preset, tmp_path, monkeypatch):
  monkeypatch.setattr(build, "as_json", lambda config: {})
  config = small_variant(f"size=tiny,data={data},preset={preset}", tmp_path)
  watched = Watched(config)
  watched.seen.clear()
  devices = jax.devices()[:2]
  monkeypatch.setattr(jax, "devices", lambda: devices)
  summary = jobs.run(watched, tmp_path / "run", Console(quiet=True))
  assert summary["steps"] == 2
  assert summary["cross_modal"]
  unread = set(leaves(config)) - watched.seen
  assert not unread


def test_all_variants_load():
  for data in pretrain.CHOICES["data"]:
    for preset in pretrain.CHOICES["preset"]:
      for size in pretrain.CHOICES["size"]:
        arg = f"data={data},preset={preset},size={size}"
        config = pretrain.get_config(arg)
        for key in ("seed", "steps", "batch_size", "dropout", "log_every"):
          assert key in config
        checks.check_pretrain(config)
        build.recipe(config)


def test_presets_differ_by_keywords_only():
  clean = pretrain.get_config("preset=clean")
  released = pretrain.get_config("preset=released")
  ours, theirs = set(leaves(clean)), set(leaves(released))
  assert {key.split(".")[0] for key in ours ^ theirs} <= {"restart"}


@pytest.mark.parametrize("arg", ["data=oranges", "size", "=", "a=b,c"])
def test_unknown_variants_are_refused(arg):
  with pytest.raises(ValueError, match="unknown variant"):
    pretrain.get_config(arg)
