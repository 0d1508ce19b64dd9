"""What joins the layers: each test fails if one thread is pulled.

Splits, keys, schedules, masks and weights are passed through several hands, and
a wrong one would train or report without complaint.
"""

import hashlib
import itertools
import types
from typing import Any
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from unirep.configs import evaluate as evaluate_config
from unirep.configs import pretrain as pretrain_config
from unirep.configs import toc as toc_config
from unirep.configuration import build
from unirep.data import sources
from unirep.inference.codes import Codes
from unirep.jobs import evaluate, evaluation, masks, preparation, pretrain
from unirep.jobs import toc as toc_job
from unirep.losses import contrast as contrasts
from unirep.losses import infonce
from unirep.losses.base import at, context, fingerprint
from unirep.methods import recipe as recipes
from unirep.parallel import mesh as meshes
from unirep.quantizer import toc
from unirep.runtime.errors import InputError
from unirep.tasks import classification
from unirep.tasks.probing import probe, suite
from unirep.tasks.registry import TASKS
from unirep.train import state as states
from unirep.train import step as steps


@pytest.fixture(scope="module")
def job():
  """A tiny run, prepared, with its step, its first batch and first state."""
  config = pretrain_config.get_config("size=tiny")
  config.data.update({"train_size": 16, "test_size": 8})
  config.batch_size = 8
  config.workers = 0
  made = preparation.prepare(config)
  mesh = meshes.make(config.batch_size, jax.devices()[:1])
  batch = meshes.put_batch(mesh, next(made.batches))
  run_args = states.run_args(0, 2)
  program = steps.build(made.training, mesh)
  # In one program, and on the host, since a step donates what it is given.
  state = jax.device_get(jax.jit(made.init)(jax.random.key(0)))
  return (
    made,
    lambda state, batch: program(state, batch, run_args),
    batch,
    state,
  )


def first_state(job, step):
  _, run, batch, state = job
  return run(state._replace(step=np.int32(step)), batch)


def test_two_steps_on_one_batch_differ(job):
  """Dropout, CPC's start and negatives are those of the step."""
  (_, first), (_, second), (_, again) = (first_state(job, i) for i in (0, 1, 0))
  chex.assert_trees_all_equal(first, again)
  # No negative enters these, only dropout.
  for m in ("video", "audio"):
    name = f"fine_reconstruction/{m}"
    assert abs(first[name] - second[name]) > 1e-6
  assert first["loss"] != second["loss"]


def test_the_step_leaves_out_padding(job):
  _, run, batch, state = job
  length_B = np.asarray(batch["lengths"]["text"])
  text = np.array(batch["features"]["text"])
  padding = np.arange(text.shape[1]) >= length_B[:, None]
  assert padding.any()
  text[padding] = 9.0
  text = jax.device_put(text, batch["features"]["text"].sharding)
  spoiled = {**batch, "features": {**batch["features"], "text": text}}
  after, metrics = run(state, batch)
  expected = jax.device_get((after.codebook, metrics))
  after, metrics = run(state, spoiled)
  chex.assert_trees_all_close((after.codebook, metrics), expected, rtol=1e-5)


def test_every_future_is_predicted():
  """A context ends at any step that leaves one to predict, after the first."""
  config = pretrain_config.get_config("size=tiny")
  recipe = build.recipe(config)
  batch = {"features": {"video": np.zeros((2, 10, 1)), "audio": 0, "text": 0}}
  keys = jax.random.split(jax.random.key(0), 400)
  draw = jax.jit(
    jax.vmap(lambda key: recipes.draw(recipe, key, batch, 2).start)
  )
  count = np.bincount(draw(keys), minlength=10)
  assert count.tolist()[:1] + count.tolist()[9:] == [0, 0]
  assert (count[1:9] > 25).all()  # 50 are expected


