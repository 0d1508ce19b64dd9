"""Scores of rankings with ties: recall@k, mAP, MRR and ranks.

Codes are discrete, so that many items tie with a hit. Their order in a sorted
list is arbitrary; every score here is therefore the expectation over all orders
of tied items, in closed form.

A query has one or more positives, the items that are hits. For each, `better`
counts the items with a higher score, and `tied` those with the same score, the
positive included. The first hit is among the positives with the highest score:
b items are above them, and t items tie, r of them positives. The place of the
first hit among the t is the least of r places drawn without replacement.

Dimensions: Q queries, P positives of a query at most.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

SLACK = 1e-9  # tolerance of shares: their sums are not exact
NORMAL = 1.959963984540054  # quantile of 97.5 %


class First(NamedTuple):
  """The position of the first hit of each query, (Q,) integers each.

  Attributes:
    b: number of items above it.
    t: number of items that tie with it, itself included.
    r: number of positives among these.
  """

  b: np.ndarray
  t: np.ndarray
  r: np.ndarray


def first(better_QxP: Any, tied_QxP: Any, valid_QxP: Any) -> First:
  """The position of the first hit of each query.

  Args:
    better_QxP: number of items with a higher score than each positive.
    tied_QxP: number of items with the same score, the positive included.
    valid_QxP: True for positives, False for padding. Each query has a positive.
  """
  better_QxP = np.where(valid_QxP, better_QxP, np.iinfo(np.int32).max)
  best_Qx1 = better_QxP.argmin(1)[:, None]
  b_Qx1 = np.take_along_axis(better_QxP, best_Qx1, 1)
  t_Qx1 = np.take_along_axis(np.asarray(tied_QxP), best_Qx1, 1)
  r_Q = (better_QxP == b_Qx1).sum(1)
  return First(b_Qx1[:, 0].astype(np.int64), t_Qx1[:, 0].astype(np.int64), r_Q)


def within(position: First, k: Any) -> np.ndarray:
  """The probability (Q,) that a hit is among the first k items.

  It is 1 - C(t - r, m) / C(t, m), where m = k - b is the number of tied items
  among the first k. With one positive that is m / t.
  """
  b, t, r = position
  m = np.clip(k - b, 0, t)
  none = np.ones(len(b))
  for i in range(int(r.max())):
    here = i < r
    share = np.maximum(t - m - i, 0) / np.maximum(t - i, 1)
    none = np.where(here, none * share, none)
  return 1 - none


def mean_rank(position: First) -> np.ndarray:
  """The expected rank (Q,) of the first hit, from 1."""
  b, t, r = position
  return b + (t + 1) / (r + 1)


def reciprocal_rank(position: First) -> np.ndarray:
  """The expectation (Q,) of 1 / rank of the first hit.

  Place x among the tied items has the probability C(t - x, r - 1) / C(t, r).
  """
  distinct, inverse = np.unique(
    np.stack(position, 1), axis=0, return_inverse=True
  )
  values = []
  for b, t, r in distinct.tolist():
    x = np.arange(1, t - r + 2)
    ratio = (t - x[:-1] - r + 1) / (t - x[:-1])  # of places x + 1 and x
    weight = np.cumprod(np.concatenate([[r / t], ratio]))
    values.append((weight / (b + x)).sum())
  return np.array(values)[inverse.reshape(-1)]


def average_precision(
  better_QxP: Any, tied_QxP: Any, valid_QxP: Any
) -> np.ndarray:
  """The expectation (Q,) of average precision.

  Let t items tie, r of them positives, below b items with R positives. The i-th
  tied item is a positive with probability r / t. If it is, (i - 1) c of the
  i - 1 tied items before it are expected to be positives, with
  c = (r - 1) / (t - 1). The expected sum of precisions is therefore r / t times
  the sum over i of

    (R + 1 + (i - 1) c) / (b + i) = c + (R + 1 - c (b + 1)) / (b + i).

  Args:
    better_QxP: see `first`.
    tied_QxP: see `first`.
    valid_QxP: see `first`.
  """
  b = np.where(valid_QxP, np.asarray(better_QxP, np.int64), 2**62)
  order = b.argsort(1)
  valid, t = np.asarray(valid_QxP), np.asarray(tied_QxP, np.int64)
  b, t, valid = (np.take_along_axis(x, order, 1) for x in (b, t, valid))
  # A group of equal scores starts where b changes, and ends before the next.
  starts, P = np.diff(b, axis=1, prepend=-1) != 0, b.shape[1]
  before = np.maximum.accumulate(np.where(starts, np.arange(P), 0), 1)
  after = np.where(starts, np.arange(P), P)[:, 1:]
  after = np.pad(after, [(0, 0), (0, 1)], constant_values=P)
  r = np.minimum.accumulate(after[:, ::-1], 1)[:, ::-1] - before
  b, t = np.where(valid, b, 0), np.where(valid, t, 1)
  c = (r - 1) / np.maximum(t - 1, 1)
  total = c * t + (before + 1 - c * (b + 1)) * _harmonic(b, t)
  # Each of the r positives counts its share of their sum.
  return np.where(valid, total / t, 0).sum(1) / valid.sum(1)


def _harmonic(b, t):
  """The sum of 1 / (b + i) over i = 1 .. t.

  A difference of two harmonic numbers, which longdouble keeps accurate.
  """
  count = np.arange(1, int((b + t).max()) + 1, dtype=np.longdouble)
  table = np.concatenate([[0], np.cumsum(1 / count)])
  return (table[b + t] - table[b]).astype(np.float64)


def median(position: First) -> tuple[float, float, float]:
  """The median rank of the first hit, and the ends of its 95 % interval.

  The median is over queries and over orders of tied items. The interval is that
  of the bootstrap in the limit of many queries. It starts at the first k whose
  95 % interval of recall@k reaches 1/2, and ends at the first k whose interval
  lies above.
  """
  distinct, count = np.unique(np.stack(position, 1), axis=0, return_counts=True)
  kinds, weight = First(*distinct.T), count / count.sum()

  def least(enough: Callable[[float, float], bool]) -> int:
    """The lowest rank k at which recall@k and its error are `enough`."""
    low, high = 1, int((position.b + position.t).max())
    while low < high:
      rank = (low + high) // 2
      hit = within(kinds, rank)
      mean = (weight * hit).sum()
      error = np.sqrt((weight * (hit - mean) ** 2).sum() / len(position.b))
      low, high = (low, rank) if enough(mean, error) else (rank + 1, high)
    return low

  lower = least(lambda mean, _: mean >= 0.5 - SLACK)
  upper = least(lambda mean, _: mean > 0.5 + SLACK)
  low = least(lambda mean, error: mean - 0.5 >= -NORMAL * error - SLACK)
  high = least(lambda mean, error: mean - 0.5 >= NORMAL * error + SLACK)
  return (lower + upper) / 2, float(low), float(high)


def scores(
  better_QxP: Any, tied_QxP: Any, valid_QxP: Any, at: Sequence[int]
) -> dict[str, np.ndarray]:
  """The scores of each query: "r@k", "mrr", "map", "mean_rank" -> (Q,).

  The score of a ranking is the mean over queries.

  Args:
    better_QxP: see `first`.
    tied_QxP: see `first`.
    valid_QxP: see `first`.
    at: values of k.
  """
  position = first(better_QxP, tied_QxP, valid_QxP)
  return {
    **{f"r@{k}": within(position, k) for k in at},
    "mrr": reciprocal_rank(position),
    "map": average_precision(better_QxP, tied_QxP, valid_QxP),
    "mean_rank": mean_rank(position),
  }


def chance(
  positives_Q: Any, gallery: int, at: Sequence[int]
) -> Mapping[str, float]:
  """The mean scores and `median_rank` of a random order: all items tie.

  Args:
    positives_Q: number of positives of each query.
    gallery: number of items.
    at: values of k.
  """
  positives_Q = np.asarray(positives_Q)
  kinds, count = np.unique(positives_Q, return_counts=True)
  valid = np.arange(kinds.max()) < kinds[:, None]
  better, tied = np.zeros(valid.shape, int), np.full(valid.shape, gallery)
  weight = count / count.sum()
  means = {
    name: float((x * weight).sum())
    for name, x in scores(better, tied, valid, at).items()
  }
  zeros = np.zeros_like(positives_Q)
  all_tied = First(zeros, zeros + gallery, positives_Q)
  return means | {"median_rank": median(all_tied)[0]}
