"""Rows of generation: how good is what codes of each modality become?

Dimensions: N samples, T time, H/W/C a raw step, U things that are looked at
(steps with an event, or whole samples), M real things of the gallery, F
features.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.runtime.errors import InputError
from unirep.tasks.generation import judge as judges
from unirep.tasks.generation.judge import Judge
from unirep.tasks.retrieval import ranks
from unirep.tasks.rows import Row

FLOW, DECODER = "flow", "decoder"
SHUFFLED, MEAN, REAL = "shuffled codes", "mean", "real"
GALLERY = 1000  # distinct real things that are searched, at most
NOTES = {
  False: "of steps with an event; right is any real one of the same class",
  True: "of whole samples; right is the real one of the same sample",
}


class Things(NamedTuple):
  """Raw things with their classes.

  Attributes:
    x_UxHxWxC: see there.
    label_U: from 0.
    right_U: equal numbers are right, where one is searched with another.
    whole: whether they are whole samples, and not steps.
  """

  x_UxHxWxC: np.ndarray
  label_U: np.ndarray
  right_U: np.ndarray
  whole: bool


def things(x_NxTxHxWxC: np.ndarray, label: np.ndarray, classes: int) -> Things:
  """What is looked at.

  Args:
    x_NxTxHxWxC: samples.
    label: (N, T) of steps, each of which is a thing, or (N,) of samples.
    classes: how many; beyond them is background, which is left out.
  """
  label, x = np.asarray(label), np.asarray(x_NxTxHxWxC)
  right, whole = label, label.ndim == 1
  if whole:
    N, T, H, *rest = x.shape
    x, right = x.reshape(N, T * H, *rest), np.arange(N)
  where = (label >= 0) & (label < classes)
  if not where.any():
    raise InputError("no sample has a label of a class to look at")
  return Things(x[where], label[where], right[where], whole)


def rows(
  target: str,
  made: Mapping[tuple[str, str], Things],
  real: Things,
  known: Things,
  judge: Judge,
  *,
  at: Sequence[int],
  seed: int,
) -> Iterator[Row]:
  """Every score of everything that was made of one modality.

  Args:
    target: the modality.
    made: (how it was made, whose codes) -> things, in the order of `real`.
    real: what they should be like.
    known: real ones of training; how far they are from `real` is what is left
      to a perfect model.
    judge: a classifier of real things.
    at: how many may be retrieved.
    seed: of what is drawn for the gallery.
  """
  gallery = distinct(real, seed)
  scores = {key: score(x, real, gallery, judge, at) for key, x in made.items()}
  _, feature_UxF = judges.seen(judge, real.x_UxHxWxC)
  _, known_UxF = judges.seen(judge, known.x_UxHxWxC)
  if (REAL, target) in scores:
    apart = judges.frechet(known_UxF, feature_UxF)
    scores[REAL, target]["frechet"] = apart
  count_C = np.bincount(real.label_U)
  chance = {"accuracy": float(count_C.max() / count_C.sum())}
  asked = int(np.isin(real.right_U, gallery.right_U).sum())
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
        note=NOTES[real.whole],
        queries=asked if metric.startswith("r@") else len(real.label_U),
        gallery=len(gallery.label_U) if metric.startswith("r@") else None,
      )


def distinct(real: Things, seed: int) -> Things:
  """Different real things, `GALLERY` at most: sources show some of them often.

  Args:
    real: all of them.
    seed: of the draw, where there are more.
  """
  flat_UxX = real.x_UxHxWxC.reshape(len(real.label_U), -1)
  rows_UxX = np.concatenate([flat_UxX, real.right_U[:, None]], 1)
  _, first_M = np.unique(rows_UxX, axis=0, return_index=True)
  drawn_M = np.random.default_rng(seed).permutation(np.sort(first_M))[:GALLERY]
  some_M = np.sort(drawn_M)
  x, label, right, whole = real
  return Things(x[some_M], label[some_M], right[some_M], whole)


def score(
  made: Things, real: Things, gallery: Things, judge: Judge, at: Sequence[int]
) -> dict[str, float]:
  """Accuracy, R@k, Fréchet distance, diversity beside that of real things."""
  class_U, feature_UxF = judges.seen(judge, made.x_UxHxWxC)
  _, real_UxF = judges.seen(judge, real.x_UxHxWxC)
  flat_UxX, real_MxX = (
    x.x_UxHxWxC.reshape(len(x.label_U), -1) for x in (made, gallery)
  )
  spread = judges.diversity(real_MxX, gallery.label_U)
  return {
    "accuracy": float((class_U == real.label_U).mean()),
    **found(flat_UxX, real.right_U, real_MxX, gallery.right_U, at),
    "frechet": judges.frechet(feature_UxF, real_UxF),
    "diversity": judges.diversity(flat_UxX, made.label_U) / max(spread, 1e-12),
  }


def found(
  made_QxX: np.ndarray,
  right_Q: np.ndarray,
  gallery_MxX: np.ndarray,
  right_M: np.ndarray,
  at: Sequence[int],
) -> dict[str, float]:
  """How often one of the k nearest real things is right.

  Args:
    made_QxX: what was made, to search with; those of which nothing is right
      are left out.
    right_Q: see `Things`.
    gallery_MxX: real things.
    right_M: likewise.
    at: values of k.
  """
  gallery_MxX = np.asarray(gallery_MxX, np.float64)
  square_M = (gallery_MxX**2).sum(1)
  counts: list[Any] = []
  for i in range(0, len(right_Q), GALLERY):
    part = slice(i, i + GALLERY)
    near_QxM = 2 * made_QxX[part].astype(np.float64) @ gallery_MxX.T - square_M
    right_QxM = right_Q[part][:, None] == right_M
    best_Qx1 = np.where(right_QxM, near_QxM, -np.inf).max(1, keepdims=True)
    tied_QxM = near_QxM == best_Qx1
    numbers = (near_QxM > best_Qx1, tied_QxM, tied_QxM & right_QxM)
    has_Q = right_QxM.any(1)
    counts.append([x.sum(1)[has_Q] for x in numbers])
  first = ranks.First(*(np.concatenate(x) for x in zip(*counts, strict=True)))
  return {f"r@{k}": float(ranks.within(first, k).mean()) for k in at}
