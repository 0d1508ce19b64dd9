"""Scores of a ranking in which items tie: expectations over their orders.

Codes are discrete, so that many items are as good as the right one. How a sort
happens to order them says nothing: every number here is the mean over all
orders of what ties, in closed form.

A query has one or more positives. Each has `better` items above it, and `tied`
that are as good, itself among them. The first positive to come stands among the
best ones: b items are above, t tie, r of which are positives, so that its place
among the t is the least of r places drawn without replacement.

Dimensions: Q queries, P positives of a query at most.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

SLACK = 1e-9  # of a share: sums of shares are not exact
NORMAL = 1.959963984540054  # quantile of 97.5 %


class First(NamedTuple):
  """Where the first positive comes, (Q,) integers each.

  Attributes:
    b: items above it.
    t: items that tie with it, itself included.
    r: positives among these.
  """

  b: np.ndarray
  t: np.ndarray
  r: np.ndarray


def first(better_QxP: Any, tied_QxP: Any, known_QxP: Any) -> First:
  """Of all positives the best ones.

  Args:
    better_QxP: items with a higher score.
    tied_QxP: items with the same score.
    known_QxP: False where there is no positive; each query has one.
  """
  better_QxP = np.where(known_QxP, better_QxP, np.iinfo(np.int32).max)
  best_Qx1 = better_QxP.argmin(1)[:, None]
  b_Qx1 = np.take_along_axis(better_QxP, best_Qx1, 1)
  t_Qx1 = np.take_along_axis(np.asarray(tied_QxP), best_Qx1, 1)
  r_Q = (better_QxP == b_Qx1).sum(1)
  return First(b_Qx1[:, 0].astype(np.int64), t_Qx1[:, 0].astype(np.int64), r_Q)


def within(found: First, k: Any) -> np.ndarray:
  """The probability that a positive is among the first k: (Q,).

  1 minus C(t - r, m) / C(t, m), where m = k - b of what ties are taken; with
  one positive that is m / t.
  """
  b, t, r = found
  m = np.clip(k - b, 0, t)
  none = np.ones(len(b))
  for i in range(int(r.max())):
    here = i < r
    share = np.maximum(t - m - i, 0) / np.maximum(t - i, 1)
    none = np.where(here, none * share, none)
  return 1 - none


def mean_rank(found: First) -> np.ndarray:
  """The expected rank of the first positive, from 1: (Q,)."""
  b, t, r = found
  return b + (t + 1) / (r + 1)


def reciprocal_rank(found: First) -> np.ndarray:
  """The expectation of 1 / rank of the first positive: (Q,).

  The place x among what ties has the probability C(t - x, r - 1) / C(t, r).
  """
  distinct, inverse = np.unique(np.stack(found, 1), axis=0, return_inverse=True)
  values = []
  for b, t, r in distinct.tolist():
    x = np.arange(1, t - r + 2)
    ratio = (t - x[:-1] - r + 1) / (t - x[:-1])  # of a place and the next
    weight = np.cumprod(np.concatenate([[r / t], ratio]))
    values.append((weight / (b + x)).sum())
  return np.array(values)[inverse.reshape(-1)]


def average_precision(
  better_QxP: Any, tied_QxP: Any, known_QxP: Any
) -> np.ndarray:
  """The expectation of average precision: (Q,).

  Let t items tie, r of them positives, below b items with R positives. The i-th
  of them is a positive with probability r / t, and then (i - 1) (r - 1) /
  (t - 1) of those before it are, so that with c = (r - 1) / (t - 1) the sum of
  precisions is r / t times the sum over i of

    (R + 1 + (i - 1) c) / (b + i) = c + (R + 1 - c (b + 1)) / (b + i).

  Args:
    better_QxP: see `first`.
    tied_QxP: likewise.
    known_QxP: likewise.
  """
  b = np.where(known_QxP, np.asarray(better_QxP, np.int64), 2**62)
  order = b.argsort(1)
  known, t = np.asarray(known_QxP), np.asarray(tied_QxP, np.int64)
  b, t, known = (np.take_along_axis(x, order, 1) for x in (b, t, known))
  # Equal scores start where b changes, and end before the next.
  starts, P = np.diff(b, axis=1, prepend=-1) != 0, b.shape[1]
  before = np.maximum.accumulate(np.where(starts, np.arange(P), 0), 1)
  after = np.where(starts, np.arange(P), P)[:, 1:]
  after = np.pad(after, [(0, 0), (0, 1)], constant_values=P)
  r = np.minimum.accumulate(after[:, ::-1], 1)[:, ::-1] - before
  b, t = np.where(known, b, 0), np.where(known, t, 1)
  c = (r - 1) / np.maximum(t - 1, 1)
  total = c * t + (before + 1 - c * (b + 1)) * _harmonic(b, t)
  # Each of the r positives counts its share of their sum.
  return np.where(known, total / t, 0).sum(1) / known.sum(1)


def _harmonic(b, t):
  """The sum of 1 / (b + i) over i = 1 .. t.

  Differences of a table, with digits to spare where the machine has them.
  """
  count = np.arange(1, int((b + t).max()) + 1, dtype=np.longdouble)
  table = np.concatenate([[0], np.cumsum(1 / count)])
  return (table[b + t] - table[b]).astype(np.float64)


def median(found: First) -> tuple[float, float, float]:
  """The median rank over queries and orders, and its 95 % interval.

  The interval is where the bootstrap's medians lie when queries are many: those
  ranks at which the share of queries that are done, a mean, can be 1/2.
  """
  distinct, count = np.unique(np.stack(found, 1), axis=0, return_counts=True)
  kinds, weight = First(*distinct.T), count / count.sum()

  def least(enough: Callable[[float, float], bool]) -> int:
    """The lowest rank at which the share of queries that are done is enough."""
    low, high = 1, int((found.b + found.t).max())
    while low < high:
      rank = (low + high) // 2
      done = within(kinds, rank)
      mean = (weight * done).sum()
      error = np.sqrt((weight * (done - mean) ** 2).sum() / len(found.b))
      low, high = (low, rank) if enough(mean, error) else (rank + 1, high)
    return low

  lower = least(lambda mean, _: mean >= 0.5 - SLACK)
  upper = least(lambda mean, _: mean > 0.5 + SLACK)
  low = least(lambda mean, error: mean - 0.5 >= -NORMAL * error - SLACK)
  high = least(lambda mean, error: mean - 0.5 >= NORMAL * error + SLACK)
  return (lower + upper) / 2, float(low), float(high)


def scores(
  better_QxP: Any, tied_QxP: Any, known_QxP: Any, at: Sequence[int]
) -> dict[str, np.ndarray]:
  """All numbers that are means over queries: name -> (Q,).

  Args:
    better_QxP: see `first`.
    tied_QxP: likewise.
    known_QxP: likewise.
    at: numbers of items that may be retrieved.
  """
  found = first(better_QxP, tied_QxP, known_QxP)
  return {
    **{f"r@{k}": within(found, k) for k in at},
    "mrr": reciprocal_rank(found),
    "map": average_precision(better_QxP, tied_QxP, known_QxP),
    "mean_rank": mean_rank(found),
  }


def chance(
  positives_Q: Any, gallery: int, at: Sequence[int]
) -> Mapping[str, float]:
  """The same, and `median_rank`, of scores that know nothing: all M tie.

  Args:
    positives_Q: how many each query has.
    gallery: how many items there are, M.
    at: see `scores`.
  """
  positives_Q = np.asarray(positives_Q)
  kinds, count = np.unique(positives_Q, return_counts=True)
  known = np.arange(kinds.max()) < kinds[:, None]
  better, tied = np.zeros(known.shape, int), np.full(known.shape, gallery)
  weight = count / count.sum()
  found = {
    name: float((x * weight).sum())
    for name, x in scores(better, tied, known, at).items()
  }
  zeros = np.zeros_like(positives_Q)
  all_alike = First(zeros, zeros + gallery, positives_Q)
  return found | {"median_rank": median(all_alike)[0]}
