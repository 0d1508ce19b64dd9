"""The state of training, and what is trained."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unirep.methods.method import Method

Params = Mapping[str, Any]
Batch = Mapping[str, Mapping[str, Any]]


class Training(NamedTuple):
  """What is trained and how long.

  Attributes:
    method: init, draw, loss and update.
    optimizer: of the parameters; its update may ask for the `steps` of the run.
  """

  method: Method
  optimizer: optax.GradientTransformation


class Span(NamedTuple):
  """What a run may change without compiling its step anew.

  Attributes:
    seed: of all keys, uint32.
    steps: of the whole run, int32; rates and methods are other late than early.
  """

  seed: jax.Array
  steps: jax.Array


def span(seed: int, steps: int) -> Span:
  """As the step takes them."""
  return Span(jnp.uint32(seed), jnp.int32(steps))


class TrainState(NamedTuple):
  """All that a run carries from step to step; plain arrays only.

  Attributes:
    step: number of steps done, int32.
    params: what the gradient moves.
    codebook: what the method's own update moves.
    side: the method's own state; nothing else looks into it.
    opt_state: of the optimizer.
  """

  step: jax.Array
  params: Params
  codebook: Any
  side: Params
  opt_state: optax.OptState


def init(training: Training, key: jax.Array, batch: Batch) -> TrainState:
  """Draws the first state; `batch` gives only shapes."""
  params, codebook, side = training.method.init(key, batch)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    codebook=codebook,
    side=side,
    opt_state=training.optimizer.init(params),
  )


def nonfinite(state: TrainState) -> str:
  """The name of the first array that is not finite, or "".

  Of several processes each looks at its own devices, which have all of it. No
  program is compiled for that: the numbers are about to be copied anyway.
  """
  for keys, x in jax.tree_util.tree_leaves_with_path(state):
    if not jnp.issubdtype(x.dtype, jnp.inexact):
      continue
    shards = x.addressable_shards[: 1 if x.is_fully_replicated else None]
    for shard in shards:
      if not np.isfinite(jax.device_get(shard.data)).all():
        return jax.tree_util.keystr(keys, simple=True, separator="/")
  return ""
