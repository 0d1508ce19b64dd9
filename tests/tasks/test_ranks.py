"""Scores with ties, against the mean over all orders of tied items."""

import fractions
import itertools

import numpy as np
import pytest

from unirep.tasks.retrieval import ranks

AT = (1, 2, 3, 5, 50)


def orders(score_M):
  """All orders of items by falling score."""
  levels = [
    np.flatnonzero(score_M == value) for value in np.unique(score_M)[::-1]
  ]
  for parts in itertools.product(*map(itertools.permutations, levels)):
    yield [item for part in parts for item in part]


def by_hand(order, positives):
  """Scores of one order, by their definitions."""
  place = sorted(order.index(item) + 1 for item in positives)
  precision = [fractions.Fraction(i, rank) for i, rank in enumerate(place, 1)]
  return {
    **{f"r@{k}": fractions.Fraction(int(place[0] <= k)) for k in AT},
    "mrr": fractions.Fraction(1, place[0]),
    "map": sum(precision) / len(place),
    "mean_rank": fractions.Fraction(place[0]),
  }


def enumerated(score_M, positives):
  """Mean scores over all orders, in fractions; and all ranks of first hits."""
  found = [by_hand(order, positives) for order in orders(score_M)]
  mean = {
    name: float(sum(x[name] for x in found) / len(found)) for name in found[0]
  }
  return mean, [float(x["mean_rank"]) for x in found]


def counted(score_QxM, positive_QxP):
  own = np.take_along_axis(score_QxM, np.maximum(positive_QxP, 0), 1)[..., None]
  better = (score_QxM[:, None] > own).sum(-1)
  tied = (score_QxM[:, None] == own).sum(-1)
  return better, tied, positive_QxP >= 0


def case(seed):
  """A few queries with one to four positives, and two or three scores."""
  rng = np.random.default_rng(seed)
  items, queries = int(rng.integers(4, 8)), 4
  score_QxM = rng.integers(0, rng.integers(1, 4), (queries, items))
  positive_QxP = np.full((queries, 4), -1)
  for row in positive_QxP:
    own = rng.permutation(items)[: rng.integers(1, min(items, 4) + 1)]
    row[rng.permutation(4)[: len(own)]] = own  # -1 stands anywhere
  return score_QxM, positive_QxP


@pytest.mark.parametrize("seed", range(50))
def test_scores_are_means_over_all_orders(seed):
  score_QxM, positive_QxP = case(seed)
  counts = counted(score_QxM, positive_QxP)
  found = ranks.scores(*counts, AT)
  firsts = []
  for q, (score_M, row) in enumerate(zip(score_QxM, positive_QxP, strict=True)):
    wanted, rank = enumerated(score_M, [int(i) for i in row if i >= 0])
    firsts.append(rank)
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
      assert abs(found[name][q] - value) < 1e-12, name
  # The median of ranks that queries have in all orders, each query alike.
  count = np.lcm.reduce([len(rank) for rank in firsts])
  pooled = [x for rank in firsts for x in np.repeat(rank, count // len(rank))]
  middle, low, high = ranks.median(ranks.first(*counts))
  assert middle == np.median(pooled)
  assert low <= middle <= high


def test_chance_is_the_mean_over_all_orders():
  found = ranks.chance([1, 1, 3], 6, AT)
  wanted = [enumerated(np.zeros(6), range(n))[0] for n in (1, 1, 3)]
  for name in wanted[0]:
    assert found[name] == pytest.approx(np.mean([x[name] for x in wanted]))
  assert found["r@1"] == pytest.approx((1 / 6 + 1 / 6 + 1 / 2) / 3)
  assert ranks.chance([1], 9, AT)["median_rank"] == 5


def test_large_ties_keep_their_digits():
  """Against fractions, since the orders are too many to list."""
  b, t, r = 40, 3000, 7
  better, tied = np.full((1, r), b), np.full((1, r), t)
  found = ranks.scores(better, tied, np.ones((1, r), bool), (45, 1000))
  weight, total = [fractions.Fraction(r, t)], fractions.Fraction(0)
  for x in range(1, t - r + 1):
    weight.append(weight[-1] * fractions.Fraction(t - x - r + 1, t - x))
  assert sum(weight) == 1
  for k in (45, 1000):
    value = float(sum(weight[: k - b]))
    assert found[f"r@{k}"][0] == pytest.approx(value, abs=1e-12)
  value = float(
    sum(
      w * float(1 / fractions.Fraction(b + x))
      for x, w in enumerate(map(float, weight), 1)
    )
  )
  assert found["mrr"][0] == pytest.approx(value, abs=1e-12)
  for i in range(1, t + 1):
    others = 1 + fractions.Fraction((i - 1) * (r - 1), t - 1)
    total += others / (b + i) / t
  assert found["map"][0] == pytest.approx(float(total), abs=1e-12)


def test_without_ties_it_is_the_usual():
  rng = np.random.default_rng(0)
  rank = rng.permutation(101)[:11]
  better, tied = rank[:, None], np.ones((11, 1), int)
  found = ranks.scores(better, tied, np.ones((11, 1), bool), (10,))
  np.testing.assert_array_equal(found["r@10"], rank < 10)
  np.testing.assert_array_equal(found["mean_rank"], rank + 1)
  np.testing.assert_allclose(found["mrr"], 1 / (rank + 1), rtol=1e-14)
  np.testing.assert_allclose(found["map"], found["mrr"], rtol=1e-14)
  middle, low, high = ranks.median(ranks.first(better, tied, better >= 0))
  assert middle == np.median(rank) + 1
  assert low < middle < high


def test_the_interval_of_the_median_is_that_of_the_bootstrap():
  rng = np.random.default_rng(1)
  rank = rng.geometric(0.02, 2000)
  counts = (
    (rank - 1)[:, None],
    np.ones((2000, 1), int),
    np.ones((2000, 1), bool),
  )
  _, low, high = ranks.median(ranks.first(*counts))
  drawn = np.median(rng.choice(rank, (2000, 2000)), 1)
  assert abs(low - np.quantile(drawn, 0.025)) <= 1
  assert abs(high - np.quantile(drawn, 0.975)) <= 1
