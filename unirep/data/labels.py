"""Checks of the labels that evaluations need, before anything is trained.

Shapes: N samples, T steps, C classes. A class below 0 is unknown.
"""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from unirep.data.resample import Resampled
from unirep.data.sample import Source
from unirep.runtime.errors import InputError

MOST = {"class": 2**15, "slot": 2**15, "segments": 2**12}  # classes
LOOKED = 64  # samples to check if a source has no array of its labels
_RANKS = {"class": 1, "slot": 1, "segments": 2, "events": 3}
_HOW = {1: "(N,)", 2: "(N, T)", 3: "(N, T, C)"}

_log = logging.getLogger(__name__)


def check(splits: Mapping[str, Source]) -> None:
  """Checks the labels of all splits; the first split is trained on.

  Labels of classes, slots, segments and events are checked; nothing uses other
  ones. A class that the first split lacks is logged.

  Raises:
    InputError: naming the split and the label, for a wrong rank, another
      number of steps than the features have, a label that another split lacks,
      or values that are no classes.
  """
  all_labels = {split: _labels(source) for split, source in splits.items()}
  first, *others = all_labels
  for split, labels in all_labels.items():
    for name, x in labels.items():
      where = f"{split} split: label/{name}"
      if x.shape[1:] != all_labels[first].get(name, x).shape[1:]:
        raise InputError(
          f"{where} is {x.shape}, but {all_labels[first][name].shape} in the"
          f" {first} split"
        )
      _check_one(where, name, x, splits[split])
  for split in others:
    _compare(all_labels, first, split)


def _labels(source: Source) -> dict[str, np.ndarray]:
  """The labels to check: of all samples if the source has an array of them."""
  labels: Any = getattr(source, "labels", None)
  if not isinstance(labels, Mapping) or not all(
    isinstance(x, np.ndarray) and len(x) == len(source) for x in labels.values()
  ):
    rows = np.linspace(0, len(source) - 1, min(len(source), LOOKED)).astype(int)
    parts = [source[i]["labels"] for i in np.unique(rows).tolist()]
    labels = {name: np.stack([x[name] for x in parts]) for name in parts[0]}
  return {k: x for k, x in labels.items() if k.split("/")[0] in _RANKS}


def _check_one(where, name, x, source) -> None:
  kind, _, m = name.partition("/")
  rank = _RANKS[kind]
  if kind in ("segments", "events") and not m:
    return  # of no modality: nothing uses it
  if x.ndim != rank:
    raise InputError(f"{where} must be {_HOW[rank]}, got {x.shape}")
  low, high = int(x.min(initial=0)), int(x.max(initial=0))
  if kind == "events":
    if low < 0 or high > 1:
      raise InputError(f"{where} must hold 0 and 1, got {low} to {high}")
  elif low < -1 or high >= MOST[kind]:
    raise InputError(
      f"{where} must hold classes from 0 to {MOST[kind] - 1}, or -1 where"
      f" nobody knows, got {low} to {high}; number them from 0 on"
    )
  features = source[0]["features"]
  if rank == 1 or m not in features or isinstance(source, Resampled):
    return  # resampling changes the steps of features alone
  if x.shape[1] != len(features[m]):
    raise InputError(
      f"{where} is {x.shape}, but {m!r} has {len(features[m])} steps; give a"
      " class for each of them"
    )


def _compare(all_labels, first, split) -> None:
  """Compares the labels and classes of a split with those of the first."""
  ours, theirs = all_labels[first], all_labels[split]
  missing = {*ours} ^ {*theirs}
  if missing:
    name = min(missing)
    has, lacks = (first, split) if name in ours else (split, first)
    raise InputError(
      f"{split} split: label/{name} is in the {has} split and not in the"
      f" {lacks} split; give it in all of them, or in none"
    )
  for name in ours:
    kind = name.split("/")[0]
    new = np.setdiff1d(theirs[name], ours[name]) if kind != "events" else []
    new = [int(x) for x in new if x >= 0]
    if new:
      _log.warning(
        "%s split: label/%s has %d classes that the %s split lacks, %d the"
        " first; none of them can be learned",
        *(split, name, len(new), first, new[0]),
      )
