"""Tasks end to end on constructed codes."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from unirep.inference.codes import Codes
from unirep.runtime.errors import InputError
from unirep.tasks import classification, localization
from unirep.tasks.probing import probe, protocol, suite

K, D, C, T = 8, 6, 4, 3
OPTIONS = {"steps": 150, "batch_size": 32, "learning_rate": 2e-2}


def code_matrix():
  return np.random.default_rng(0).normal(size=(K, D)).astype(np.float32)


def clips(count, seed, shift=0):
  """Class c has codes 2c and 2c + 1; modality b adds `shift` to the index."""
  rng = np.random.default_rng(seed)
  label = rng.permutation(np.arange(count) % C).astype(np.int32)
  idx = (2 * label[:, None] + rng.integers(0, 2, (count, T))).astype(np.int32)
  return Codes({"a": idx, "b": (idx + shift) % K}, {}, {"class": label})


def transfer(relabel=lambda label: label, shift=0, seeds=1):
  train, test = clips(160, 1, shift), clips(200, 2, shift)
  train, test = (
    Codes(x.idx, {}, {"class": relabel(x.labels["class"])})
    for x in (train, test)
  )
  return classification.transfer(
    code_matrix(), train, test, seed=0, seeds=seeds, **OPTIONS
  )


def test_one_language_transfers():
  score = transfer(seeds=2)
  assert set(score) == {"a->b", "b->a"}
  for result in score.values():
    assert set(result) == {"accuracy", "ceiling", "chance"}
    assert result["accuracy"] >= 0.99
    assert result["ceiling"] >= 0.99
    assert result["chance"] == 0.25


def test_foreign_codes_do_not_transfer_though_each_is_separable():
  """The codes of class c in b are those of class c + 1 in a."""
  for result in transfer(shift=2).values():
    assert result["ceiling"] >= 0.99
    assert result["accuracy"] <= 0.05


def test_shuffled_labels_give_chance():
  for result in transfer(np.random.default_rng(3).permutation).values():
    assert abs(result["accuracy"] - 0.25) < 0.1
    assert abs(result["ceiling"] - 0.25) < 0.1


def segments(count, seed):
  """Code 2c or 2c + 1 in every segment of class c; the last is background."""
  rng = np.random.default_rng(seed)
  ids = rng.integers(0, C, (count, T)).astype(np.int32)
  idx = (2 * ids + rng.integers(0, 2, ids.shape)).astype(np.int32)
  return Codes({"a": idx, "b": idx}, {}, {"segments/a": ids, "segments/b": ids})


def measured(problem, targets=("a", "b"), **changes):
  options = {
    "optimizer": probe.optimizer(2e-2, max_norm=0.5),
    "steps": 200,
    "evaluations": 2,
    "batch_size": 32,
  }
  return suite.measure(
    problem,
    code_matrix(),
    np.ones((1, D), bool),
    seed=0,
    seeds=2,
    sources=("a",),
    targets=targets,
    protocol_name="heldout",
    options=options,
    **changes,
  )


def test_events_are_localized():
  problem = localization.problem(
    segments(99, 0), segments(20, 1), segments(50, 2)
  )
  results = measured(problem)
  assert set(results) == {("a", "a"), ("a", "b")}
  for scores in results.values():
    assert scores["f1"].shape == (1, 2)
    for name in ("f1", "event_f1", "macro_f1", "precision", "recall"):
      assert (scores[name] > 0.95).all(), name
  truth = problem.label(problem.test, "a").on_NxTxC
  share = truth[..., :-1].mean()
  assert problem.chance["a"] == pytest.approx(2 * share / (1 + share))


def test_as_released_background_counts():
  codes = segments(30, 0)
  problem = localization.problem(codes, codes, codes)
  counted = localization.with_background(problem, 8)
  assert counted.task.primary == "f1_with_background"
  # One of C classes is on in each segment: precision 1 / C at full recall.
  assert counted.chance["a"] == pytest.approx(2 * 0.25 / 1.25)
  assert counted.chance["a"] != pytest.approx(problem.chance["a"])


def test_released_scores_are_means_over_batches():
  codes = segments(30, 0)
  score = localization.with_background(
    localization.problem(codes, codes, codes), 8
  ).task.score
  label = localization.labels(codes, "a", C)
  logits = np.random.default_rng(1).normal(size=(30, T, C))
  parts, sizes = [], []
  for start in range(0, 30, 8):  # the last batch has six
    guess = logits[start : start + 8] > 0
    truth = label.on_NxTxC[start : start + 8].astype(bool)
    hits = (guess & truth).sum()
    parts.append((hits / guess.sum(), hits / truth.sum()))
    sizes.append(len(guess))
  precision, recall = np.average(parts, axis=0, weights=sizes)
  found = score(jnp.asarray(logits), label)
  assert found["precision_with_background"] == pytest.approx(precision)
  f1 = 2 * precision * recall / (precision + recall)
  assert found["f1_with_background"] == pytest.approx(f1)
  whole = localization.task(C).score(jnp.asarray(logits), label)
  assert found["f1_with_background"] != whole["f1_with_background"]
  assert found["f1"] == whole["f1"]


def test_the_baseline_names_the_class_of_the_clip_everywhere():
  codes = segments(40, 0)
  event_N = np.random.default_rng(3).integers(0, C - 1, 40)
  ids = np.where(codes.labels["segments/a"] < 2, event_N[:, None], C - 1)
  labels = {"class": event_N, "segments/a": ids.astype(np.int32)}
  problem = localization.problem(*[codes._replace(labels=labels)] * 3)
  share = (ids < C - 1).mean()  # precision, at full recall
  assert problem.baseline == {"a": pytest.approx(2 * share / (1 + share))}
  assert problem.baseline["a"] > problem.chance["a"]
  unnamed = codes._replace(labels={"segments/a": labels["segments/a"]})
  known = (ids < C - 1).any(1)  # else no segment tells
  unnamed = suite.part(unnamed, known)
  guessed = localization.problem(*[unnamed] * 3).baseline["a"]
  share = (ids[known] < C - 1).mean()
  assert guessed == pytest.approx(2 * share / (1 + share))


def test_the_last_class_is_an_event_where_there_is_no_background():
  codes = segments(20, 0)
  ids = codes.labels["segments/a"]
  for class_N, classes in ((ids.max(1), C + 1), (ids.max(1) % (C - 1), C)):
    named = codes._replace(labels=codes.labels | {"class": class_N})
    problem = localization.problem(named, named, named)
    assert problem.task.outputs == classes
    label = problem.label(named, "a")
    np.testing.assert_array_equal(label.on_NxTxC.argmax(-1), ids)
    logits = jnp.asarray(2.0 * label.on_NxTxC - 1)
    assert all(x == 1 for x in problem.task.score(logits, label).values())


def test_background_everywhere_scores_zero_without_background():
  """A constant guess of background has hits, but none of an event."""
  on_NxTxC = np.zeros((4, T, C), int)
  on_NxTxC[:, 0, 0] = on_NxTxC[:, 1:, -1] = 1
  label = localization.Segments(on_NxTxC, np.ones((4, T), bool))
  logits = np.broadcast_to(np.where(np.arange(C) == C - 1, 2.0, -2), (4, T, C))
  scored = localization.task(C).score(jnp.asarray(logits), label)
  for name, value in scored.items():
    assert (value > 0) == name.endswith("with_background"), name


def test_padding_counts_in_no_loss_and_no_score():
  """Samples padded to one length score as their valid segments do."""
  short, long = segments(30, 0), segments(30, 1)
  logits = np.random.default_rng(2).normal(size=(30, T, C))
  task = localization.task(C)
  params = {"alpha": np.full(C, 0.3)}

  def found(codes, logits):
    label = localization.labels(codes, "a", C)
    scored = task.score(jnp.asarray(logits), label)
    return {"loss": task.loss(params, jnp.asarray(logits), label)} | scored

  cut = 2
  part = Codes(
    {"a": short.idx["a"][:, :cut]},
    {},
    {"segments/a": short.labels["segments/a"][:, :cut]},
  )
  padded = Codes(
    {"a": np.where(np.arange(T) < cut, short.idx["a"], -1)},
    {},
    {"segments/a": np.where(np.arange(T) < cut, short.labels["segments/a"], 0)},
  )
  for name, value in found(part, logits[:, :cut]).items():
    np.testing.assert_allclose(found(padded, logits)[name], value, rtol=1e-6)
  assert found(long, logits)["loss"] != found(padded, logits)["loss"]
  unknown = Codes(
    short.idx,
    {},
    {
      "segments/a": np.where(np.arange(T) < cut, short.labels["segments/a"], -1)
    },
  )
  for name, value in found(part, logits[:, :cut]).items():
    np.testing.assert_allclose(found(unknown, logits)[name], value, rtol=1e-6)
  # Splits of other lengths are padded to one.
  problem = localization.problem(part, short, padded)
  for scores in measured(problem, targets=("a",)).values():
    assert (scores["f1"] > 0.9).all()
  with pytest.raises(InputError, match="segments"):
    localization.labels(
      Codes({"a": short.idx["a"][:, :1]}, {}, short.labels), "a", C
    )


def test_multi_hot_labels_are_taken_as_they_are():
  codes = segments(5, 0)
  hot = np.eye(C, dtype=np.int8)[codes.labels["segments/a"]]
  both = Codes(codes.idx, {}, {"events/a": hot | np.roll(hot, 1, -1)})
  problem = localization.problem(both, both, both)
  assert problem.task.outputs == C
  np.testing.assert_array_equal(
    problem.label(both, "a").on_NxTxC, both.labels["events/a"]
  )
  with pytest.raises(InputError, match="events/b"):
    problem.label(both, "b")


def test_only_classes_of_both_data_sets_are_shared():
  def some(classes):
    label = np.repeat(classes, 3).astype(np.int32)
    idx = np.arange(label.size, dtype=np.int32)[:, None] % K
    return Codes({"a": idx}, {}, {"class": label})

  train, test = some([0, 1, 3, 4]), some([1, 2, 4])
  nominal = classification.across(train, train, test)[""]
  shared = classification.shared(train, train, test)
  assert nominal.task.outputs == 5
  assert shared.task.outputs == 2
  np.testing.assert_array_equal(shared.test.labels["class"], [0] * 3 + [1] * 3)
  np.testing.assert_array_equal(shared.train.idx["a"][:, 0], [3, 4, 5, 1, 2, 3])
  assert "2 classes" in shared.note
  both = classification.across(train, train, test)
  assert [*both] == ["", "_shared"]
  assert [*classification.across(train, train, train)] == [""]


def test_what_can_not_be_measured():
  whole, empty = clips(8, 0), suite.part(clips(8, 0), slice(0))
  problem = classification.problem(whole, whole, whole)
  with pytest.raises(InputError, match="'smell'; there are a, b"):
    suite.check(problem, ("a",), ("smell",))
  for name in ("train", "validation", "test"):
    with pytest.raises(InputError, match=f"{name} split holds no samples"):
      suite.check(problem._replace(**{name: empty}), ("a",), ("b",))
  bare = Codes(whole.idx, {}, {})
  with pytest.raises(InputError, match="no label 'class'"):
    classification.problem(whole, whole, bare)


def test_intervals_by_hand():
  value = np.array([0.7, 0.8, 0.75, 0.9, 0.85])
  ours = protocol.estimate(value)
  half = stats.t.ppf(0.975, 4) * value.std(ddof=1) / np.sqrt(5)
  assert ours.mean == pytest.approx(0.8)
  assert (ours.low, ours.high) == pytest.approx((0.8 - half, 0.8 + half))
  assert ours.seeds == 5
  assert np.isnan(protocol.estimate([0.5]).low)
  # What the seeds share cancels: a constant gain is certain.
  gain = protocol.paired(value + 0.01, value)
  assert (gain.low, gain.high) == pytest.approx((0.01, 0.01))
  assert protocol.verdict(gain) == "better"
  assert protocol.verdict(protocol.paired(value - 0.01, value)) == "worse"
  assert protocol.verdict(protocol.paired(value[::-1], value)) == "unclear"


def test_who_chooses_the_evaluation():
  history = {
    "validation": {"f1": np.array([[[[0.1, 0.9, 0.9, 0.2]]]])},
    "test": {
      "f1": np.array([[[[0.8, 0.1, 0.3, 0.2]]]]),
      "recall": np.array([[[[1.0, 2.0, 3.0, 4.0]]]]),
    },
  }
  fair = protocol.heldout(history, "validation", "test", "f1")
  assert (fair["f1"].item(), fair["recall"].item()) == (0.3, 3.0)  # the latest
  best = protocol.released(history, "test", "f1")
  assert (best["f1"].item(), best["recall"].item()) == (0.8, 1.0)


# Samples that lack a modality.


def lacking(codes, gone_N, labels=None):
  """Samples with "a" missing in some, where the labels are wrong as well."""
  idx = {**codes.idx, "a": np.where(gone_N[:, None], -1, codes.idx["a"])}
  wrong = {
    n: np.where(gone_N.reshape(-1, *[1] * (x.ndim - 1)), (x + 1) % C, x)
    for n, x in codes.labels.items()
  }
  return codes._replace(idx=idx, labels=wrong if labels is None else labels)


def half(count):
  return np.arange(count) % 8 >= 4  # of all classes alike


def test_probes_are_neither_trained_nor_tested_on_missing_modalities():
  """Labels are wrong where the modality is missing: half of the samples."""
  splits = [clips(160, 1), clips(40, 2), clips(200, 3)]
  splits = [lacking(x, half(len(x.idx["a"]))) for x in splits]
  # Where "b" is there as well: it learns from all of the labels.
  wrong = [x._replace(idx={**x.idx, "a": x.idx["b"]}) for x in splits]
  for x, right in ((splits, True), (wrong, False)):
    scores = measured(classification.problem(*x), targets=("a",))
    accuracy = scores["a", "a"]["accuracy"]
    assert ((accuracy > 0.95) if right else (accuracy < 0.7)).all()


def test_localization_leaves_out_what_is_missing():
  splits = [segments(99, 0), segments(20, 1), segments(50, 2)]
  splits = [lacking(x, half(len(x.idx["a"]))) for x in splits]
  problem = localization.problem(*splits)
  assert (measured(problem, targets=("a",))["a", "a"]["f1"] > 0.95).all()


def test_chance_is_of_the_samples_that_have_the_modality():
  train, test = clips(160, 1), clips(200, 2)
  gone_N = test.labels["class"] > 1
  problem = classification.problem(
    train, train, lacking(test, gone_N, test.labels)
  )
  assert problem.chance == {"a": 0.5, "b": 0.25}


def test_transfer_where_the_first_sample_lacks_a_modality():
  gone_N = np.arange(160) < 80
  train = lacking(clips(160, 1), gone_N, clips(160, 1).labels)
  scores = classification.transfer(
    code_matrix(), train, clips(200, 2), seed=0, seeds=1, **OPTIONS
  )
  assert all(x["accuracy"] > 0.99 for x in scores.values())


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_split_without_the_modality_is_refused(at):
  splits = [clips(16, i) for i in range(3)]
  splits[at] = lacking(splits[at], np.ones(16, bool))
  name = ("train", "validation", "test")[at]
  with pytest.raises(
    InputError, match=f"no sample of the {name} split has 'a'"
  ):
    measured(classification.problem(*splits))
