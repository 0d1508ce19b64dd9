"""Every config loads, runs two steps through the experiment, leaves no key."""

import fnmatch
import importlib
import itertools
import json
import pathlib

import chex
import jax
import numpy as np
import pytest
import recordings
import releases
from ml_collections import ConfigDict
from PIL import Image
from rich.console import Console

from unirep.configs import _bounds, evaluate, extract, pretrain
from unirep.configuration import build, schema
from unirep.data import sources
from unirep.data.procedural.synthetic import SyntheticEvents
from unirep.jobs import checks, dispatch, preparation
from unirep.jobs import workdir as workdir_lib
from unirep.runtime import atomic
from unirep.runtime.errors import InputError
from unirep.train import state as states
from unirep.train import step

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
  elif config.data.source == "media":
    config.data.path = str(extracted(tmp_path))
  elif config.data.source == "avel":
    config.data.update(releases.avel(tmp_path))
    if "preset=released" in arg:
      table = "bert_id\tindex\ttoken\n1996\t1\tthe\n1037\t2\ta\n"
      (tmp_path / "words.tsv").write_text(table)
      config.data.word_map = str(tmp_path / "words.tsv")
  elif config.data.source == "grid":
    config.data.path = str(recordings.talker(tmp_path / "talker"))
  elif config.data.source == "utd":
    np.savez(tmp_path / "utd_mhad.npz", **recordings.actions())
    config.data.path = str(tmp_path)
  else:
    config.data.train_size, config.data.test_size = 24, 16
  return config


def extracted(folder):
  """What configs/extract.py writes of noise; no split is validation."""
  rng = np.random.default_rng(0)
  rows = ["video,audio,text,label"]
  for i in range(32):
    image = rng.integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(image).save(folder / f"{i}.png")
    np.save(folder / f"{i}.npy", rng.normal(size=(200, 2)))
    rows.append(f"{i}.png,{i}.npy,word{i % 3} and more,{i % 3}")
  (folder / "media.csv").write_text("\n".join(rows))
  config = extract.get_config()
  config.media, config.steps, config.workers = str(folder / "media.csv"), 4, 0
  config.extractors.audio = "sensor:rate=50,channels=2"
  config.shares = {}
  dispatch.run(config, folder / "extracted", Console(quiet=True))
  return folder / "extracted"


# Leaves that only a run reads, not what it is prepared from.
RUNNING = {
  *("log_every", "checkpoint_every", "checkpoint_seconds"),
  *("checkpoints_kept", "checkpoints_required", "job", "mask_padding"),
  *("probe.steps", "probe.batch_size", "probe.learning_rate"),
  *("probe.passes", "probe.seeds", "probe.samples"),
}
VARIANTS = [
  ("fcid", "synthetic", "clean"),
  ("fcid", "synthetic", "released"),
  ("fcid", "digits", "clean"),
  ("fcid", "digits", "released"),
  ("fcid", "arrays", "clean"),
  ("fcid", "arrays", "released"),
  ("fcid", "media", "clean"),
  ("fcid", "grid", "clean"),
  ("fcid", "utd", "clean"),
  ("fcid", "avel", "clean"),
  ("fcid", "avel", "released"),
  ("dcid", "synthetic", "clean"),
  ("dcid", "synthetic", "released"),
  ("dcid", "grid", "clean"),
  ("dcid", "utd", "clean"),
]
# Of what others show too: the default, a source, and how a preset differs.
ALIKE = {
  ("fcid", "synthetic", "clean"),  # `trained`
  ("fcid", "digits", "released"),
  ("fcid", "arrays", "clean"),
  ("fcid", "arrays", "released"),
  ("fcid", "avel", "released"),
  ("fcid", "utd", "clean"),
  ("dcid", "grid", "clean"),
  ("dcid", "utd", "clean"),
}


def watched_variant(method, data, preset, tmp_path, monkeypatch):
  arg = f"size=tiny,method={method},data={data},preset={preset}"
  config = small_variant(arg, tmp_path)
  settings = build.as_json(config)
  monkeypatch.setattr(build, "as_json", lambda config: settings)
  watched = Watched(config)
  watched.seen.clear()
  devices = jax.devices()[:2]
  monkeypatch.setattr(jax, "devices", lambda: devices)
  return watched


