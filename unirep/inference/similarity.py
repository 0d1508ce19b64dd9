"""How alike samples are, by what a frozen model makes of them.

Vectors of length 1 are put on a grid and become whole numbers: their products
are exact in float64, in whichever order they are added up, and samples that say
the same tie, see `unirep.inference.nearest`.

Dimensions: N samples, T time, K codes, D code width, W width of items.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from unirep.inference.nearest import Items
from unirep.runtime.errors import InputError, pick

GRID = 2.0**20  # of coordinates: cosines are off by 1e-6 at most


class States(NamedTuple):
  """What the model makes of N samples of a modality, quantized and before.

  Attributes:
    idx_NxT: codes of steps, -1 at padding and for samples that lack it.
    clip_N: codes of clips, -1 likewise.
    general_NxTxD: what was quantized of steps, 0 likewise.
    whole_NxD: what was quantized of clips, 0 likewise.
    soft_NxK: distributions over codes, averaged over steps, 0 likewise.
    steps: whether there is a code a step; else T is 1.
  """

  idx_NxT: np.ndarray
  clip_N: np.ndarray
  general_NxTxD: np.ndarray
  whole_NxD: np.ndarray
  soft_NxK: np.ndarray
  steps: bool


class Representation(NamedTuple):
  """A way to look at states.

  Attributes:
    items: (states, codes (K, D), whether steps are compared one by one) ->
      Items. What TOC drops is zero, in codes and in states.
    masked: whether dimensions matter, so that TOC has a say.
  """

  items: Callable[[States, Any, bool], Items]
  masked: bool


def part(states: States, where_N: Any) -> States:
  """Some of the samples."""
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
  """What `nearest` compares, of queries and of a gallery.

  Args:
    query: of one modality.
    gallery: of the same or another one.
    code_KxD: the codebook.
    representation: one of `REPRESENTATIONS`.
    keep_D: True for dimensions that count; None for all.

  Raises:
    InputError: for an unknown representation, or a mask that it has no use for.
  """
  of = pick(REPRESENTATIONS, "representation", representation)
  both = query, gallery
  if keep_D is not None:
    if not of.masked:
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
  made = [of.items(states, code_KxD, aligned) for states in both]
  width = max(each.x_MxW.shape[1] for each in made)  # of the longer steps
  query_items, gallery_items = (
    each._replace(
      x_MxW=np.pad(each.x_MxW, [(0, 0), (0, width - each.x_MxW.shape[1])])
    )
    for each in made
  )
  return query_items, gallery_items


def code(states: States, code_KxD: Any, aligned: bool) -> Items:
  """1 where clips have the same code, else 0."""
  del aligned
  x_NxK = np.equal.outer(states.clip_N, np.arange(len(code_KxD)))
  return Items(x_NxK.astype(np.float32), np.ones(len(x_NxK)))


def vector(states: States, code_KxD: Any, aligned: bool) -> Items:
  """The cosine of clips' codes."""
  del aligned
  return _alone(_looked_up(_unit(code_KxD), states.clip_N))


def bag(states: States, code_KxD: Any, aligned: bool) -> Items:
  """The cosine of how often each code occurs, exactly."""
  del aligned
  N, K = len(states.idx_NxT), len(code_KxD)
  row, column = np.nonzero(states.idx_NxT >= 0)
  place = row * K + states.idx_NxT[row, column]
  x_NxK = np.bincount(place, minlength=N * K).reshape(N, K).astype(np.float64)
  return Items(x_NxK, (x_NxK**2).sum(1))


def steps(states: States, code_KxD: Any, aligned: bool) -> Items:
  """The mean over steps of the cosine of codes."""
  x_NxTxD = _looked_up(_unit(code_KxD), states.idx_NxT)
  return _over_steps(x_NxTxD, states, aligned)


def soft(states: States, code_KxD: Any, aligned: bool) -> Items:
  """The overlap of distributions: the sum over codes of sqrt(p q)."""
  del code_KxD, aligned
  return _alone(_unit(np.sqrt(states.soft_NxK)))


def general(states: States, code_KxD: Any, aligned: bool) -> Items:
  """As `steps`, before quantization; as `clip` where one side has no steps."""
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
  """Vectors (..., D) of length 1 in steps of the grid; zeros stay zeros."""
  x = np.asarray(x, np.float64)
  size = np.sqrt((x**2).sum(-1, keepdims=True))
  return np.rint(GRID * x / np.where(size > 0, size, 1))


def _looked_up(unit_KxD, idx):
  """Their rows (..., D), zeros for -1."""
  return np.concatenate([unit_KxD, np.zeros_like(unit_KxD[:1])])[idx]


def _alone(x_NxW) -> Items:
  return Items(x_NxW, np.full(len(x_NxW), GRID**2))


def _over_steps(x_NxTxD, states, aligned) -> Items:
  """Steps against steps; or all of them against what says one thing."""
  valid_N = np.maximum((states.idx_NxT >= 0).sum(1), 1)
  if aligned:
    return Items(x_NxTxD.reshape(len(x_NxTxD), -1), valid_N * GRID**2)
  return Items(x_NxTxD.sum(1), (valid_N * GRID) ** 2)