def test_the_schedule_ends_with_the_run():
  config = pretrain_config.get_config("size=tiny")
  config.steps = 60
  optimizer: Any = build.training(config).optimizer
  params = {"encoder": {"x": jnp.ones(3)}}
  grads = jax.tree.map(lambda x: 0.1 * x, params)

  def update(state, _):
    updates, state = optimizer.update(grads, state, params, steps=60)
    return state, jnp.abs(updates["encoder"]["x"]).max()

  _, size_S = jax.lax.scan(update, optimizer.init(params), length=60)
  peak = config.optimizer.learning_rate
  warm = config.optimizer.warmup
  assert size_S[warm] == pytest.approx(peak, rel=0.05)
  assert (np.diff(size_S[warm:]) < 0).all()
  assert size_S[-1] == pytest.approx(peak / 10, rel=0.1)


def test_the_step_is_told_its_run(tmp_path, monkeypatch):
  """Its seed and length are arguments, so that others need no compiling."""
  config = pretrain_config.get_config("size=tiny")
  config.data.update({"train_size": 16, "test_size": 8})
  config.update({"seed": 7, "steps": 60})
  monkeypatch.setattr(pretrain.loop, "run", lambda step, *_, **__: step)
  monkeypatch.setattr(pretrain.step, "build", lambda *_, **__: lambda *x: x[-1])
  made = preparation.prepare(config)
  manager: Any = types.SimpleNamespace(directory=tmp_path)
  step: Any = pretrain.train(made, None, None, None, manager, tmp_path)
  assert jax.device_get(step(None, None)) == (7, 60)


def test_a_project_gets_settings_metrics_and_results(tmp_path, monkeypatch):
  config = pretrain_config.get_config("size=tiny")
  config.data.update({"train_size": 16, "test_size": 8})
  config.wandb = "play"
  metrics = {"loss": 0.5, "steps_per_second": 1.0}
  state = types.SimpleNamespace(
    step=0, params=None, codebook=types.SimpleNamespace(code_KxD=None)
  )

  def train(job, state, feed, log, *_):
    log.write(1, metrics)
    return state

  run, asked = mock.MagicMock(), []
  run.__enter__.return_value = run
  checked = mock.Mock()
  monkeypatch.setattr(pretrain.tracking, "check", checked)
  monkeypatch.setattr(
    pretrain.tracking, "run", lambda *x: asked.append(x) or run
  )
  monkeypatch.setattr(pretrain, "start", lambda *_: (state, ""))
  monkeypatch.setattr(pretrain, "train", train)
  monkeypatch.setattr(pretrain, "Tokenizer", mock.Mock())
  monkeypatch.setattr(pretrain.meshes, "fetch", lambda _, x: x)
  monkeypatch.setattr(pretrain, "finish", lambda *_: {"codes": {"awake": 3}})
  pretrain.run(pretrain.prepare(config), tmp_path, Console(quiet=True))
  checked.assert_called_once_with("play")
  ((project, workdir, settings),) = asked
  assert (project, workdir, settings["steps"]) == ("play", tmp_path, 2)
  run.log.assert_called_once_with(metrics, step=1)
  run.summary.update.assert_called_once_with({"codes.awake": 3})
  run.__exit__.assert_called_once_with(None, None, None)


def contents(source):
  """A digest of each sample's features, whichever they are."""
  found = set()
  for i in range(len(source)):
    digest = hashlib.sha256()
    for _, x in sorted(source[i]["features"].items()):
      digest.update(np.ascontiguousarray(x))
    found.add(digest.hexdigest())
  assert len(found) == len(source)
  return found


def test_pretraining_never_sees_what_is_held_out():
  synthetic = pretrain_config.get_config("size=tiny").data
  train, test = sources.pair(synthetic, ("video", "audio", "text"))
  assert not contents(train) & contents(test)


