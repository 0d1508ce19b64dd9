"""The state of training, and the arguments of a run."""

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
  """A method and the optimizer of its parameters.

  Attributes:
    method: init, draw, loss and update.
    optimizer: of the parameters; its update may take the `steps` of the run.
  """

  method: Method
  optimizer: optax.GradientTransformation


class RunArgs(NamedTuple):
  """The numbers of a run that its compiled step takes as arguments.

  A run with another seed or another length needs no other program.

  Attributes:
    seed: uint32; all keys are derived from it and the step.
    steps: length of the whole run, int32. The learning rate and the codebook's
      update depend on the share of it that is done.
  """

  seed: jax.Array
  steps: jax.Array


def run_args(seed: int, steps: int) -> RunArgs:
  """Numbers as the arrays that the step takes."""
  return RunArgs(jnp.uint32(seed), jnp.int32(steps))


class TrainState(NamedTuple):
  """All arrays that a run carries from step to step.

  Attributes:
    step: number of steps done, int32.
    params: parameters, moved by the gradient.
    codebook: moved by the method's own update, without a gradient.
    side: the method's own state; only the method looks into it.
    opt_state: of the optimizer.
  """

  step: jax.Array
  params: Params
  codebook: Any
  side: Params
  opt_state: optax.OptState


def init(training: Training, key: jax.Array, batch: Batch) -> TrainState:
  """Draws the first state; only the shapes of `batch` matter."""
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

  Each process looks at its own devices, which together hold the whole state.
  """
  # In NumPy: this runs before a save, which copies the arrays to the host
  # anyway, and a program for it would have to be compiled.
  for keys, x in jax.tree_util.tree_leaves_with_path(state):
    if not jnp.issubdtype(x.dtype, jnp.inexact):
      continue
    # One copy is enough where all devices hold the same.
    shards = x.addressable_shards[: 1 if x.is_fully_replicated else None]
    for shard in shards:
      if not np.isfinite(jax.device_get(shard.data)).all():
        return jax.tree_util.keystr(keys, simple=True, separator="/")
  return ""
