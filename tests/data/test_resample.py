"""Modalities on one time axis, against loops and by invariants."""

import math
import pickle

import numpy as np
import pytest

from unirep.configs import evaluate, pretrain
from unirep.configuration import build
from unirep.data import arrays, resample, sources
from unirep.jobs import preparation as job
from unirep.jobs import workdir
from unirep.runtime import atomic
from unirep.runtime.errors import InputError

RULES = ("nearest", "mean", "linear")
CASES = [
  *((30, 10, 30), (30, 10, 17), (10, 4, 10), (10, 4, 7), (7, 3, 1)),
  *((4, 10, 4), (4, 10, 3), (5, 1, 5), (1, 6, 1), (6, 6, 4)),
]


def reference(x, steps, rule, length):
  """Step by step, from where each one lies in time."""
  time, y = len(x), np.zeros((steps, *x.shape[1:]))
  for s in range(math.ceil(length * steps / time)):
    begin, end = s * time / steps, (s + 1) * time / steps
    middle = (begin + end) / 2
    if rule == "nearest":
      y[s] = x[min(math.floor(middle), length - 1)]
    elif rule == "linear":
      at = min(max(middle - 0.5, 0), length - 1)
      low = min(math.floor(at), length - 1)
      high = min(low + 1, length - 1)
      y[s] = x[low] + (at - low) * (x[high] - x[low])
    else:
      total = 0.0
      for t in range(length):
        share = max(0.0, min(end, t + 1) - max(begin, t))
        y[s] += share * x[t]
        total += share
      y[s] /= total
  return y


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("time", "steps", "length"), CASES)
def test_rules_are_the_loops(rule, time, steps, length):
  x = np.random.default_rng(0).normal(size=(time, 2, 3)).astype(np.float32)
  y = resample.resample(x, steps, rule, length)
  assert y.dtype == np.float32
  np.testing.assert_allclose(y, reference(x, steps, rule, length), atol=1e-5)
  x[length:] = 1e6  # padding is nowhere
  np.testing.assert_array_equal(resample.resample(x, steps, rule, length), y)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("time", "steps", "length"), CASES)
def test_a_constant_stays_one(rule, time, steps, length):
  y = resample.resample(np.ones((time, 2), np.float32), steps, rule, length)
  valid = math.ceil(length * steps / time)
  np.testing.assert_allclose(y[:valid], 1, atol=1e-6)
  np.testing.assert_array_equal(y[valid:], 0)


def test_the_mean_keeps_the_mean_and_linear_keeps_a_ramp():
  x = np.random.default_rng(0).normal(size=(30, 2)).astype(np.float32)
  y = resample.resample(x, 7, "mean", 30)
  np.testing.assert_allclose(y.mean(0), x.mean(0), atol=1e-6)
  ramp = np.arange(30, dtype=np.float32)[:, None]
  y = resample.resample(ramp, 10, "linear", 30)
  np.testing.assert_allclose(y[:, 0], 3 * np.arange(10) + 1, atol=1e-5)


def made(size=24):
  rng = np.random.default_rng(0)
  return {
    "video": rng.random((size, 30, 5, 5, 3), np.float32),
    "audio": rng.random((size, 10, 6), np.float32),
    "text": rng.random((size, 5, 7), np.float32),
    "length/video": rng.integers(1, 31, size),
    "label/class": rng.integers(0, 3, size),
  }


def test_only_what_shares_the_axis_changes():
  contents = made()
  source = arrays.Arrays(
    {m: contents[m] for m in ("video", "audio", "text")},
    {"video": contents["length/video"]},
  )
  found = resample.Resampled(source, ("video", "audio"), rule="mean")
  found = pickle.loads(pickle.dumps(found))
  assert len(found) == 24
  for i in range(24):
    length = int(contents["length/video"][i])
    sample = found[i]
    assert sample["lengths"]["video"] == math.ceil(length / 3)
    assert sample["lengths"]["video"].dtype == np.int32
    np.testing.assert_allclose(
      sample["features"]["video"],
      reference(contents["video"][i], 10, "mean", length),
      atol=1e-5,
    )
    for m in ("audio", "text"):
      np.testing.assert_array_equal(sample["features"][m], contents[m][i])
  assert source[0]["features"]["video"].shape[0] == 30  # not changed in place
  wide = resample.Resampled(source, ("video", "audio"), rule="linear", steps=12)
  shapes = {m: x.shape[0] for m, x in wide[0]["features"].items()}
  assert shapes == {"video": 12, "audio": 12, "text": 5}


def test_a_run_asks_for_it(tmp_path):
  np.savez(tmp_path / "mine.npz", **made())
  config = pretrain.get_config("size=tiny,data=arrays")
  config.data.path = str(tmp_path / "mine.npz")
  with pytest.raises(InputError, match=r"time steps.*data\.resample=mean"):
    job.prepare(config)
  config.data.resample = "mean"
  prepared = job.prepare(config)
  batch = next(prepared.batches)["features"]
  assert batch["video"].shape == (8, 10, 5, 5, 3)
  config.data.steps = 6
  train, test = sources.pair(config.data, config.modalities, config.fine)
  for source in (train, test):
    assert len(source[0]["features"]["audio"]) == 6
  later = evaluate.get_config("data=arrays").data
  later.test, later.resample = config.data.path, "nearest"
  source = sources.source(later, "clips", "test", ("video", "audio"))
  assert len(source[0]["features"]["video"]) == 10


def test_runs_from_before_it_go_on(tmp_path):
  config = pretrain.get_config("data=arrays")
  old = build.as_json(config)
  del old["data"]["resample"], old["data"]["steps"]
  atomic.write_json(tmp_path / workdir.CONFIG, old)
  workdir.check(tmp_path, build.as_json(config))
  config.data.resample = "mean"
  with pytest.raises(InputError, match=r"data\.resample"):
    workdir.check(tmp_path, build.as_json(config))


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"resample": "cubic"}, r"data\.resample='cubic'.*nearest.*mean.*linear"),
    ({"resample": "mean", "steps": -1}, r"data\.steps=-1"),
    ({"steps": 4}, r"data\.steps=4 needs a rule.*nearest"),
  ],
)
def test_bad_settings_are_named(change, words, tmp_path):
  np.savez(tmp_path / "mine.npz", **made())
  config = pretrain.get_config("data=arrays")
  config.data.update({"path": str(tmp_path / "mine.npz"), **change})
  with pytest.raises(InputError, match=words):
    sources.pair(config.data, config.modalities, config.fine)