def test_a_holdout_is_of_other_samples_whatever_the_seed(tmp_path):
  path = tmp_path / "mine.npz"
  np.savez(path, a=np.random.default_rng(0).normal(size=(40, 3)))
  config = pretrain_config.get_config("data=arrays")
  config.data.path = str(path)
  parts = []
  for seed in (0, 1):
    config.seed = seed
    train, test = map(contents, sources.pair(config.data, ("a",)))
    assert (len(train), len(test)) == (36, 4)
    assert not train & test
    parts.append(test)
  assert parts[0] == parts[1]
  config.data.holdout_seed = 1
  assert contents(sources.pair(config.data, ("a",))[1]) != parts[0]
  other = tmp_path / "other.npz"
  np.savez(other, a=np.random.default_rng(1).normal(size=(9, 3)))
  config.data.validation = str(other)
  train, test = map(contents, sources.pair(config.data, ("a",)))
  assert (len(train), len(test)) == (40, 9)
  assert not train & test


@pytest.mark.parametrize("kind", ["clips", "events"])
def test_splits_of_tasks_are_disjoint(kind):
  data = evaluate_config.get_config("size=tiny").data
  splits = ("train", "validation", "test")
  found = {s: contents(sources.source(data, kind, s)) for s in splits}
  assert [len(x) for x in found.values()] == [24, 8, 8]
  for a, b in itertools.combinations(found.values(), 2):
    assert not a & b
  assert contents(sources.source(data, kind, "seen")) == found["train"]
  # Nor are held-out samples what a model was pretrained on.
  pretraining = pretrain_config.get_config("size=tiny").data
  seen, _ = sources.pair(pretraining, ("video", "audio", "text"))
  assert not contents(seen) & found["test"]


@pytest.mark.parametrize("task", evaluate_config.TASKS)
@pytest.mark.parametrize("protocol", ["heldout", "released"])
def test_a_protocol_asks_for_its_splits(task, protocol, monkeypatch):
  asked = []

  def encode(kind, split):
    asked.append((kind, split))
    labels = {"class": np.zeros(2, int), "segments/a": np.zeros((2, 3), int)}
    labels["slot/place"] = np.zeros(2, int)
    return Codes({"a": np.zeros((2, 3), int)}, {}, labels)

  monkeypatch.setattr(suite, "measure", lambda *_, **__: {})
  model = types.SimpleNamespace(
    codebook=np.ones((4, 2)), awake=np.ones(4, bool)
  )
  bound = types.SimpleNamespace(
    tokenizer=model,
    keep_M=[2],
    live_codes=True,
    toc=masks.Options(0.7, 0.3, (1, 0), centered=False, spare_dead=False),
    trained_on=("a",),
    tested_on=("a",),
    protocol=protocol,
    seed=0,
    seeds=1,
    probe={"batch_size": 2},
  )
  setting = evaluate._setting(bound, task, encode)
  assert not [*TASKS[task].rows(setting)]
  trained = "events" if task == "localization" else "clips"
  tested = {
    "classification": "clips",
    "slots": "clips",
    "localization": "events",
    "cross_classification": "other",
    "cross_localization": "events",
  }[task]
  seen = protocol == "released" and trained == tested
  assert asked == [
    (trained, "train"),
    (trained, "validation"),
    (tested, "seen" if seen else "test"),
  ]


def coded(seed, classes=2, count=6):
  rng = np.random.default_rng(seed)
  idx = rng.integers(0, 4, (count, 3)).astype(np.int32)
  label = rng.integers(0, classes, count).astype(np.int32)
  return Codes({"a": idx, "b": idx[:, ::-1]}, {}, {"class": label})


