"""Rows of generation: how good is what codes of each modality become?

Dimensions: N samples, T time, H/W/C a raw step, U things that are looked at
(steps with an event, or whole samples), M real things of the gallery, F
features.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.errors import InputError
from unirep.tasks.generation import judge as judges
from unirep.tasks.generation.judge import Judge
from unirep.tasks.retrieval import ranks
from unirep.tasks.rows import Row

FLOW, DECODER = "flow", "decoder"
SHUFFLED, MEAN, REAL = "shuffled codes", "mean", "real"
WAYS = (FLOW, DECODER, SHUFFLED, MEAN, REAL)
GALLERY = 1000  # real things that are searched, at most
NOTES = {
  True: "of steps with an event; right is any real one of the same class",
  False: "of whole samples; right is the real one of the same sample",
}


class Things(NamedTuple):
  """Raw things with their classes.

  Attributes:
    x_UxHxWxC: see there.
    label_U: from 0.
    right_U: equal numbers are right, where one is searched with another.
  """

  x_UxHxWxC: np.ndarray
  label_U: np.ndarray
  right_U: np.ndarray


def things(x_NxTxHxWxC: np.ndarray, label: np.ndarray, classes: int) -> Things:
  """What is looked at.

  Args:
    x_NxTxHxWxC: samples.
    label: (N, T) of steps, each of which is a thing, or (N,) of samples.
    classes: how many; beyond them is background, which is left out.
  """
  label, x = np.asarray(label), np.asarray(x_NxTxHxWxC)
  right = label
  if label.ndim == 1:
    N, T, H, *rest = x.shape
    x, right = x.reshape(N, T * H, *rest), np.arange(N)
  where = (label >= 0) & (label < classes)
  if not where.any():
    raise InputError("no sample has a label of a class to look at")
  return Things(x[where], label[where], right[where])


def rows(
  target: str,
  made: Mapping[tuple[str, str], Things],
  real: Things,
  judge: Judge,
  *,
  at: Sequence[int],
  seed: int,
) -> Iterator[Row]:
  """Every score of everything that was made of one modality.

  Args:
    target: the modality.
    made: (one of `WAYS`, whose codes) -> things, in the order of `real`.
    real: what they should be like.
    judge: a classifier of real things.
    at: how many may be retrieved.
    seed: of what is drawn for the gallery.
  """
  scores = {key: score(x, real, judge, at, seed) for key, x in made.items()}
  count = judge.network.classes
  chance = {"accuracy": 1 / count}
  for (way, source), found in scores.items():
    own = scores.get((way, target), {})
    for metric, value in found.items():
      yield Row(
        *(f"generation of {target}", source, target, way, metric),
        leads=metric == "accuracy",
        keep=None,
        value=value,
        std=float("nan"),
        low=float("nan"),
        high=float("nan"),
        seeds=1,
        chance=chance.get(metric),
        ceiling=own.get(metric),
        note=NOTES[len(np.unique(real.right_U)) < len(real.right_U)],
        queries=len(real.label_U),
        gallery=min(GALLERY, len(real.label_U)),
      )


def score(
  made: Things, real: Things, judge: Judge, at: Sequence[int], seed: int
) -> dict[str, float]:
  """Accuracy, R@k, Fréchet distance, diversity beside that of real things."""
  class_U, feature_UxF = judges.seen(judge, made.x_UxHxWxC)
  _, known_UxF = judges.seen(judge, real.x_UxHxWxC)
  flat_UxX = made.x_UxHxWxC.reshape(len(class_U), -1)
  real_UxX = real.x_UxHxWxC.reshape(len(class_U), -1)
  spread = judges.diversity(real_UxX, real.label_U)
  return {
    "accuracy": float((class_U == real.label_U).mean()),
    **found(flat_UxX, real_UxX, real.right_U, at, seed),
    "frechet": judges.frechet(feature_UxF, known_UxF),
    "diversity": judges.diversity(flat_UxX, made.label_U) / max(spread, 1e-12),
  }


def found(
  made_UxX: np.ndarray,
  real_UxX: np.ndarray,
  right_U: np.ndarray,
  at: Sequence[int],
  seed: int,
) -> dict[str, float]:
  """How often one of the k nearest real things is of the right class.

  Args:
    made_UxX: what was made, to search with.
    real_UxX: real things, `GALLERY` of which are searched.
    right_U: see `Things`.
    at: values of k.
    seed: of the draw.
  """
  order_U = np.random.default_rng(seed).permutation(len(right_U))
  some_M = np.sort(order_U[:GALLERY])
  gallery_MxX = np.asarray(real_UxX[some_M], np.float64)
  right_M, square_M = right_U[some_M], (gallery_MxX**2).sum(1)
  counts: list[Any] = []
  for i in range(0, len(right_U), GALLERY):
    part = slice(i, i + GALLERY)
    near_QxM = 2 * made_UxX[part].astype(np.float64) @ gallery_MxX.T - square_M
    right_QxM = right_U[part][:, None] == right_M
    best_Qx1 = np.where(right_QxM, near_QxM, -np.inf).max(1, keepdims=True)
    tied_QxM = near_QxM == best_Qx1
    numbers = (near_QxM > best_Qx1, tied_QxM, tied_QxM & right_QxM)
    has_Q = right_QxM.any(1)
    counts.append([x.sum(1)[has_Q] for x in numbers])
  first = ranks.First(*(np.concatenate(x) for x in zip(*counts, strict=True)))
  return {f"r@{k}": float(ranks.within(first, k).mean()) for k in at}
