"""Accuracy, precision, recall and F1, from counts that add up over batches.

Background, where there is one, is the last class.

Dimensions: N samples, T segments, C classes, S batches. Arrays with several
labels have any leading axes, such as samples and segments; each entry along
them is a row.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Ratio(NamedTuple):
  """A sum and the number of its terms."""

  total: jax.Array
  size: jax.Array


class Counts(NamedTuple):
  """Counts of each class, for precision, recall and F1.

  Attributes:
    hit_C: true positives.
    predicted_C: predicted positives.
    positive_C: positives of the labels.
  """

  hit_C: jax.Array
  predicted_C: jax.Array
  positive_C: jax.Array


def add(parts: Iterable[Any]) -> Any:
  """The sum of `Ratio`s, or of `Counts`, of several batches."""
  return jax.tree.map(lambda *x: sum(x[1:], x[0]), *parts)


def value(ratio: Ratio) -> jax.Array:
  """The quotient, 0 where the size is 0."""
  return _divide(ratio.total, ratio.size)


def accuracy(
  logits_NxC: jax.Array, label_N: jax.Array, mask_N: jax.Array | None = None
) -> Ratio:
  """Samples with the highest logit at their class.

  Args:
    logits_NxC: scores of the classes.
    label_N: classes; samples with a label below 0 are left out.
    mask_N: True for samples that count; all by default.
  """
  right_N = (logits_NxC.argmax(-1) == label_N) & (label_N >= 0)
  count_N = label_N >= 0 if mask_N is None else mask_N & (label_N >= 0)
  return Ratio((right_N & count_N).sum(), count_N.sum())


def class_accuracy(logits_NxC: jax.Array, label_N: jax.Array) -> Ratio:
  """`accuracy` of the samples of each class: arrays (C,)."""
  of_NxC = jax.nn.one_hot(label_N, logits_NxC.shape[-1], dtype=bool)
  right_N = logits_NxC.argmax(-1) == label_N
  return Ratio((of_NxC & right_N[:, None]).sum(0), of_NxC.sum(0))


def predict(logits: jax.Array) -> jax.Array:
  """Classes whose sigmoid exceeds one half: bool, of the shape of `logits`."""
  return logits > 0


def segment_counts(
  predicted: jax.Array, label: jax.Array, mask: jax.Array | None = None
) -> Counts:
  """Counts over all rows.

  Args:
    predicted: (..., C) bool.
    label: (..., C), 0 or 1.
    mask: (...), True for rows that count; all by default.
  """
  predicted, label = predicted.astype(bool), label.astype(bool)
  if mask is not None:
    predicted, label = predicted & mask[..., None], label & mask[..., None]
  rows = tuple(range(predicted.ndim - 1))
  return Counts(
    (predicted & label).sum(rows), predicted.sum(rows), label.sum(rows)
  )


def event_counts(
  predicted_NxTxC: jax.Array, label_NxTxC: jax.Array, overlap: float = 0.5
) -> Counts:
  """Counts of events: runs of segments of one class.

  A predicted and a true event of a class match if their intersection over union
  exceeds `overlap`; one half is the threshold of Tian et al. 2020, "Unified
  Multisensory Perception". Since a match must exceed one half, an event matches
  one other event at most.

  Args:
    predicted_NxTxC: bool.
    label_NxTxC: 0 or 1.
    overlap: at least 0.5.
  """
  guess, truth = _runs(predicted_NxTxC), _runs(label_NxTxC)
  # A run is named by its first segment: there are T x T pairs of them.
  first = jnp.maximum(guess.start[:, :, None], truth.start[:, None])
  last = jnp.minimum(guess.stop[:, :, None], truth.stop[:, None])
  shared = jnp.maximum(last - first, 0)
  size = (guess.stop - guess.start)[:, :, None]
  union = size + (truth.stop - truth.start)[:, None] - shared
  real = guess.real[:, :, None] & truth.real[:, None]
  match = real & (shared > overlap * union)
  return Counts(
    match.any(2).sum((0, 1)), guess.real.sum((0, 1)), truth.real.sum((0, 1))
  )


class _Runs(NamedTuple):
  """For each (N, T, C) the run that starts there, if `real`."""

  real: jax.Array
  start: jax.Array
  stop: jax.Array


def _runs(on_NxTxC):
  on = on_NxTxC.astype(bool)
  T = on.shape[1]
  off = jnp.zeros_like(on[:, :1])
  real = on & ~jnp.concatenate([off, on[:, :-1]], 1)
  time = jnp.arange(T)[:, None] * jnp.ones_like(on, jnp.int32)
  # The first segment at or after this one that is off.
  stop = jax.lax.cummin(jnp.where(on, T, time), axis=1, reverse=True)
  return _Runs(real, time, stop)


def precision(
  counts: Counts, average: str = "micro", background: bool = True
) -> jax.Array:
  """Share of predicted positives that are true; arguments as in `f1`."""
  hit_C, predicted_C, positive_C = _classes(counts, background)
  return _average(hit_C, predicted_C, positive_C, average)


def recall(
  counts: Counts, average: str = "micro", background: bool = True
) -> jax.Array:
  """Share of the labels' positives that are predicted; arguments as in `f1`."""
  hit_C, _, positive_C = _classes(counts, background)
  return _average(hit_C, positive_C, positive_C, average)


def f1(
  counts: Counts, average: str = "micro", background: bool = True
) -> jax.Array:
  """Harmonic mean of precision and recall, 0 without hits.

  Args:
    counts: counts over all rows.
    average: `micro` adds up the classes first; `macro` is the mean over the
      classes that occur; `none` returns one value for each class, (C,).
    background: whether the last class, background, counts.

  Raises:
    ValueError: for another `average`.
  """
  hit_C, predicted_C, positive_C = _classes(counts, background)
  return _average(2 * hit_C, predicted_C + positive_C, positive_C, average)


def _classes(counts, background):
  return counts if background else Counts(*(x[..., :-1] for x in counts))


def _average(total_C, count_C, positive_C, average):
  if average == "micro":
    return _divide(total_C.sum(-1), count_C.sum(-1))
  if average == "macro":
    share_C, occurs_C = _divide(total_C, count_C), positive_C > 0
    return _divide((share_C * occurs_C).sum(-1), occurs_C.sum(-1))
  if average == "none":
    return _divide(total_C, count_C)
  raise ValueError(f"average must be micro, macro or none, not {average!r}")


def _divide(total, count):
  return jnp.where(count > 0, total / jnp.maximum(count, 1), 0)


def released_epoch(counts: Counts, size_S: jax.Array) -> Any:
  """Precision, recall and F1 of an epoch, as the released scripts compute them.

  Precision and recall are micro averages of each batch, background included,
  averaged over batches with their sizes as weights. F1 is the harmonic mean of
  the two averages.

  Args:
    counts: counts of each batch, arrays (S, C).
    size_S: samples in each batch.
  """
  weight_S = size_S / size_S.sum()
  p = (precision(counts) * weight_S).sum()
  r = (recall(counts) * weight_S).sum()
  return p, r, _divide_real(2 * p * r, p + r)


def _divide_real(a, b):
  return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)
