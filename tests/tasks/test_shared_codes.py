"""Sharing of codes by index: agreement, bags, index-only probes, charts."""

import itertools
import json

import matplotlib as mpl
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

mpl.use("Agg")
from matplotlib import pyplot as plt

from unirep.inference.codes import Codes
from unirep.reports import charts
from unirep.tasks import bags, sharing

K, C, N, T = 32, 8, 240, 6


def drawn(seed=0, samples=N):
  """Codes (T, N) that tell the class (N,), and more than the class."""
  rng = np.random.default_rng(seed)
  label_N = rng.integers(C, size=samples)
  detail_NxT = rng.integers(K // 2 // C, size=(samples, T))
  return label_N * (K // 2 // C) + detail_NxT.T, label_N


def coded(idx, label_N=None):
  idx = {m: np.asarray(x) for m, x in idx.items()}
  labels = {} if label_N is None else {"class": label_N}
  return Codes(idx, {m: x[:, 0] for m, x in idx.items()}, labels)


def world(shared=True, seed=0):
  """Audio and video with the same codes, or with the same shifted by half."""
  idx_TxN, label_N = drawn(seed)
  video_TxN = idx_TxN if shared else idx_TxN + K // 2
  return coded({"audio": idx_TxN.T, "video": video_TxN.T}, label_N)


def noisy(split, seed):
  """Video with other codes, and without some, in most of its places."""
  rng = np.random.default_rng(seed)
  idx_NxT = np.where(
    rng.random((N, T)) < 0.8,
    rng.integers(-1, K, size=(N, T)),
    split.idx["video"],
  )
  return coded(split.idx | {"video": idx_NxT}, split.labels["class"])


def test_agreement_by_hand():
  a = np.array([[0, 1, 2, -1], [3, 3, -1, 5]])
  b = np.array([[0, 2, 2, -1], [3, 1, 4, -1]])
  assert sharing.agreement(a, b) == 3 / 5  # -1 pairs with nothing, not even -1
  where = np.array([[0, 1, 1, 1], [0, 0, 1, 1]], bool)
  assert sharing.agreement(a, b, where) == 1 / 2
  assert np.isnan(sharing.agreement(a, b, np.zeros_like(where)))
  with pytest.raises(ValueError, match="pair up"):
    sharing.agreement(a, b[:, :1])  # no broadcasting
  with pytest.raises(ValueError, match="fit places"):
    sharing.agreement(a, b, where[:, :1])


def test_chance_agreement_is_that_of_random_pairs():
  rng = np.random.default_rng(0)
  a, b = rng.integers(4, size=60) ** 2 // 3, rng.integers(3, size=60)
  every = np.mean([x == y for x, y in itertools.product(a, b)])
  assert sharing.chance_agreement(a, b, 4) == pytest.approx(every)
  collapsed = np.full(9, 2)
  assert sharing.chance_agreement(collapsed, collapsed, 4) == 1


def test_overlap_by_hand():
  a = np.array([[0, 0, 1, 2]])
  b = np.array([[0], [3], [-1]])
  assert sharing.overlap(a, b, 4) == pytest.approx(0.5)  # min(1/2, 1/2)
  assert sharing.overlap(a, np.repeat(a, 3, 1), 4) == pytest.approx(1)
  assert np.isnan(sharing.overlap(a, -np.ones((2, 2), int), 4))


def test_bags_are_shares_of_valid_steps():
  idx_NxT = np.array([[1, 1, 3, -1], [-1, -1, -1, -1], [0, 0, 0, 0]])
  expected = np.array([[0, 2 / 3, 0, 1 / 3], [0, 0, 0, 0], [1, 0, 0, 0]])
  share_NxK = bags.bags(idx_NxT, 4)
  assert share_NxK.dtype == np.float32
  np.testing.assert_allclose(share_NxK.toarray(), expected, rtol=1e-6)
  count_NxK = bags.counts(idx_NxT, 4).toarray()
  np.testing.assert_array_equal(count_NxK[:2], [[0, 2, 0, 1], [0, 0, 0, 0]])
  with pytest.raises(ValueError, match="exceed"):
    bags.counts(idx_NxT, 3)


def test_transfer_of_identical_codes_reaches_the_ceiling():
  train, test = world(), world(seed=1)
  scores = bags.transfer(
    train.idx, train.labels["class"], test.idx, test.labels["class"], K
  )
  count_C = np.bincount(test.labels["class"])
  assert scores == {
    pair: {"accuracy": 1.0, "ceiling": 1.0, "chance": count_C.max() / N}
    for pair in ("audio->video", "video->audio")
  }


def test_transfer_of_disjoint_codes_is_a_constant_guess():
  train, test = world(shared=False), world(shared=False, seed=1)
  label_N = test.labels["class"]
  scores = bags.transfer(train.idx, train.labels["class"], test.idx, label_N, K)
  shares = np.bincount(label_N) / N
  for score in scores.values():
    assert score["accuracy"] in shares  # one class for all: at most chance
    assert score["ceiling"] == 1


def test_transfer_is_a_linear_probe_on_rows_of_length_one():
  train, test = (noisy(world(seed=s), s) for s in (0, 1))

  def inputs(idx_NxT):
    rows = [np.bincount(x[x >= 0], minlength=K + 1)[:K] for x in idx_NxT]
    return np.sqrt([x / max(x.sum(), 1) for x in rows])

  probe = LogisticRegression(C=10, tol=1e-6, max_iter=1000)
  probe.fit(inputs(train.idx["video"]), train.labels["class"])
  expected = probe.score(inputs(test.idx["audio"]), test.labels["class"])
  ceiling = probe.score(inputs(test.idx["video"]), test.labels["class"])
  scores = bags.transfer(
    train.idx, train.labels["class"], test.idx, test.labels["class"], K
  )
  assert 0.3 < ceiling < expected
  assert scores["video->audio"]["accuracy"] == pytest.approx(expected, abs=0.01)
  assert scores["audio->video"]["ceiling"] == pytest.approx(ceiling, abs=0.01)


def test_transfer_needs_the_right_labels():
  train, test = world(), world(seed=1)
  wrong_N = np.random.default_rng(0).permutation(train.labels["class"])
  answer_N = test.labels["class"]
  scores = bags.transfer(train.idx, wrong_N, test.idx, answer_N, K)
  assert scores["audio->video"]["accuracy"] < 0.4
  # Fit on the source, not on the target, and tested on the target.
  mixed = {"audio": train.idx["audio"], "video": train.idx["video"][::-1]}
  scores = bags.transfer(
    mixed, train.labels["class"], test.idx, test.labels["class"], K
  )
  assert scores["audio->video"]["accuracy"] == 1
  assert scores["audio->video"]["ceiling"] < 0.4
  assert scores["video->audio"]["accuracy"] < 0.4
  assert scores["video->audio"]["ceiling"] == 1


def test_transfer_leaves_out_what_has_no_label():
  train, test = world(), world(seed=1)
  label_N, answer_N = train.labels["class"].copy(), test.labels["class"].copy()
  known = [np.arange(N) % 3 > 0, np.arange(N) % 4 > 0]
  parts = [
    {m: x[keep] for m, x in samples.idx.items()}
    for samples, keep in zip((train, test), known, strict=True)
  ]
  expected = bags.transfer(
    parts[0], label_N[known[0]], parts[1], answer_N[known[1]], K
  )
  label_N[~known[0]], answer_N[~known[1]] = -1, -1
  assert bags.transfer(train.idx, label_N, test.idx, answer_N, K) == expected
  none_N = np.full(N, -1)
  assert bags.transfer(train.idx, none_N, test.idx, answer_N, K) == {}
  assert bags.transfer(train.idx, label_N, test.idx, none_N, K) == {}


def test_transfer_with_classes_that_train_lacks():
  train, test = world(), world(seed=1)
  label_N, answer_N = train.labels["class"], test.labels["class"]
  few = {m: x[label_N < 5] for m, x in train.idx.items()}
  scores = bags.transfer(few, label_N[label_N < 5], test.idx, answer_N, K)
  assert scores["audio->video"]["accuracy"] == (answer_N < 5).mean()
  one = {m: x[label_N == 3] for m, x in train.idx.items()}
  scores = bags.transfer(one, label_N[label_N == 3], test.idx, answer_N, K)
  assert scores["audio->video"]["accuracy"] == (answer_N == 3).mean()


def test_mutual_information_by_hand():
  a_N, b_N = np.array([0, 0, 1, 1, 2, -1]), np.array([5, 5, 6, 7, 7, 1])
  joint = np.array([[2, 0, 0], [0, 1, 1], [0, 0, 1]]) / 5
  p, q = joint.sum(1), joint.sum(0)
  here = joint > 0
  shared = (joint * np.log(np.where(here, joint, 1) / np.outer(p, q)))[here]
  entropies = [-(x * np.log(x)).sum() for x in (p, q)]
  assert sharing.mutual_information(a_N, b_N) == pytest.approx(
    shared.sum() / np.mean(entropies)
  )
  assert sharing.mutual_information(a_N, a_N) == pytest.approx(1)
  assert sharing.mutual_information(np.ones(5, int), np.ones(5, int)) == 0
  assert np.isnan(sharing.mutual_information(a_N[-1:], b_N[-1:]))


def test_purity_by_hand():
  code_N = np.array([0, 0, 0, 4, 4, -1, 4])
  class_N = np.array([1, 1, 2, 0, 2, 1, -1])
  assert sharing.purity(code_N, class_N) == (2 + 1) / 5
  assert sharing.purity(np.arange(7), np.ones(7, int)) == 1


def test_shuffling_keeps_the_histogram_and_the_gaps():
  x_N = np.array([3, -1, 1, 1, -1, 0, 2, 2, 5])
  y_N = sharing.shuffled(x_N)
  np.testing.assert_array_equal(y_N < 0, x_N < 0)
  np.testing.assert_array_equal(np.sort(y_N), np.sort(x_N))
  assert (y_N != x_N).any()


def test_perplexity_by_hand():
  assert sharing.perplexity([4, 0, 4, 4]) == pytest.approx(3)
  assert sharing.perplexity([0, 7]) == 1
  assert sharing.perplexity([0, 0]) == 0


def brute_force_recall(query_NxT, gallery_NxT, k, trials=4000):
  """Recall by cosine, averaged over random orders of ties."""

  def bag(idx_NxT):
    return np.stack([np.bincount(x[x >= 0], minlength=K) for x in idx_NxT])

  q, g = bag(query_NxT).astype(float), bag(gallery_NxT).astype(float)
  q, g = (x / np.maximum(np.linalg.norm(x, axis=1), 1)[:, None] for x in (q, g))
  similarity = (q @ g.T).round(9)
  rng = np.random.default_rng(0)
  hits = 0
  for _ in range(trials):
    order = rng.permutation(len(g))
    ranked = order[np.argsort(-similarity[:, order], axis=1, kind="stable")]
    hits += (ranked[:, :k] == np.arange(len(q))[:, None]).any(1).mean()
  return hits / trials


@pytest.mark.parametrize("chunk", [3, 256])
def test_recall_is_the_mean_over_random_orders(monkeypatch, chunk):
  monkeypatch.setattr(bags, "CHUNK", chunk)
  rng = np.random.default_rng(1)
  query_NxT = rng.integers(3, size=(10, 4))
  gallery_NxT = np.where(rng.random((10, 4)) < 0.7, query_NxT, 4)
  gallery_NxT = np.concatenate([gallery_NxT, gallery_NxT[:, :2]], 1)
  query_NxT[2, 2:] = -1
  gallery_NxT[5] = -1  # nothing to be found by
  query_NxT[7] = -1  # nothing to look for
  scores = bags.recall(query_NxT, gallery_NxT, K)
  for k in (1, 5):
    expected = brute_force_recall(query_NxT, gallery_NxT, k)
    assert scores[f"r@{k}"] == pytest.approx(expected, abs=0.01)
    assert scores[f"chance@{k}"] == k / 10


def test_recall_by_hand():
  query = np.array([[0], [0], [1], [2]])
  # Sample 0 ties with 1; sample 2 ties with none; sample 3 is beaten by 2.
  gallery = np.array([[0, 0, 0], [0, -1, -1], [1, 2, -1], [3, 3, 3]])
  scores = bags.recall(query, gallery, 4, ks=(1, 2))
  assert scores["r@1"] == pytest.approx((1 / 2 + 1 / 2 + 1 + 0) / 4)
  assert scores["r@2"] == pytest.approx((1 + 1 + 1 + 1 / 3) / 4)


def test_recall_ties_are_exact_whatever_the_number_of_steps():
  # One mixture of codes at lengths 4, 8, ..., 40: cosines that round apart.
  gallery = np.full((10, 40), -1)
  for i in range(1, 11):
    gallery[i - 1, : 4 * i] = [0, 0, 1, 2] * i
  for i in range(10):
    query = np.full((10, 1), 3)  # all items tie, so that recall@1 is 1 / 10
    query[i] = 0
    assert bags.recall(query, gallery, 4)["r@1"] == pytest.approx(1 / 10)


def test_recall_wants_pairs():
  assert bags.recall(np.zeros((0, 2), int), np.zeros((0, 2), int), 4) == {}
  with pytest.raises(ValueError, match="3 queries"):
    bags.recall(np.zeros((3, 2), int), np.zeros((4, 2), int), 4)


def measure(train, test, **options):
  return sharing.measure(train, test, K, **options)


def test_measure_of_identical_codes():
  result = measure(world(), world(seed=1))
  clip, codes = result["clip"], result["codes"]
  for name in ("agreement", "overlap", "nmi"):
    assert clip[name]["audio-video"] == pytest.approx(1)
  assert clip["purity"] == {"audio": 1.0, "video": 1.0}
  assert clip["nmi_chance"]["audio-video"] < 0.5
  assert clip["purity_chance"]["audio"] < 0.4
  assert clip["agreement_chance"]["audio-video"] == pytest.approx(
    1 / 16, abs=0.01
  )
  recall = clip["recall"]["audio->video"]
  assert recall["r@5"] > 10 * recall["chance@5"]
  assert result["step"]["agreement"] == {"audio-video": 1.0}
  assert result["transfer"]["audio->video"]["accuracy"] == 1
  assert codes["size"] == K
  assert codes["used"] == {"audio": 16, "video": 16}
  assert codes["used_by_all"] == 16
  assert codes["shared_effective"] == codes["perplexity"]["audio"] > 14
  assert codes["perplexity_all"] == pytest.approx(codes["perplexity"]["audio"])


def test_measure_of_disjoint_codes():
  result = measure(world(shared=False), world(shared=False, seed=1))
  clip, codes = result["clip"], result["codes"]
  for part in (clip, result["step"]):
    for name in ("agreement", "agreement_chance", "overlap"):
      assert part[name] == {"audio-video": 0.0}
  # The codes tell the same; it's the indices that don't meet.
  assert clip["nmi"]["audio-video"] == pytest.approx(1)
  recall = clip["recall"]["audio->video"]
  assert recall["r@1"] == pytest.approx(recall["chance@1"])
  assert recall["r@5"] == pytest.approx(recall["chance@5"])
  for score in result["transfer"].values():
    assert score["accuracy"] <= score["chance"]
  assert codes["used_by_all"] == 0
  assert codes["shared_effective"] == 0
  assert codes["perplexity_all"] == pytest.approx(
    2 * codes["perplexity"]["audio"]
  )


def test_measure_of_permuted_pairs():
  test = world(seed=1)
  order_N = np.random.default_rng(0).permutation(N)
  moved = coded(
    {"audio": test.idx["audio"], "video": test.idx["video"][order_N]}
  )
  result = measure(world(), moved)
  clip = result["clip"]
  assert clip["overlap"]["audio-video"] == pytest.approx(1)
  for part in (clip, result["step"]):
    assert part["agreement"]["audio-video"] == pytest.approx(
      part["agreement_chance"]["audio-video"], abs=0.05
    )
  assert clip["nmi"]["audio-video"] == pytest.approx(
    clip["nmi_chance"]["audio-video"], abs=0.05
  )
  recall = clip["recall"]["audio->video"]
  assert recall["r@5"] == pytest.approx(recall["chance@5"], abs=0.02)


def test_measure_knows_no_names_of_codes():
  rename = np.append(np.random.default_rng(0).permutation(K), -1)  # [-1] is -1
  splits = [noisy(world(seed=seed), seed) for seed in (0, 1)]
  renamed = [
    coded({m: rename[x] for m, x in s.idx.items()}, s.labels["class"])
    for s in splits
  ]
  one, two = measure(*splits), measure(*renamed)
  for part in one:
    flat = [
      json.loads(json.dumps(x[part]), parse_int=float) for x in (one, two)
    ]
    for a, b in zip(*map(leaves, flat), strict=True):
      assert a == (
        b[0],
        pytest.approx(b[1], abs=1e-9 if part != "transfer" else 0.02),
      )


def leaves(tree, path=""):
  if isinstance(tree, dict):
    return [x for k, v in tree.items() for x in leaves(v, f"{path}/{k}")]
  return [(path, tree)]


def test_measure_keeps_splits_and_directions_apart():
  train, test = noisy(world(), 0), noisy(world(seed=1), 1)
  swapped = Codes(dict(reversed(train.idx.items())), train.clip, train.labels)
  result = measure(swapped, test)
  audio, video = test.idx["audio"], test.idx["video"]
  recall = result["clip"]["recall"]
  assert recall["audio->video"] == bags.recall(audio, video, K)
  assert recall["video->audio"] == bags.recall(video, audio, K)
  assert recall["audio->video"] != recall["video->audio"]
  assert result["transfer"] == bags.transfer(
    train.idx, train.labels["class"], test.idx, test.labels["class"], K
  )
  other = coded({m: x % 4 for m, x in train.idx.items()}, train.labels["class"])
  changed = measure(other, test)
  assert changed.pop("transfer") != result.pop("transfer")
  assert changed == result  # nothing else looks at train


def test_measure_ignores_padding():
  train, test = world(), world(seed=1)
  longer = {
    m: np.pad(x, ((0, 0), (0, 3)), constant_values=-1)
    for m, x in test.idx.items()
  }
  padded = Codes(longer, test.clip, test.labels)
  assert measure(train, padded) == measure(train, test)


def test_measure_compares_steps_only_where_they_pair_up():
  test = world()
  test.idx["text"] = test.idx["audio"][:, :1]
  test.idx["caption"] = test.idx["audio"][:, :1]
  test.idx["slow"] = test.idx["audio"][:, :3]
  result = measure(test, coded(test.idx))
  assert list(result["step"]["agreement"]) == ["audio-video"]
  assert len(result["clip"]["agreement"]) == 10
  assert len(result["clip"]["recall"]) == 20
  assert result["clip"]["agreement"]["audio-text"] == 1


def test_agreement_where_both_show_the_same():
  test = world()
  segments_NxT = np.full((N, T), C)
  segments_NxT[:, :2] = 1
  labels = {
    "segments/video": segments_NxT,
    "segments/audio": segments_NxT.copy(),
  }
  labels["segments/audio"][:, 1] = 2
  test.idx["audio"][:, 0] += (np.arange(N) < N // 4) * 1  # the rest are alike
  same = sharing.same_event(labels, C)
  expected = np.zeros((N, T), bool)
  expected[:, 0] = True
  np.testing.assert_array_equal(same["audio-video"], expected)
  np.testing.assert_array_equal(same["video-audio"], expected)
  test = test._replace(idx=test.idx | {"video": world().idx["video"]})
  step = measure(test, test, same=same)["step"]
  assert step["agreement_same"] == {"audio-video": 0.75}
  assert step["agreement"]["audio-video"] == pytest.approx(1 - 0.25 / T)
  assert measure(test, test)["step"]["agreement_same"] == {}


def test_the_same_event_is_known_and_no_background():
  labels = {
    "segments/audio": np.array([[0, 1, 2, -1, 0]]),
    "segments/video": np.array([[0, 2, 2, -1, 1]]),
    "segments/text": np.array([[0]]),  # of other steps
    "class": np.array([0]),
  }
  same = sharing.same_event(labels, 2)
  assert {name: x.tolist() for name, x in same.items()} == {
    name: [[True, False, False, False, False]]
    for name in ("audio-video", "video-audio")
  }


def test_measure_without_labels_or_pairs():
  bare = world()._replace(labels={})
  result = measure(bare, bare)
  assert result["transfer"] == {}
  assert result["clip"]["purity"] == result["clip"]["nmi_class"] == {}
  alone = coded({"audio": bare.idx["audio"]})
  result = measure(alone, alone)
  assert result["clip"]["agreement"] == result["clip"]["recall"] == {}
  assert result["codes"]["used_by_all"] == 16
  empty = coded({m: np.full((4, T), -1) for m in ("audio", "video")})
  result = measure(empty, empty)
  assert result["clip"]["agreement"] == result["clip"]["overlap"] == {}
  assert result["codes"]["shared_effective"] == 0


def test_measure_is_plain_json():
  test = world()
  test.idx["text"] = np.full((N, 1), -1, np.int32)  # scores of it are nan
  result = measure(test, coded(test.idx, test.labels["class"]))
  text = json.dumps(result, allow_nan=False)
  assert json.loads(text) == result
  assert {type(x) for _, x in leaves(result)} == {int, float}


def test_class_histogram_by_hand():
  idx_NxT = np.array([[0, 2], [2, -1], [1, 1]])
  count_KxC = sharing.class_histogram(idx_NxT, np.array([1, 0, -1]), 3, 2)
  np.testing.assert_array_equal(count_KxC, [[0, 1], [0, 0], [1, 1]])


@pytest.fixture
def axes():
  figure, axes = plt.subplots(1, 2)
  yield axes
  plt.close(figure)


def image(axis):
  return np.asarray(axis.images[0].get_array())


def test_drawing_of_modalities(axes):
  usage = {
    "audio": np.array([0, 6, 2, 0, 0]),
    "video": np.array([0, 1, 0, 3, 0]),
  }
  charts.code_by_modality(axes[0], usage)
  # Code 1 is of both; 2 is audio's, 3 is video's.
  np.testing.assert_allclose(image(axes[0]), [[0.75, 0.25, 0], [0.25, 0, 0.75]])
  assert axes[0].get_title() == "3 of 5 used, 1 by all"
  assert [x.get_text() for x in axes[0].get_yticklabels()] == ["audio", "video"]
  assert axes[0].get_xlabel() == "code"


def test_drawing_of_the_most_used_codes_does_not_flatter(axes):
  usage = {"audio": np.array([3, 3, 4, 0]), "video": np.array([3, 3, 0, 4])}
  charts.code_by_modality(axes[0], usage, most=2)
  # The last two are used by one alone, but by it more than what is shared.
  np.testing.assert_allclose(image(axes[0]), [[0.4, 0], [0, 0.4]])
  assert axes[0].get_xlabel() == "2 codes, 40 % of all use"


def test_drawing_of_classes_shared_and_not(axes):
  rng = np.random.default_rng(0)
  code_K = rng.permutation(K)
  idx_TxN, label_N = drawn()
  count = sharing.class_histogram(code_K[idx_TxN.T], label_N, K, C)
  other = sharing.class_histogram(code_K[idx_TxN.T + 16], label_N, K, C)
  charts.code_by_class(axes, {"audio": count, "video": count})
  shown = [image(axis) for axis in axes]
  np.testing.assert_array_equal(*shown)
  assert shown[0].shape == (C, 16)
  stairs = shown[0].argmax(0)
  assert (np.diff(stairs) >= 0).all()
  assert {*stairs} == {*range(C)}
  charts.code_by_class(axes, {"audio": count, "video": other})
  for axis, mine in zip(axes, (slice(16), slice(16, 32)), strict=True):
    last = np.asarray(axis.images[-1].get_array())
    assert last[:, mine].sum() == pytest.approx(C)  # a share of each class
    assert last.sum() == pytest.approx(C)
    assert (np.diff(last[:, mine].argmax(0)) >= 0).all()


def test_drawing_of_unused_codes(axes):
  nothing = np.zeros((K, C), int)
  charts.code_by_class(axes, {"audio": nothing, "video": nothing})
  charts.code_by_modality(axes[0], {"audio": nothing.sum(1)})
  axes[0].figure.canvas.draw()


def without(split, name, gone_N):
  """The samples, with a modality missing in some."""
  idx = {m: x.copy() for m, x in split.idx.items()}
  clip = {m: x.copy() for m, x in split.clip.items()}
  idx[name][gone_N] = -1
  clip[name][gone_N] = -1
  return Codes(idx, clip, split.labels)


def test_what_is_missing_counts_nowhere():
  rng = np.random.default_rng(5)
  train, test = noisy(world(), 0), noisy(world(seed=1), 1)
  test = Codes(  # a sample with no code at all would be missing
    {m: np.where((x < 0).all(1)[:, None], 0, x) for m, x in test.idx.items()},
    test.clip,
    test.labels,
  )
  learn_N, ask_N = rng.random(N) < 0.5, rng.random(N) < 0.5
  ours = measure(
    without(train, "audio", ~learn_N), without(test, "audio", ~ask_N)
  )

  def part(split, rows):
    idx = {m: x[rows] for m, x in split.idx.items()}
    clip = {m: x[rows] for m, x in split.clip.items()}
    return Codes(idx, clip, {n: x[rows] for n, x in split.labels.items()})

  both = measure(part(train, learn_N), part(test, ask_N))
  for name in ("agreement", "agreement_chance", "nmi", "recall"):
    assert ours["clip"][name] == both["clip"][name], name
  assert ours["step"]["agreement"] == both["step"]["agreement"]
  for name in ("nmi_class", "purity"):
    assert ours["clip"][name]["audio"] == both["clip"][name]["audio"]
    assert ours["clip"][name]["video"] != both["clip"][name]["video"]
  assert ours["codes"]["used"]["audio"] == both["codes"]["used"]["audio"]
  # Fit where there is audio and tested on all video, and the other way.
  learned = measure(part(train, learn_N), test)["transfer"]
  asked = measure(train, part(test, ask_N))["transfer"]
  expected = {
    "audio->video": learned["audio->video"]["accuracy"],
    "video->audio": asked["video->audio"]["accuracy"],
  }
  assert {p: x["accuracy"] for p, x in ours["transfer"].items()} == expected
  assert (
    ours["transfer"]["audio->video"]["chance"]
    == (learned["audio->video"]["chance"])
  )
  assert (
    ours["transfer"]["video->audio"]["chance"]
    == (asked["video->audio"]["chance"])
  )


def test_transfer_says_nothing_of_what_nobody_has():
  train, test = world(), world(seed=1)
  nobody = np.ones(N, bool)
  assert measure(without(train, "audio", nobody), test)["transfer"] == {}
  assert measure(train, without(test, "audio", nobody))["transfer"] == {}
