"""A model on its way between files: NumPy arrays, and their descriptions."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Model(NamedTuple):
  """A trained model, as a checkpoint keeps it.

  Attributes:
    params: nested dictionaries of arrays.
    codebook: the fields of a `codebook.Codebook`.
    settings: of the run that trained the model.
    step: the number of steps of that run.
  """

  params: dict[str, Any]
  codebook: dict[str, Any]
  settings: dict[str, Any]
  step: int


class Like(NamedTuple):
  """The description of an array that is not read yet."""

  shape: tuple[int, ...]
  dtype: np.dtype


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
  """Nests leaves by their paths: {"a/b": x} -> {"a": {"b": x}}.

  Raises:
    ValueError: if a path is a leaf and also leads to others.
  """
  tree: dict[str, Any] = {}
  for name, x in flat.items():
    *parents, leaf = name.split("/")
    place = tree
    for parent in parents:
      place = place.setdefault(parent, {})
      if not isinstance(place, dict):
        raise ValueError(f"{name!r} lies within an array")
    if leaf in place:
      raise ValueError(f"{name!r} is an array, and holds others")
    place[leaf] = x
  return tree


def flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
  """Names leaves by their paths: the inverse of `nested`.

  Args:
    tree: nested dictionaries.
    above: the path to the tree itself, with a slash behind it.
  """
  leaves = {}
  for name, x in tree.items():
    inner = isinstance(x, Mapping)
    leaves |= flat(x, f"{above}{name}/") if inner else {f"{above}{name}": x}
  return leaves


def some(names: Iterable[str], most: int = 4) -> str:
  """The first names in one line, and how many more there are."""
  names = sorted(names)
  more = f" and {len(names) - most} more" if len(names) > most else ""
  shown = [ascii(x) for x in names[:most]]
  shown = [x if len(x) < 80 else f"{x[:80]}..." for x in shown]
  return ", ".join(shown) + more


def fault(x: np.ndarray) -> str:
  """A fault in the numbers of a weight, in words; "" for a good one."""
  if x.dtype.kind not in "fV":  # V: bfloat16
    return f"holds {x.dtype}"
  with np.errstate(over="ignore"):
    fine = np.isfinite(x.astype(np.float32)).all()
  return "" if fine else "has numbers that are not finite in float32"
