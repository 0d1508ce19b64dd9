"""The first state of a run: its own, or one that another run has reached.

Dimensions: K codes, D code width.
"""

import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from unirep import build
from unirep.checkpoints import reading
from unirep.errors import InputError
from unirep.train.state import TrainState


def fresh(
  init: Callable[[jax.Array], TrainState], seed: int, sharding: TrainState
) -> TrainState:
  """What a run starts from if nothing else is said."""
  return jax.jit(init, out_shardings=sharding)(jax.random.key(seed))


def from_run(
  state: TrainState, path: pathlib.Path, sharding: TrainState
) -> tuple[TrainState, list[str]]:
  """A fresh state with the weights and codes of another run.

  Weights go by their names, so that modalities may have been added or left
  out, and data may be others; the optimizer, the step and the method's own
  state start anew.

  Args:
    state: as `fresh` gives it.
    path: the other run's work directory.
    sharding: where each array of the state lives.

  Returns:
    The state, and the parts of the network that the other run lacks.

  Raises:
    InputError: if no checkpoint is there, or weights or codes have other
      shapes, or none has a name that fits.
  """
  params, codebook, _ = reading.read_model(path, build.shapes)
  theirs = _leaves(params)
  missing, found = [], 0

  def take(keys, leaf, where):
    nonlocal found
    name = jax.tree_util.keystr(keys, simple=True, separator="/")
    if name not in theirs:
      missing.append(name)
      return leaf
    found += 1
    return jax.device_put(_fits(path, name, theirs[name], leaf), where)

  params = jax.tree_util.tree_map_with_path(take, state.params, sharding.params)
  if not found:
    raise InputError(f"init_from={path}: no weights of it have a place here")
  own = state.codebook._asdict()
  places = sharding.codebook._asdict()
  for name in ("code_KxD", "count_K", "sum_KxD", "tenure_K"):
    code = _fits(path, f"codebook/{name}", codebook[name], own[name])
    own[name] = jax.device_put(code, places[name])
  state = state._replace(params=params, codebook=type(state.codebook)(**own))
  return state, sorted({"/".join(x.split("/")[:3]) for x in missing})


def _fits(path, name, theirs, ours):
  if theirs.shape != ours.shape:
    raise InputError(
      f"init_from={path}: {name} has shape {theirs.shape} there and "
      f"{ours.shape} here; give both runs one network and codebook.size"
    )
  return jnp.asarray(theirs, ours.dtype)


def _leaves(tree: Mapping[str, Any]) -> dict[str, Any]:
  name = functools.partial(jax.tree_util.keystr, simple=True, separator="/")
  flat = jax.tree_util.tree_leaves_with_path(tree)
  return {name(keys): leaf for keys, leaf in flat}
