"""Scores against loops in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unirep.tasks.probing import scores

N, T, C = 7, 9, 4


def random(seed, *shape, share=0.5):
  return np.random.default_rng(seed).random(shape) < share


def runs(on_T):
  """(start, stop) of every run of True."""
  found, start = [], None
  for t, on in enumerate([*on_T, False]):
    if on and start is None:
      start = t
    if not on and start is not None:
      found.append((start, t))
      start = None
  return found


def event_reference(guess, truth):
  hits, predicted, positive = np.zeros((3, C), int)
  for n, c in itertools.product(range(N), range(C)):
    ours, theirs = runs(guess[n, :, c]), runs(truth[n, :, c])
    predicted[c] += len(ours)
    positive[c] += len(theirs)
    for a, b in itertools.product(ours, theirs):
      shared = max(0, min(a[1], b[1]) - max(a[0], b[0]))
      union = (a[1] - a[0]) + (b[1] - b[0]) - shared
      hits[c] += shared > 0.5 * union
  return hits, predicted, positive


@pytest.mark.parametrize("seed", range(4))
def test_events_match_a_loop(seed):
  truth = random(seed, N, T, C, share=0.6)
  guess = truth ^ random(seed + 9, N, T, C, share=0.15)
  counts = jax.jit(scores.event_counts)(guess, truth)
  expected = event_reference(guess, truth)
  assert expected[0].sum() > 5
  for ours, theirs in zip(counts, expected, strict=True):
    np.testing.assert_array_equal(ours, theirs)
  perfect = scores.event_counts(truth, truth)
  assert scores.f1(perfect) == 1


def test_an_event_of_half_the_length_is_not_found():
  truth = np.zeros((1, 8, 1), bool)
  truth[0, 2:6] = True
  half, most = truth.copy(), truth.copy()
  half[0, 4:] = False
  most[0, 5:] = False
  assert scores.event_counts(half, truth).hit_C == 0
  assert scores.event_counts(most, truth).hit_C == 1


def test_segment_counts_with_masks_and_over_batches():
  guess, truth = random(0, N, T, C), random(1, N, T, C)
  whole = scores.segment_counts(guess, truth)
  np.testing.assert_array_equal(whole.hit_C, (guess & truth).sum((0, 1)))
  np.testing.assert_array_equal(whole.predicted_C, guess.sum((0, 1)))
  np.testing.assert_array_equal(whole.positive_C, truth.sum((0, 1)))
  mask = random(2, N, T)
  np.testing.assert_array_equal(
    jnp.stack(scores.segment_counts(guess, truth, mask)),
    jnp.stack(scores.segment_counts(guess[mask], truth[mask])),
  )
  parts = [
    scores.segment_counts(guess[i:j], truth[i:j]) for i, j in ((0, 3), (3, N))
  ]
  np.testing.assert_array_equal(jnp.stack(scores.add(parts)), jnp.stack(whole))


def test_averages_by_hand():
  counts = scores.Counts(*map(jnp.array, ([1, 0, 6], [2, 0, 8], [4, 0, 7])))
  assert scores.precision(counts) == pytest.approx(7 / 10)
  assert scores.recall(counts) == pytest.approx(7 / 11)
  assert scores.f1(counts) == pytest.approx(2 * 7 / 21)
  assert scores.precision(counts, background=False) == pytest.approx(1 / 2)
  # The second class never occurs: it has no share in the mean.
  assert scores.recall(counts, "macro") == pytest.approx((1 / 4 + 6 / 7) / 2)
  np.testing.assert_allclose(
    scores.f1(counts, "none"), [2 / 6, 0, 12 / 15], rtol=1e-6
  )
  with pytest.raises(ValueError, match="median"):
    scores.f1(counts, "median")


def test_nothing_is_divided_by_zero():
  none = scores.segment_counts(*np.zeros((2, N, C), bool))
  for score in (scores.precision, scores.recall, scores.f1):
    for average in ("micro", "macro"):
      assert score(none, average) == 0
  assert scores.value(scores.accuracy(jnp.zeros((2, 3)), jnp.full(2, -1))) == 0
  epoch = jax.tree.map(lambda x: x[None], none)
  p, r, f1 = scores.released_epoch(epoch, jnp.array([N]))
  assert (p, r, f1) == (0, 0, 0)


def test_accuracy():
  logits = np.random.default_rng(0).normal(size=(N, C))
  label = np.arange(N) % 3
  right = logits.argmax(-1) == label
  assert right.any()
  assert not right.all()
  assert scores.value(scores.accuracy(logits, label)) == pytest.approx(
    right.mean()
  )
  mask = random(3, N)
  masked = scores.accuracy(logits, label, mask)
  assert scores.value(masked) == pytest.approx(right[mask].mean())
  unknown = np.where(mask, label, -1)  # as good as masked
  assert tuple(scores.accuracy(logits, unknown)) == tuple(masked)
  by_class = scores.class_accuracy(logits, label)
  for c in range(3):
    assert scores.value(by_class)[c] == pytest.approx(right[label == c].mean())
  assert by_class.size.tolist() == [3, 2, 2, 0]


def test_epochs_average_batches_by_their_size():
  batches = [
    (random(i, n, C), random(i + 5, n, C)) for i, n in ((1, 3), (2, 9))
  ]
  counts = [scores.segment_counts(*b) for b in batches]
  counts = jax.tree.map(lambda *x: jnp.stack(x), *counts)
  p, _, _ = scores.released_epoch(counts, jnp.array([3, 9]))
  each = [(g & t).sum() / g.sum() for g, t in batches]
  assert p == pytest.approx((3 * each[0] + 9 * each[1]) / 12)
