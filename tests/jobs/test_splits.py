"""What an evaluation would trip over is refused before anything is trained."""

import logging
import types

import numpy as np
import oneline
import pytest
from rich.console import Console

from unirep.configs import pretrain
from unirep.data import arrays, labels, resample, sources
from unirep.inference.codes import Codes
from unirep.jobs import evaluate, evaluation, preparation
from unirep.runtime.errors import InputError
from unirep.tasks import classification, localization

N, T = 24, 10


def contents(**changes):
  rng = np.random.default_rng(0)
  made = {
    "video": rng.normal(size=(N, T, 5, 5, 4)).astype(np.float32),
    "audio": rng.normal(size=(N, T, 6)).astype(np.float32),
    "text": rng.normal(size=(N, 6, 5)).astype(np.float32),
    "label/class": np.arange(N) % 3,
    "label/segments/video": rng.integers(-1, 4, (N, T)),
    "label/segments/audio": rng.integers(-1, 4, (N, T)),
  }
  made |= {name.replace("__", "/"): x for name, x in changes.items()}
  return {name: x for name, x in made.items() if x is not None}


def prepared(tmp_path, **changes):
  np.savez(tmp_path / "a.npz", **contents(**changes))
  config = pretrain.get_config("size=tiny,data=arrays")
  config.data.path = str(tmp_path / "a.npz")
  config.batch_size = 8
  preparation.prepare(config).batches.close()


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"label__class": np.zeros((N, T), int)}, r"label/class must be \(N,\)"),
    ({"label__class": np.arange(N) - 2}, "from 0 to 32767, or -1.*got -2"),
    ({"label__class": np.arange(N) * 10**6}, "got 0 to 23000000"),
    ({"label__segments__video": np.full((N, T), 4096)}, "from 0 to 4095"),
    ({"label__segments__video": np.zeros(N, int)}, r"must be \(N, T\)"),
    ({"label__segments__video": np.zeros((N, 9), int)}, "has 10 steps"),
    ({"label__events__audio": np.ones((N, T, 2), int) * 2}, "0 and 1"),
    ({"label__events__audio": np.ones((N, T), int)}, r"\(N, T, C\)"),
    ({"label__slot__verb": np.ones((N, 2), int)}, r"slot/verb must be \(N,\)"),
    ({"video": np.ones((N, T, 3, 3, 4))}, "train split: 'video': a grid needs"),
    ({"audio": np.full((N, T, 6), 1e19)}, "whose square is infinite"),
    ({"audio": np.full((N, 9, 6), 1.0)}, "differ in time steps"),
  ],
)
def test_refused_before_the_first_step(changes, words, tmp_path):
  with pytest.raises(InputError, match=words) as error:
    prepared(tmp_path, **changes)
  oneline.check(error.value)


def test_unknown_classes_are_fine():
  for changes in (
    {"label__class": np.full(N, -1)},
    {"label__class": np.where(np.arange(N) % 2, 1, -1)},
    {"label__class": None},
    {"label__anything": np.full((N, 2, 2, 2), -9)},
  ):
    labels.check({"train": source(**changes), "test": source(**changes)})


@pytest.mark.parametrize(
  ("value", "words"), [(0.0, "0 everywhere"), (3.0, "3 everywhere")]
)
def test_features_that_say_nothing_are_logged(value, words, caplog):
  with caplog.at_level(logging.WARNING):
    source(audio=np.full((N, T, 6), value))
  assert words in caplog.text


def test_huge_features_are_logged(caplog):
  with caplog.at_level(logging.WARNING):
    source(audio=contents()["audio"] * 1e7)
  assert "scale them" in caplog.text
  caplog.clear()
  source()
  assert not caplog.text


def source(**changes):
  made = contents(**changes)
  return arrays.Arrays(
    {m: made[m] for m in ("video", "audio", "text")},
    labels={k[6:]: x for k, x in made.items() if k.startswith("label/")},
  )


def test_splits_that_differ(caplog):
  with pytest.raises(InputError, match="label/class is in the train split"):
    labels.check({"train": source(), "test": source(label__class=None)})
  other = source(label__segments__video=np.zeros((N, 9), int))
  with pytest.raises(InputError, match=r"\(24, 9\), but \(24, 10\)"):
    labels.check({"train": source(), "test": other})
  with caplog.at_level(logging.WARNING):
    labels.check({"train": source(), "test": source(label__class=np.arange(N))})
  assert "label/class has 21 classes that the train split lacks" in caplog.text


def test_a_source_without_a_list_of_labels():
  whole = source(label__class=np.zeros((N, 2), int))
  plain = [whole[i] for i in range(N)]
  with pytest.raises(InputError, match="label/class must be"):
    labels.check({"train": plain})