def test_the_validation_samples_choose_and_the_test_samples_report(monkeypatch):
  train, validation, test = (coded(i) for i in range(3))
  problem = classification.problem(train, validation, test)
  given = {}

  def sweep(key_R, code_KxD, keep_MxD, train, tests, **options):
    del key_R, keep_MxD, options
    given.update(tests, train=train, code=code_KxD)
    scores = {"validation": (3, 1, 2), "test/a": (4, 9, 5), "test/b": (6, 7, 8)}
    return {
      name: {"accuracy": np.broadcast_to(np.float32(x), (1, 1, 2, 3))}
      for name, x in scores.items()
    }

  monkeypatch.setattr(probe, "sweep", sweep)

  def measured(protocol):
    code_KxD = np.random.default_rng(5).normal(size=(4, 3))
    found = suite.measure(
      problem,
      code_KxD,
      np.ones((1, 3), bool),
      seed=0,
      seeds=2,
      sources=("a",),
      targets=("a", "b"),
      protocol_name=protocol,
      options={},
    )
    scale = np.allclose(given["code"], code_KxD)
    return {t: x["accuracy"][0, 0] for (_, t), x in found.items()}, scale

  # Released probes see codes as they are, others on one scale.
  assert measured("heldout") == ({"a": 4, "b": 6}, False)
  assert measured("released") == ({"a": 9, "b": 8}, True)
  for name, codes, m in (
    ("train", train, "a"),
    ("validation", validation, "a"),
    ("test/a", test, "a"),
    ("test/b", test, "b"),
  ):
    np.testing.assert_array_equal(given[name].idx_NxT[0], codes.idx[m])
    np.testing.assert_array_equal(given[name].label[0], codes.labels["class"])


def test_an_evaluation_takes_each_split_for_what_it_is(tmp_path):
  asked = []

  class Model:
    digest, codebook = "one", np.ones((4, 2))

    def codes(self, source, *, dropout=None, passes=1, first=0):
      (number,) = source[0]["features"]["a"]
      asked.append((number, dropout is not None, passes))
      code_N = np.full(passes, number, np.int32)
      return Codes({"a": code_N[:, None]}, {"a": code_N}, {"class": code_N})

  options = evaluation.Options(seed=0, passes=4, samples=0, probe={})
  train, test = ([{"features": {"a": np.array([i])}}] for i in (1, 2))
  found = evaluation.encode(options, Model(), train, test, tmp_path)
  assert asked == [(1, False, 1), (2, False, 1), (1, True, 4)]
  rows = [codes.clip["a"].tolist() for codes in found]
  assert rows == [[1], [2], [1, 1, 1, 1]]


def test_probes_see_no_more_samples_than_they_may(tmp_path, monkeypatch):
  """The same ones with each number of processes, with dropout or without."""
  asked = []

  def encoded(tokenizer, source, path, **options):
    asked.append((path, [int(x["features"]["a"][0]) for x in source]))
    return Codes({}, {}, {"class": np.zeros(1)})

  monkeypatch.setattr(evaluation.encoding, "encoded", encoded)
  tokenizer = types.SimpleNamespace(digest="one")
  train, test = (
    [{"features": {"a": np.array([i])}} for i in part]
    for part in (range(40), range(40, 70))
  )
  seen = {}
  for samples, seed in ((0, 0), (9, 0), (9, 1), (40, 0), (99, 0)):
    options = evaluation.Options(seed, passes=4, samples=samples, probe={})
    evaluation.encode(options, tokenizer, train, test, tmp_path)
    (_, seen[samples, seed]), (_, held), (_, varied) = asked[-3:]
    assert held == [*range(40, 70)]
    assert varied == seen[samples, seed]
  for everything in (seen[0, 0], seen[40, 0], seen[99, 0]):
    assert everything == [*range(40)]
  some = seen[9, 0]
  assert len({*some}) == 9
  assert some == sorted(some)
  assert some != seen[9, 1]
  assert len({path for path, _ in asked}) == 3 + 2 + 2  # none mixed up


def test_the_headline_table_is_of_held_out_samples(job, monkeypatch, tmp_path):
  asked = []

  class Stop(Exception):
    pass

  def encode(options, tokenizer, train, test, folder):
    asked.append((train, test))
    raise Stop

  made, *_ = job
  monkeypatch.setattr(evaluation, "encode", encode)
  with pytest.raises(Stop):
    pretrain.finish(made, None, {}, tmp_path, None)
  ((train, test),) = asked
  assert train is made.train
  assert test is made.test


