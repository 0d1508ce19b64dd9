"""Rows of retrieval: samples of one modality asked for by those of another.

Dimensions: Q queries, M items, P positives of a query at most, D code width,
B resamples.
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

NOTES = {  # relevance -> what is right
  "pair": "right is the same sample",
  "id": "right is any sample with the same id",
  "class": "right is any sample of the same class",
}


class Asked(NamedTuple):
  """Samples of a modality that can be asked for, or with.

  Attributes:
    states: of N samples.
    label_N: equal labels are right.
  """

  states: States
  label_N: np.ndarray


class Setting(NamedTuple):
  """What is measured.

  Attributes:
    code_KxD: the codebook.
    masks: by the number of dimensions that TOC keeps, (D,) bool; all of them
      last.
    representations: of `similarity.REPRESENTATIONS`.
    relevance: of `NOTES`.
    at: numbers of items that may be retrieved.
    resamples: of the bootstrap over queries, B.
    seed: of these.
  """

  code_KxD: Any
  masks: Mapping[int, np.ndarray]
  representations: Sequence[str]
  relevance: str
  at: Sequence[int]
  resamples: int
  seed: int


def positives(query_Q: Any, gallery_M: Any) -> np.ndarray:
  """Items whose label is that of a query: (Q, P) indices, -1 beyond them."""
  query_Q, gallery_M = np.asarray(query_Q), np.asarray(gallery_M)
  order_M = gallery_M.argsort(kind="stable")
  first_Q, last_Q = (
    np.searchsorted(gallery_M, query_Q, side, sorter=order_M)
    for side in ("left", "right")
  )
  place_QxP = first_Q[:, None] + np.arange(max((last_Q - first_Q).max(), 1))
  known_QxP = place_QxP < last_Q[:, None]
  return np.where(known_QxP, order_M[np.where(known_QxP, place_QxP, 0)], -1)


def rows(setting: Setting, asked: Mapping[str, Asked]) -> Iterator[Row]:
  """Every direction, representation, TOC mask and score.

  Args:
    setting: see `Setting`.
    asked: by modality, two or more.

  Raises:
    InputError: where nothing is right for any query, or fewer items are there
      than may be retrieved.
  """
  for source, target in itertools.permutations(asked, 2):
    yield from _of_pair(setting, asked, source, target)


def _of_pair(setting, asked, source, target) -> Iterator[Row]:
  query, gallery = asked[source], asked[target]
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
  states, known_QxP = similarity.part(query.states, has_Q), positive_QxP >= 0
  Q = len(positive_QxP)
  rng = np.random.default_rng(setting.seed)
  share_BxQ = rng.multinomial(Q, np.full(Q, 1 / Q), setting.resamples) / Q
  chance = ranks.chance(known_QxP.sum(1), M, setting.at)
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
      found = _found((*counts, known_QxP), setting.at, share_BxQ)
      for metric, (value, low, high) in found.items():
        yield Row(
          *(f"retrieval by {name}", source, target, name, metric),
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


def _found(counts, at, share_BxQ) -> dict[str, tuple[float, float, float]]:
  """Each score with its interval over queries."""
  better, tied, known = counts
  scores = ranks.scores(better, tied, known, at)
  drawn_BxS = share_BxQ @ np.stack([*scores.values()], 1)
  low_S, high_S = np.quantile(drawn_BxS, (0.025, 0.975), 0)
  found = {
    name: (float(x.mean()), float(low), float(high))
    for (name, x), low, high in zip(scores.items(), low_S, high_S, strict=True)
  }
  return found | {"median_rank": ranks.median(ranks.first(better, tied, known))}
