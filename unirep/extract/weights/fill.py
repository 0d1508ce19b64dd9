"""Arrays of a state dict in the tree of a network.

Modules are named as in the state dict, dots and all, so that only layouts are
translated: Linear (out, in) -> (in, out), convolution (out, in, h, w) -> (h,
w, in, out).
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from unirep.runtime.errors import InputError

NAMES = {  # our name of a parameter -> torch's
  "kernel": "weight",
  "scale": "weight",
  "embedding": "weight",
  "bias": "bias",
}


def fill(
  network: Any, sample: Any, arrays: Mapping[str, Any], source: str
) -> dict[str, Any]:
  """The network's parameters, in float32.

  Args:
    network: a Flax module.
    sample: the shapes of what it takes, a tuple.
    arrays: name -> array; more than needed is fine.
    source: what to call their file in errors.

  Raises:
    InputError: for an array that is missing, of another shape, or not finite.
  """
  shapes = jax.eval_shape(network.init, jax.random.key(0), *sample)["params"]
  tree: dict[str, Any] = {}
  for path, wanted in jax.tree_util.tree_leaves_with_path(shapes):
    *modules, leaf = (entry.key for entry in path)
    name = ".".join((*modules, NAMES[leaf]))
    place = tree
    for module in modules:
      place = place.setdefault(module, {})
    place[leaf] = _array(arrays, name, leaf, wanted.shape, source)
  return tree


def _array(arrays, name, leaf, shape, source):
  if name not in arrays:
    raise InputError(f"{source} has no {name!r}")
  x = arrays[name]
  order = _order(len(shape) if leaf == "kernel" else 1)
  theirs = tuple(shape[i] for i in np.argsort(order)) if order else shape
  if x.shape != theirs:
    raise InputError(f"{source}: {name!r} has shape {x.shape}, not {theirs}")
  x = np.asarray(x, np.float32)
  if not np.isfinite(x).all():
    raise InputError(f"{source}: {name!r} has numbers that are not finite")
  return np.ascontiguousarray(x.transpose(order) if order else x)


def _order(rank):
  """Axes of torch's in the order of ours; () for the same."""
  return {4: (2, 3, 1, 0), 2: (1, 0)}.get(rank, ())


def without_prefix(
  arrays: Mapping[str, Any], name: str, source: str
) -> dict[str, Any]:
  """Arrays under the names that they have within the network itself.

  Args:
    arrays: of the network or of a model around it ("bert.", "module.").
    name: of an array that the network has.
    source: what to call their file in errors.

  Raises:
    InputError: if no array has that name behind any prefix.
  """
  found = [x for x in arrays if x == name or x.endswith(f".{name}")]
  if not found:
    raise InputError(f"{source} has no {name!r}")
  cut = len(min(found, key=len)) - len(name)
  prefix = min(found, key=len)[:cut]
  return {x[cut:]: array for x, array in arrays.items() if x.startswith(prefix)}