def test_labels_of_steps_as_they_were():
  fewer = resample.Resampled(source(), ("video", "audio"), rule="mean", steps=5)
  labels.check({"train": fewer})
  part, _ = arrays.split(source(), 0.5, 0)
  labels.check({"train": part})
  assert len(part.labels["class"]) == len(part)


def test_features_of_another_model(trained):
  import unirep

  model = unirep.load(trained)
  with pytest.raises(InputError, match=r"test split: .video."):
    model.check_source(source(), "test")
  other = arrays.Arrays({"smell": np.ones((3, 2))})
  with pytest.raises(InputError, match="it has only smell"):
    model.check_source(other, "test")


def codes(label_N, seed=0):
  rng = np.random.default_rng(seed)
  idx = {m: rng.integers(0, 4, (len(label_N), 3)) for m in ("video", "audio")}
  clip = {m: x[:, 0] for m, x in idx.items()}
  return Codes(idx, clip, {"class": np.asarray(label_N)})


def rows(codes, keep):
  return Codes(*({name: x[keep] for name, x in part.items()} for part in codes))


def test_unknown_classes_count_nowhere():
  """All is as if their samples weren't there."""
  label_N = np.arange(30) % 3
  label_N[::4] = -1
  given = [codes(label_N, seed) for seed in range(3)]
  known = [rows(x, label_N >= 0) for x in given]
  for problem in (
    classification.problem,
    lambda *x: classification.across(*x)[""],
  ):
    a, b = problem(*given), problem(*known)
    assert a.task.outputs == b.task.outputs == 3
    assert a.chance == b.chance
    np.testing.assert_array_equal(
      a.train.labels["class"], label_N[label_N >= 0]
    )
  a, b = (classification.across(*x).keys() for x in (given, known))
  assert a == b
  options = {"seeds": 1, "learning_rate": 1e-2, "steps": 5, "batch_size": 4}
  code_KxD = np.eye(4, dtype=np.float32)
  a, b = (
    classification.transfer(code_KxD, x[0], x[2], seed=0, **options)
    for x in (given, known)
  )
  assert a == b


def test_without_any_class_there_is_no_probe():
  nobody = codes(np.full(6, -1))
  encoded = evaluation.Encoded(nobody, nobody, nobody)
  options = evaluation.Options(
    0,
    passes=1,
    samples=0,
    probe={"steps": 2, "seeds": 1, "batch_size": 4, "learning_rate": 1e-2},
  )
  found = evaluation.evaluate(options, np.eye(4, dtype=np.float32), encoded)
  assert found.results["cross_modal"] == {}
  assert found.by_class == {}


def test_a_clip_of_an_unknown_class_guesses_nothing():
  on_NxTxC = np.zeros((2, 3, 3), np.int8)
  on_NxTxC[:, :, 0] = 1
  made = codes([-1, 0])
  made = made._replace(labels={**made.labels, "events/video": on_NxTxC})
  problem = localization.problem(made, made, made)
  assert problem.baseline["video"] == pytest.approx(2 / 3)


def test_each_split_is_itself_and_opened_once(monkeypatch):
  """Held-out samples of the split that training saw are of its own clips."""

  def source(data, kind, split, fine):
    return [data["source"], kind, split, fine]

  monkeypatch.setattr(sources, "source", source)
  opened = sources.opened({"source": "here"}, ("audio",))
  for split in ("train", "validation", "test"):
    found = opened("clips", split)
    assert found == ["here", "clips", split, ("audio",)]
    assert opened("clips", split) is found
  assert opened("clips", "seen") is opened("clips", "train")


@pytest.mark.parametrize("split", ["train", "seen", "validation", "test"])
def test_probes_learn_under_dropout_and_are_asked_without(
  split, tmp_path, monkeypatch
):
  """Only what they learn from is drawn; held-out samples are all there."""
  seen = {}

  def encoded(tokenizer, source, path, *, dropout, passes):
    seen.update(size=len(source), dropout=dropout, passes=passes)

  source = arrays.Arrays({"audio": np.zeros((9, 2, 3), np.float32)})
  monkeypatch.setattr(evaluate.encoding, "encoded", encoded)
  monkeypatch.setattr(evaluate.encoding, "remember", lambda *_: None)
  bound = types.SimpleNamespace(
    tokenizer=types.SimpleNamespace(digest="0"),
    source="synthetic",
    splits=lambda kind, split: source,
    passes=3,
    samples=5,
    seed=0,
    settings={"data": {}},
    allow_changed=False,
  )
  evaluate._encode(
    bound,
    tmp_path,
    Console(quiet=True),
    "clips",
    split,
  )
  assert seen["size"] == (5 if split in ("train", "seen") else 9)
  assert seen["passes"] == (3 if split == "train" else 1)
  assert (seen["dropout"] is None) == (split != "train")
