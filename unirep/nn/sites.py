"""Parameters by path: networks of layers that are named where they are used.

A network is one function that calls `run(path, layer, *inputs)` for every
layer. Run once it declares all parameters; run again it applies them. A path
that occurs twice is a layer that is shared.
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
    if path in sites:
      return layer.apply({"params": sites[path]}, *inputs)
    y, variables = layer.init_with_output(key, *inputs)
    sites[path] = variables["params"]
    return y

  network(declare)
  return draw(key, nest(sites))


def apply(params: Params) -> Run:
  """The `run` that applies `params`."""

  def run(path, layer: nn.Module, *inputs):
    part = params
    for name in path.split("/"):
      part = part[name]
    return layer.apply({"params": part}, *inputs)

  return run


def nest(flat: Mapping[str, Params]) -> dict[str, Any]:
  """{"a/b": x} -> {"a": {"b": x}}."""
  tree: dict[str, Any] = {}
  for path, leaf in flat.items():
    *parents, name = path.split("/")
    place = tree
    for parent in parents:
      place = place.setdefault(parent, {})
    place[name] = leaf
  return tree


def at_least_float32(x):
  """What losses and codes compute with, whatever the layers did."""
  if not jnp.issubdtype(x.dtype, jnp.floating):
    return x
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))
