"""Representations of samples for search: vectors with products as scores.

Unit vectors are rounded to a grid of integers. Their products are then exact in
float64, in any order of addition, so that equal samples tie, see `nearest`.

Dimensions: N samples, T time, K codes, D code width, W width of items.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from unirep.inference.nearest import Items
from unirep.runtime.errors import InputError, pick

GRID = 2.0**20  # integers per unit: cosines are off by 1e-6 at most


class States(NamedTuple):
  """Codes of N samples of a modality, and their vectors before quantization.

  Attributes:
    idx_NxT: codes of steps, -1 at padding and where the modality is missing.
    clip_N: codes of clips, -1 where the modality is missing.
    general_NxTxD: vectors of steps before quantization, 0 where `idx_NxT` is
      -1.
    whole_NxD: vectors of clips before quantization, 0 where `clip_N` is -1.
    soft_NxK: distributions over codes, averaged over valid steps, 0 where the
      modality is missing.
    steps: whether the modality has a code for each step; otherwise T is 1.
  """

  idx_NxT: np.ndarray
  clip_N: np.ndarray
  general_NxTxD: np.ndarray
  whole_NxD: np.ndarray
  soft_NxK: np.ndarray
  steps: bool


class Representation(NamedTuple):
  """A way to compare samples.

  Attributes:
    items: (states, codebook (K, D), aligned) -> Items. `aligned` says that both
      sides have steps, to be compared step by step. Dimensions that TOC drops
      are zero in the codebook and in the states.
    masked: whether it depends on dimensions of the codes, so that TOC applies.
  """

  items: Callable[[States, Any, bool], Items]
  masked: bool


def part(states: States, where_N: Any) -> States:
  """The samples at `where_N`, which is a mask, indices or a slice."""
  arrays = states._asdict()
  del arrays["steps"]
  return states._replace(**{name: x[where_N] for name, x in arrays.items()})


def join(parts: list[States]) -> States:
  """The samples of all parts, in order."""
  names = [name for name in States._fields if name != "steps"]
  whole = {n: np.concatenate([getattr(x, n) for x in parts]) for n in names}
  return parts[0]._replace(**whole)


def items(
  query: States,
  gallery: States,
  code_KxD: Any,
  representation: str = "vector",
  keep_D: Any = None,
) -> tuple[Items, Items]:
  """The items of queries and of a gallery, for `nearest`.

  Args:
    query: states of one modality.
    gallery: states of the same or another modality.
    code_KxD: the codebook.
    representation: a key of `REPRESENTATIONS`.
    keep_D: True for dimensions that count; None for all.

  Raises:
    InputError: for an unknown representation, or a mask if it has no
      dimensions.
  """
  entry = pick(REPRESENTATIONS, "representation", representation)
  both = query, gallery
  if keep_D is not None:
    if not entry.masked:
      raise InputError(f"keep: {representation} has no dimensions to choose")
    code_KxD = np.where(keep_D, code_KxD, 0)
    both = (
      states._replace(
        general_NxTxD=np.where(keep_D, states.general_NxTxD, 0),
        whole_NxD=np.where(keep_D, states.whole_NxD, 0),
      )
      for states in both
    )
  aligned = query.steps and gallery.steps
  query_items, gallery_items = (
    entry.items(states, code_KxD, aligned) for states in both
  )
  # With steps compared one by one, the side with fewer gets zeros.
  width = max(query_items.x_MxW.shape[1], gallery_items.x_MxW.shape[1])
  return _pad(query_items, width), _pad(gallery_items, width)


def _pad(items: Items, width: int) -> Items:
  edge = [(0, 0), (0, width - items.x_MxW.shape[1])]
  return items._replace(x_MxW=np.pad(items.x_MxW, edge))


def code(states: States, code_KxD: Any, aligned: bool) -> Items:
  """Score: 1 if the clips have the same code, else 0."""
  del aligned
  x_NxK = np.equal.outer(states.clip_N, np.arange(len(code_KxD)))
  return Items(x_NxK.astype(np.float32), np.ones(len(x_NxK)))


def vector(states: States, code_KxD: Any, aligned: bool) -> Items:
  """Score: the cosine of the clips' codes."""
  del aligned
  return _alone(_looked_up(_unit(code_KxD), states.clip_N))


def bag(states: States, code_KxD: Any, aligned: bool) -> Items:
  """Score: the cosine of bags of codes, the counts of each code."""
  del aligned
  N, K = len(states.idx_NxT), len(code_KxD)
  row, column = np.nonzero(states.idx_NxT >= 0)
  place = row * K + states.idx_NxT[row, column]
  x_NxK = np.bincount(place, minlength=N * K).reshape(N, K).astype(np.float64)
  return Items(x_NxK, (x_NxK**2).sum(1))


def steps(states: States, code_KxD: Any, aligned: bool) -> Items:
  """Score: the cosine of the steps' codes, averaged over steps."""
  x_NxTxD = _looked_up(_unit(code_KxD), states.idx_NxT)
  return _over_steps(x_NxTxD, states, aligned)


def soft(states: States, code_KxD: Any, aligned: bool) -> Items:
  """Score: the Bhattacharyya coefficient, the sum over codes of sqrt(p q)."""
  del code_KxD, aligned
  return _alone(_unit(np.sqrt(states.soft_NxK)))


def general(states: States, code_KxD: Any, aligned: bool) -> Items:
  """As `steps`, before quantization; as `clip` if one side has no steps."""
  if not aligned:
    return clip(states, code_KxD, aligned)
  return _over_steps(_unit(states.general_NxTxD), states, aligned)


def clip(states: States, code_KxD: Any, aligned: bool) -> Items:
  """As `vector`, before quantization."""
  del code_KxD, aligned
  return _alone(_unit(states.whole_NxD))


REPRESENTATIONS: Mapping[str, Representation] = {
  "code": Representation(code, masked=False),
  "vector": Representation(vector, masked=True),
  "bag": Representation(bag, masked=False),
  "steps": Representation(steps, masked=True),
  "soft": Representation(soft, masked=False),
  "general": Representation(general, masked=True),
  "clip": Representation(clip, masked=True),
}


def _unit(x):
  """Vectors (..., D) scaled to length `GRID` and rounded; zeros stay zeros."""
  x = np.asarray(x, np.float64)
  size = np.sqrt((x**2).sum(-1, keepdims=True))
  return np.rint(GRID * x / np.where(size > 0, size, 1))


def _looked_up(unit_KxD, idx):
  """Rows (..., D) of the codebook, zeros for -1."""
  return np.concatenate([unit_KxD, np.zeros_like(unit_KxD[:1])])[idx]


def _alone(x_NxW) -> Items:
  return Items(x_NxW, np.full(len(x_NxW), GRID**2))


def _over_steps(x_NxTxD, states, aligned) -> Items:
  """Items of steps: side by side if aligned, else their sum."""
  valid_N = np.maximum((states.idx_NxT >= 0).sum(1), 1)
  if aligned:
    return Items(x_NxTxD.reshape(len(x_NxTxD), -1), valid_N * GRID**2)
  return Items(x_NxTxD.sum(1), (valid_N * GRID) ** 2)
