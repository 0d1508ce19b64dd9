"""Rows of generation: scores of samples generated from codes.

A score is measured on units: steps with an event, or whole samples.

Dimensions: N samples, T time, H/W/C a raw step, U units, Q units used as
queries, M real units of the gallery, X width of a flat unit, F features.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.runtime.errors import InputError
from unirep.tasks.generation import judge as judges
from unirep.tasks.generation.judge import Judge
from unirep.tasks.retrieval import ranks
from unirep.tasks.rows import Row

# Generators; the last two use no codes.
FLOW, DECODER, SHUFFLED = "flow", "decoder", "shuffled codes"
MEAN, REAL = "mean", "real"
GALLERY = 1000  # distinct real units in the gallery, at most
NOTES = {  # whether units are whole samples -> a remark on the scores
  False: "of steps with an event; a hit is any real one of the same class",
  True: "of whole samples; a hit is the real one of the same sample",
}


class Units(NamedTuple):
  """Raw units and their classes.

  Attributes:
    x_UxHxWxC: raw units.
    label_U: classes, from 0.
    key_U: a real unit is a hit for a generated one with the same key.
    whole: whether units are whole samples rather than steps.
  """

  x_UxHxWxC: np.ndarray
  label_U: np.ndarray
  key_U: np.ndarray
  whole: bool


def units(x_NxTxHxWxC: np.ndarray, label: np.ndarray, classes: int) -> Units:
  """The units of samples that have a class.

  Args:
    x_NxTxHxWxC: raw samples.
    label: (N, T) for units that are steps; their keys are their classes. (N,)
      for units that are whole samples; their keys are their numbers.
    classes: number of classes; labels from there on are background.

  Raises:
    InputError: if no unit has a class.
  """
  label, x = np.asarray(label), np.asarray(x_NxTxHxWxC)
  key, whole = label, label.ndim == 1
  if whole:
    N, T, H, *rest = x.shape
    x, key = x.reshape(N, T * H, *rest), np.arange(N)
  where = (label >= 0) & (label < classes)
  if not where.any():
    raise InputError("no sample has a label of a class to look at")
  return Units(x[where], label[where], key[where], whole)


def rows(
  target: str,
  generated: Mapping[tuple[str, str], Units],
  real: Units,
  train: Units,
  judge: Judge,
  *,
  at: Sequence[int],
  seed: int,
) -> Iterator[Row]:
  """Rows of every score of the units generated in one modality.

  Args:
    target: the modality.
    generated: (generator, modality of the codes) -> units, in the order of
      `real`. The generator `REAL` holds the real units themselves.
    real: real units of the test samples.
    train: real units of training samples. Their Fréchet distance to `real` is
      reported for `REAL`, as the distance of a perfect generator.
    judge: a classifier trained on real units.
    at: values of k in recall@k.
    seed: seed of the draw of the gallery.
  """
  gallery = distinct(real, seed)
  scores = {
    key: score(x, real, gallery, judge, at) for key, x in generated.items()
  }
  if (REAL, target) in scores:
    _, real_UxF = judges.classify(judge, real.x_UxHxWxC)
    _, train_UxF = judges.classify(judge, train.x_UxHxWxC)
    scores[REAL, target]["frechet"] = judges.frechet(train_UxF, real_UxF)
  count_C = np.bincount(real.label_U)
  chance = {"accuracy": float(count_C.max() / count_C.sum())}
  queries = int(np.isin(real.key_U, gallery.key_U).sum())
  for (generator, source), by_metric in scores.items():
    ceiling = scores.get((generator, target), {})
    for metric, value in by_metric.items():
      retrieval = metric.startswith("r@")
      yield Row(
        task=f"generation of {target}",
        source=source,
        target=target,
        representation=generator,
        metric=metric,
        leads=metric == "accuracy",
        keep=None,
        value=value,
        std=float("nan"),
        low=float("nan"),
        high=float("nan"),
        seeds=1,
        chance=chance.get(metric),
        ceiling=ceiling.get(metric),
        note=NOTES[real.whole],
        queries=queries if retrieval else len(real.label_U),
        gallery=len(gallery.label_U) if retrieval else None,
      )


def distinct(real: Units, seed: int) -> Units:
  """The gallery: different real units, `GALLERY` at most.

  Sources show some units more than once. Units with equal values but different
  keys are different.

  Args:
    real: real units.
    seed: seed of the draw if there are more.
  """
  flat_UxX = real.x_UxHxWxC.reshape(len(real.label_U), -1)
  rows_UxX = np.concatenate([flat_UxX, real.key_U[:, None]], 1)
  _, first_M = np.unique(rows_UxX, axis=0, return_index=True)
  drawn_M = np.random.default_rng(seed).permutation(np.sort(first_M))[:GALLERY]
  index_M = np.sort(drawn_M)
  return Units(
    real.x_UxHxWxC[index_M],
    real.label_U[index_M],
    real.key_U[index_M],
    real.whole,
  )


def score(
  generated: Units,
  real: Units,
  gallery: Units,
  judge: Judge,
  at: Sequence[int],
) -> dict[str, float]:
  """Scores of one generator.

  Args:
    generated: generated units.
    real: the real units that they stand for, in the same order.
    gallery: distinct real units, see `distinct`.
    judge: a classifier trained on real units.
    at: values of k in recall@k.

  Returns:
    accuracy: share of generated units that the judge puts in their class.
    r@k: see `recall`.
    frechet: Fréchet distance between the judge's features of generated and
      real units.
    diversity: see `judge.diversity`; divided by that of the gallery.
  """
  class_U, feature_UxF = judges.classify(judge, generated.x_UxHxWxC)
  _, real_UxF = judges.classify(judge, real.x_UxHxWxC)
  flat_UxX, gallery_MxX = (
    x.x_UxHxWxC.reshape(len(x.label_U), -1) for x in (generated, gallery)
  )
  spread = judges.diversity(gallery_MxX, gallery.label_U)
  diversity = judges.diversity(flat_UxX, generated.label_U)
  return {
    "accuracy": float((class_U == real.label_U).mean()),
    **recall(flat_UxX, real.key_U, gallery_MxX, gallery.key_U, at),
    "frechet": judges.frechet(feature_UxF, real_UxF),
    "diversity": diversity / max(spread, 1e-12),
  }


def recall(
  query_QxX: np.ndarray,
  query_Q: np.ndarray,
  gallery_MxX: np.ndarray,
  gallery_M: np.ndarray,
  at: Sequence[int],
) -> dict[str, float]:
  """Recall "r@k": the share of queries with a hit among the k nearest.

  Ties count by expectation, see `ranks`. Queries without a hit in the gallery
  are left out.

  Args:
    query_QxX: generated units.
    query_Q: their keys.
    gallery_MxX: real units.
    gallery_M: their keys.
    at: values of k.
  """
  gallery_MxX = np.asarray(gallery_MxX, np.float64)
  square_M = (gallery_MxX**2).sum(1)
  counts: list[Any] = []
  for i in range(0, len(query_Q), GALLERY):
    part = slice(i, i + GALLERY)
    near_QxM = 2 * query_QxX[part].astype(np.float64) @ gallery_MxX.T - square_M
    hit_QxM = query_Q[part][:, None] == gallery_M
    best_Qx1 = np.where(hit_QxM, near_QxM, -np.inf).max(1, keepdims=True)
    tied_QxM = near_QxM == best_Qx1
    masks = (near_QxM > best_Qx1, tied_QxM, tied_QxM & hit_QxM)
    has_Q = hit_QxM.any(1)
    counts.append([x.sum(1)[has_Q] for x in masks])
  first = ranks.First(*(np.concatenate(x) for x in zip(*counts, strict=True)))
  return {f"r@{k}": float(ranks.within(first, k).mean()) for k in at}