def test_the_default_runs_and_no_key_unread(trained):
  summary = json.loads((trained / "summary.json").read_text())
  assert summary["steps"] == 2
  assert summary["cross_modal"]
  assert json.loads((trained.parent / "unread.json").read_text()) == []


@pytest.mark.slow  # the first one, on one device, is `trained`
@pytest.mark.parametrize(("method", "data", "preset"), VARIANTS)
def test_two_steps_and_no_key_unread(
  method, data, preset, tmp_path, monkeypatch
):
  watched = watched_variant(method, data, preset, tmp_path, monkeypatch)
  summary = dispatch.run(watched, tmp_path / "run", Console(quiet=True))
  assert summary["steps"] == 2
  # What GRID's clips say has no single class: its words are slots.
  assert bool(summary["cross_modal"]) == (data != "grid")
  assert summary["sharing"]
  assert not {*leaves(watched)} - watched.seen


@pytest.mark.parametrize(
  ("method", "data", "preset"),
  [
    pytest.param(*each, marks=[pytest.mark.slow] if each in ALIKE else [])
    for each in VARIANTS
  ],
)
def test_a_step_is_built_and_no_key_unread(
  method, data, preset, tmp_path, monkeypatch
):
  """The same without compiling anything."""
  watched = watched_variant(method, data, preset, tmp_path, monkeypatch)
  job = preparation.prepare(watched)
  function = step.build(job.training, job.mesh)
  batch = next(job.batches)
  inputs = {part: batch[part] for part in ("features", "lengths")}
  run_args = states.run_args(watched.seed, watched.steps)
  after, metrics = jax.eval_shape(function, job.shapes, inputs, run_args)
  chex.assert_trees_all_equal_shapes_and_dtypes(after, job.shapes)
  assert metrics["loss"].shape == ()
  assert {*leaves(watched)} - watched.seen <= RUNNING


def variants(module):
  """Every configuration that a packaged file gives."""
  yield from map(module.get_config, getattr(module, "VARIANTS", ()))
  for name in getattr(module, "SETS", ()):
    yield module.get_config(f"data={name}")
  choices = getattr(module, "CHOICES", {})
  for values in itertools.product(*choices.values()):
    pairs = zip(choices, values, strict=True)
    yield module.get_config(",".join(f"{k}={v}" for k, v in pairs))


def test_the_schema_knows_each_key_and_no_other():
  assert [*schema.JOBS] == [*dispatch.JOBS]
  used = set()
  for job in schema.JOBS:
    for config in variants(importlib.import_module(f"unirep.configs.{job}")):
      settings = build.as_json(config)
      schema.check(settings)
      used |= {*leaves(config)}
      # Modalities have any names, and losses may be more than are packaged.
      closed = (settings[x] for x in settings if x not in ("encoders", "loss"))
      for part in (settings, *(x for x in closed if isinstance(x, dict))):
        part["bogus"] = []
        with pytest.raises(InputError, match=r"bogus"):
          schema.check(settings)
        del part["bogus"]
  patterns = [p for p in _bounds.BOUNDS if not fnmatch.filter(used, p)]
  assert not patterns, "bounds of keys that are nowhere"


@pytest.mark.parametrize(
  ("key", "value", "words"),
  [
    ("steps", 0, "a whole number, at least 1"),
    ("steps", 2.5, "a whole number"),
    ("dropout", 1.0, "a number, at least 0 and below 1"),
    ("dropout", float("nan"), "a number"),
    ("loss.infonce.temperature", 0, "a number, above 0"),
    ("loss.infonce.symmetric", 1, "True or False"),
    ("codes.threshold", -1.5, "at least -1 and at most 1"),
    ("weights.mine", -1.0, "at least 0"),
    ("encoders.radar", {"kind": "vector"}, ""),
    ("encoders.radar", {"kind": "vector", "specific": 1}, "at least 2"),
    ("modalities", ("audio", 3), "must be text"),
    ("data", {"source": "mine", "anything": 3}, ""),
    ("codes", {"rule": "mine", "anything": [1, "a"]}, ""),
    ("data.private", 10**6, "at most 10000"),
  ],
)
def test_types_and_ranges_are_those_of_the_packaged_values(key, value, words):
  settings = build.as_json(pretrain.get_config())
  *sections, last = key.split(".")
  place = settings
  for name in sections:
    place = place[name]
  place[last] = value
  lacks = key == "encoders.radar" and "specific" not in value
  if words or lacks:
    with pytest.raises(InputError, match=words or "lacks the key"):
      schema.check(settings)
  else:
    schema.check(settings)


