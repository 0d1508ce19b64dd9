"""Networks as functions, whose layers are named where they are called.

A network is a function that calls `run(path, layer, *inputs)` for every layer.
`init` and `apply` call it with two different `run`s: one declares the
parameters at each path, the other applies them. A path that occurs twice is a
shared layer.
"""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from unirep.nn.blocks import draw

Params = Mapping[str, Any]
Run = Callable[..., Any]


def init(key: jax.Array, network: Callable[[Run], Any]) -> dict[str, Any]:
  """Draws the parameters of all layers that `network` calls, as one tree."""
  sites: dict[str, Params] = {}

  def declare(path, layer: nn.Module, *inputs):
    if path in sites:  # shared: declared by the call before
      return layer.apply({"params": sites[path]}, *inputs)
    y, variables = layer.init_with_output(key, *inputs)
    sites[path] = variables["params"]
    return y

  network(declare)
  return draw(key, nest(sites))


def apply(params: Params) -> Run:
  """Returns the `run` that applies `params`."""

  def run(path, layer: nn.Module, *inputs):
    part = params
    for name in path.split("/"):
      part = part[name]
    return layer.apply({"params": part}, *inputs)

  return run


def nest(flat: Mapping[str, Params]) -> dict[str, Any]:
  """Nests a mapping by its paths: {"a/b": x} -> {"a": {"b": x}}."""
  tree: dict[str, Any] = {}
  for path, leaf in flat.items():
    *parents, name = path.split("/")
    place = tree
    for parent in parents:
      place = place.setdefault(parent, {})
    place[name] = leaf
  return tree


def at_least_float32(x):
  """Casts 16-bit floats to float32, in which losses and codes compute."""
  if not jnp.issubdtype(x.dtype, jnp.floating):
    return x
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))