def test_weights_of_toc_reach_it(tmp_path, monkeypatch):
  rng = np.random.default_rng(0)
  code_KxD = rng.normal(size=(12, 6)).astype(np.float32)
  np.save(tmp_path / "codes.npy", code_KxD)
  expected = toc.importance(
    code_KxD, similarity_weight=0.9, variance_weight=0.2
  )
  config = toc_config.get_config()
  config.codebook = str(tmp_path / "codes.npy")
  config.update({"similarity_weight": 0.9, "variance_weight": 0.2})
  bound = toc_job.prepare(config)
  found = toc_job.run(bound, tmp_path / "toc", Console(quiet=True))
  assert found["rank"] == np.asarray(toc.rank(expected)).tolist()
  with np.load(tmp_path / "toc" / "toc.npz") as file:
    np.testing.assert_allclose(file["importance_D"], expected, rtol=1e-5)
  options = masks.Options(0.9, 0.2, (1, 0), centered=False, spare_dead=False)
  live_K = np.ones(12, bool)
  ranking, last = masks.ranking(code_KxD, live_K, options)
  np.testing.assert_allclose(ranking, expected, rtol=1e-5)
  assert last is None
  # The choice without labels is of that ranking: dimensions that vary little
  # come first where their mean alone counts.
  code_KxD = rng.normal(size=(12, 6)) * np.array([3, 3, 3, 0.1, 0.1, 0.1])
  code_KxD[:, :3] += 5
  by_mean = options._replace(similarity_weight=1.0, variance_weight=0.0)
  assert masks.choose(code_KxD, live_K, by_mean) == 6
  by_variance = options._replace(similarity_weight=0.0, variance_weight=1.0)
  assert masks.choose(code_KxD, live_K, by_variance) == 3


def test_samples_of_one_caption_are_no_negatives():
  config = pretrain_config.get_config("size=tiny")
  assert config.loss.infonce.grouped
  assert not pretrain_config.get_config("preset=released").loss.infonce.grouped
  rng = np.random.default_rng(0)
  text = rng.normal(size=(6, 4, 3)).astype(np.float32)
  text[3] = text[1]
  mask_BxT = np.ones((6, 4), bool)
  mask_BxT[[1, 3], 2:] = False
  text[3, 2:] = 7  # padding is no part of a caption
  group_B = np.asarray(fingerprint(jnp.asarray(text), jnp.asarray(mask_BxT)))
  same = group_B[:, None] == group_B
  np.fill_diagonal(same, False)
  assert np.argwhere(same).tolist() == [[1, 3], [3, 1]]


def test_padded_clips_are_cut_at_the_same_part_of_their_length():
  T, length_B = 10, np.array([10, 6, 3, 2, 1])
  mask = {"video": np.arange(T) < length_B[:, None]}
  for start in range(1, T - 1):
    draws = types.SimpleNamespace(start=jnp.int32(start))
    inputs = types.SimpleNamespace(draws=draws, fine=("video",), mask=mask)
    last_B = np.asarray(context(inputs))
    assert last_B[0] == start
    future_B = np.asarray(at(jnp.asarray(mask["video"]), last_B + 1))
    assert future_B.tolist() == [True, True, True, False, False]
    assert (last_B >= 1).all()
    whole = types.SimpleNamespace(draws=draws, fine=("video",), mask={})
    assert context(whole) is draws.start
  assert last_B[1] == 4  # the last step but one
  x = np.random.default_rng(0).normal(size=(5, T, 3))
  for step in (3, np.arange(5)):
    each = np.broadcast_to(step, 5)
    found = at(jnp.asarray(x), jnp.asarray(step))
    np.testing.assert_allclose(found, x[np.arange(5), each], rtol=1e-6)