def test_a_new_keyword_of_a_loss_needs_nothing_but_its_preset(monkeypatch):
  """Its type is that of its default."""
  clean = pretrain.clean

  def changed(config):
    clean(config)
    config.loss.infonce.margin = 0.1

  monkeypatch.setattr(pretrain, "clean", changed)
  schema.packaged.cache_clear()
  try:
    settings = build.as_json(pretrain.get_config())
    schema.check(settings)
    settings["loss"]["infonce"]["margin"] = "wide"
    with pytest.raises(InputError, match=r"loss\.infonce\.margin='wide'"):
      schema.check(settings)
  finally:
    schema.packaged.cache_clear()


def test_all_variants_load():
  for values in itertools.product(*pretrain.CHOICES.values()):
    variant = zip(pretrain.CHOICES, values, strict=True)
    config = pretrain.get_config(",".join(f"{k}={v}" for k, v in variant))
    for key in ("seed", "steps", "batch_size", "dropout", "log_every"):
      assert key in config
    checks.check_pretrain(config)
    build.training(config)


@pytest.mark.parametrize(
  "knobs",
  [{}, {"classes": 100, "variation": 0.1, "nuisance": 0.3, "private": 2}],
)
def test_knobs_of_synthetic_events_reach_the_samples(knobs):
  config, downstream = pretrain.get_config(), evaluate.get_config()
  config.data.update(knobs)
  downstream.data.update(knobs)
  pair = sources.pair(config.data, config.modalities)
  for split, trained_on in zip(("train", "test"), pair, strict=True):
    expected = SyntheticEvents(split=split, size=9, **knobs)[5]
    for source in (
      trained_on,
      sources.source(downstream.data, "clips", split),
    ):
      for part in ("features", "labels"):
        assert source[5][part].keys() == expected[part].keys()
        for name, value in expected[part].items():
          np.testing.assert_array_equal(source[5][part][name], value)


def test_a_bad_knob_is_named():
  config, downstream = pretrain.get_config(), evaluate.get_config()
  config.data.private = downstream.data.private = -1
  with pytest.raises(InputError, match="private"):
    sources.pair(config.data, config.modalities)
  with pytest.raises(InputError, match="private"):
    sources.source(downstream.data, "clips", "train")


def test_runs_from_before_the_knobs_go_on(tmp_path):
  config = pretrain.get_config()
  settings = build.as_json(config)
  old = build.as_json(config)
  for knob in ("classes", "variation", "nuisance", "private"):
    del old["data"][knob]
  atomic.write_json(tmp_path / workdir_lib.CONFIG, old)
  workdir_lib.check(tmp_path, settings)
  config.data.classes = 30
  with pytest.raises(InputError, match=r"data\.classes"):
    workdir_lib.check(tmp_path, build.as_json(config))


def test_models_from_before_the_sphere_are_not_put_on_it():
  """Their codes lie elsewhere, so that the codes chosen would be others."""
  settings = build.as_json(pretrain.get_config())
  assert build.network(build.from_json(settings)).sphere
  for leaf in ("sphere", "steps"):
    del settings["model"][leaf]
  network = build.network(build.from_json(settings))
  assert (network.sphere, network.steps) == (False, False)


def test_presets_differ_by_keywords_only():
  clean = pretrain.get_config("preset=clean")
  released = pretrain.get_config("preset=released")
  ours, theirs = set(leaves(clean)), set(leaves(released))
  assert {key.rpartition(".")[0] for key in ours ^ theirs} <= {
    "codes",
    "codes.ema",
    "codes.restart",
    "loss.distribution",
  }


@pytest.mark.parametrize("arg", ["data=oranges", "size", "=", "a=b,c"])
def test_unknown_variants_are_refused(arg):
  with pytest.raises(ValueError, match="unknown variant"):
    pretrain.get_config(arg)
