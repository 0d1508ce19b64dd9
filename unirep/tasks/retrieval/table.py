"""Rows of retrieval: samples of one modality search those of another.

Dimensions: N samples, Q queries, M samples of the gallery, P positives of a
query at most, D code width, B resamples.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.inference import nearest, similarity
from unirep.inference.similarity import REPRESENTATIONS, States
from unirep.runtime.errors import InputError, pick
from unirep.tasks.retrieval import ranks
from unirep.tasks.rows import Row

NOTES = {  # relevance -> the samples that are hits
  "pair": "a hit is the same sample",
  "id": "a hit is any sample with the same id",
  "class": "a hit is any sample of the same class",
}


class Samples(NamedTuple):
  """Samples of one modality, used as queries and as a gallery.

  Attributes:
    states: states of N samples.
    label_N: integers; a sample of the gallery is a hit if its label is that of
      the query.
  """

  states: States
  label_N: np.ndarray


class Setting(NamedTuple):
  """Options of retrieval.

  Attributes:
    code_KxD: the codebook.
    masks: number of dimensions that TOC keeps -> (D,) bool; the last mask keeps
      all.
    representations: names in `similarity.REPRESENTATIONS`.
    relevance: a key of `NOTES`.
    at: values of k in recall@k.
    resamples: B, of the bootstrap over queries.
    seed: seed of the bootstrap.
  """

  code_KxD: Any
  masks: Mapping[int, np.ndarray]
  representations: Sequence[str]
  relevance: str
  at: Sequence[int]
  resamples: int
  seed: int


def positives(query_Q: Any, gallery_M: Any) -> np.ndarray:
  """Indices (Q, P) of the items with each query's label, padded with -1.

  Args:
    query_Q: labels of the queries.
    gallery_M: labels of the items.
  """
  query_Q, gallery_M = np.asarray(query_Q), np.asarray(gallery_M)
  order_M = gallery_M.argsort(kind="stable")
  first_Q, last_Q = (
    np.searchsorted(gallery_M, query_Q, side, sorter=order_M)
    for side in ("left", "right")
  )
  place_QxP = first_Q[:, None] + np.arange(max((last_Q - first_Q).max(), 1))
  valid_QxP = place_QxP < last_Q[:, None]
  return np.where(valid_QxP, order_M[np.where(valid_QxP, place_QxP, 0)], -1)


def rows(setting: Setting, samples: Mapping[str, Samples]) -> Iterator[Row]:
  """Rows of every direction, representation, TOC mask and score.

  Args:
    setting: see `Setting`.
    samples: modality -> samples, of two modalities or more.

  Raises:
    InputError: if a modality has no samples, no query has a hit, or a k exceeds
      the size of the gallery.
  """
  for source, target in itertools.permutations(samples, 2):
    yield from _of_pair(setting, samples, source, target)


def _of_pair(setting, samples, source, target) -> Iterator[Row]:
  query, gallery = samples[source], samples[target]
  M = len(gallery.label_N)
  if not len(query.label_N) or not M:
    empty = source if M else target
    raise InputError(f"{source}->{target}: no sample of {empty!r} to look at")
  for k in setting.at:
    if k > M:
      raise InputError(f"at={k}: {M} samples of {target!r} are all there are")
  positive_QxP = positives(query.label_N, gallery.label_N)
  has_Q = positive_QxP[:, 0] >= 0
  if not has_Q.any():
    raise InputError(
      f"{source}->{target}: no sample of {target!r} is right for any query;"
      f" relevance={setting.relevance}"
    )
  positive_QxP = positive_QxP[has_Q]
  states, valid_QxP = similarity.part(query.states, has_Q), positive_QxP >= 0
  Q = len(positive_QxP)
  rng = np.random.default_rng(setting.seed)
  share_BxQ = rng.multinomial(Q, np.full(Q, 1 / Q), setting.resamples) / Q
  chance = ranks.chance(valid_QxP.sum(1), M, setting.at)
  leading = "map" if setting.relevance == "class" else f"r@{setting.at[0]}"
  for name in setting.representations:
    masks: Mapping[Any, Any] = {None: None}
    if pick(REPRESENTATIONS, "representations", name).masked:
      masks = setting.masks
    for keep, mask_D in masks.items():
      pair = similarity.items(
        states, gallery.states, setting.code_KxD, name, mask_D
      )
      counts = nearest.counts(*pair, positive_QxP)
      scores = _scores(*counts, valid_QxP, setting.at, share_BxQ)
      for metric, (value, low, high) in scores.items():
        yield Row(
          task=f"retrieval by {name}",
          source=source,
          target=target,
          representation=name,
          metric=metric,
          leads=metric == leading,
          keep=keep,
          value=value,
          std=float("nan"),
          low=low,
          high=high,
          seeds=1,
          chance=chance[metric],
          note=NOTES[setting.relevance],
          queries=Q,
          gallery=M,
        )


def _scores(
  better_QxP, tied_QxP, valid_QxP, at, share_BxQ
) -> dict[str, tuple[float, float, float]]:
  """Score name -> mean over queries, and the ends of its 95 % interval."""
  by_query = ranks.scores(better_QxP, tied_QxP, valid_QxP, at)
  resampled_BxS = share_BxQ @ np.stack([*by_query.values()], 1)
  low_S, high_S = np.quantile(resampled_BxS, (0.025, 0.975), 0)
  intervals = zip(by_query.items(), low_S, high_S, strict=True)
  scores = {
    name: (float(x_Q.mean()), float(low), float(high))
    for (name, x_Q), low, high in intervals
  }
  position = ranks.first(better_QxP, tied_QxP, valid_QxP)
  return scores | {"median_rank": ranks.median(position)}
