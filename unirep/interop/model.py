"""A model between its files: arrays of NumPy, and what describes them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Model(NamedTuple):
  """What a checkpoint keeps of a model.

  Attributes:
    params: nested.
    codebook: the fields of a `codebook.Codebook`.
    settings: of the run that trained it.
    step: number of steps of that run.
  """

  params: dict[str, Any]
  codebook: dict[str, Any]
  settings: dict[str, Any]
  step: int


class Like(NamedTuple):
  """What is known of an array that is not read yet."""

  shape: tuple[int, ...]
  dtype: np.dtype


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
  """{"a/b": x} -> {"a": {"b": x}}; raises ValueError where a is one too."""
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
  """The inverse of `nested`."""
  found = {}
  for name, x in tree.items():
    inner = isinstance(x, Mapping)
    found |= flat(x, f"{above}{name}/") if inner else {f"{above}{name}": x}
  return found


def some(names: Iterable[str], most: int = 4) -> str:
  """Some of many names, in a line."""
  names = sorted(names)
  more = f" and {len(names) - most} more" if len(names) > most else ""
  shown = [ascii(x) for x in names[:most]]
  shown = [x if len(x) < 80 else f"{x[:80]}..." for x in shown]
  return ", ".join(shown) + more


def fault(x: np.ndarray) -> str:
  """What is wrong with the numbers of a weight, or ""."""
  if x.dtype.kind not in "fV":  # V: bfloat16
    return f"holds {x.dtype}"
  with np.errstate(over="ignore"):
    fine = np.isfinite(x.astype(np.float32)).all()
  return "" if fine else "has numbers that are not finite in float32"