def test_clips_without_time_are_aligned_by_the_mean_of_what_is_there():
  rng = np.random.default_rng(0)
  tokens = {m: rng.normal(size=(4, 2, 3)) for m in ("a", "b")}
  mask = {"a": np.array([[1, 1], [1, 0], [1, 1], [1, 0]], bool)}

  def loss(tokens, mask):
    outputs = types.SimpleNamespace(general=tokens, tokens=tokens)
    inputs = types.SimpleNamespace(
      outputs=outputs,
      order=("a", "b"),
      fine=("a", "b"),
      groups={},
      mask=mask,
      present=dict.fromkeys(tokens, np.ones(4, bool)),
      contrast=contrasts.dense,
      axis_name=None,
    )
    return infonce.clips(inputs).parts["fine/a-b"]

  spoiled = {**tokens, "a": np.where(mask["a"][..., None], tokens["a"], 5.0)}
  assert loss(tokens, mask) == pytest.approx(float(loss(spoiled, mask)))
  assert loss(tokens, {}) != pytest.approx(float(loss(spoiled, {})))


@pytest.mark.parametrize(("samples", "batch"), [(33, 32), (70, 64)])
def test_a_batch_is_no_larger_than_the_data(samples, batch):
  config = pretrain_config.get_config("size=tiny")
  config.data.update({"train_size": samples, "test_size": 8})
  config.batch_size = 64
  made = preparation.prepare(config)
  text = preparation.describe(made)
  assert made.batch_size == batch
  assert f"{samples} samples to learn from, 8 held out" in text
  assert ("samples instead of 64" in text) == (batch < 64)
  assert made.settings["batch_size"] == 64  # as the user gave it
  assert len(next(made.batches)["features"]["audio"]) == batch


@pytest.mark.parametrize(
  ("size", "shards", "batch"),
  [
    *((58, shards, 56) for shards in (1, 2, 4, 8)),
    *((58, 3, 48), (58, 16, 48), (8, 1, 8), (80, 1, 80), (500, 1, 80)),
    # Too few for what all could do.
    *((7, 1, 7), (7, 2, 6), (7, 7, 7), (23, 3, 21)),
  ],
)
def test_devices_agree_on_a_batch_of_little_data(size, shards, batch):
  assert preparation.fitting(80, size, shards) == batch
  assert batch % shards == 0


def described(steps, fine=2, batch_size=80):
  """What is said of 60 samples of two modalities of so many steps."""
  names = ("audio", "video")
  job = types.SimpleNamespace(
    network=types.SimpleNamespace(
      order=names, fine=names[:fine], aligns_in_time=lambda _: steps >= 3
    ),
    sample={"features": {m: np.zeros((1, steps, 7)) for m in names}},
    mesh=meshes.make(8),
    asked=80,
    batch_size=batch_size,
    train=range(60),
    test=range(7),
  )
  return preparation.describe(job).splitlines()


def test_what_is_about_to_be_trained_is_said():
  first = f"audio (9, 7), video (9, 7) on {len(jax.devices())} cpu device(s)"
  counts = "60 samples to learn from, 7 held out"
  assert described(9) == [first, counts]
  said = "audio and video have fewer than 3 time steps: InfoNCE aligns them"
  assert described(2)[2:] == [f"{said} in the place of CPC"]
  assert not described(2, fine=1)[2:]
  less = "a batch has {} samples instead of 80"
  even = ", and 1, 2, 4 or 8 devices shall do the same training"
  assert described(9, batch_size=56)[2:] == [less.format(56) + even]
  assert described(9, batch_size=60)[2:] == [less.format(60)]


def test_a_sample_a_device_is_the_least():
  config = pretrain_config.get_config("size=tiny")
  config.data.update({"train_size": 7, "test_size": 8})
  with pytest.raises(InputError, match=r"7 samples .* for 8 devices"):
    preparation.prepare(config)
