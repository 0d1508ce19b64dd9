"""Optimizers: clipping, Adam and the learning rate, as Optax chains."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from unirep.runtime.errors import pick

Rate = Callable[[jax.Array | int, jax.Array | int], jax.Array]


def clip_by_module_norm(max_norm: float) -> optax.GradientTransformation:
  """Clips each top-level module of the gradients to `max_norm` on its own.

  The released code clips encoder, decoders and CPC this way.
  """

  def clip(module):
    # The 1e-6 is PyTorch's.
    scale = jnp.minimum(1.0, max_norm / (optax.tree.norm(module) + 1e-6))
    return jax.tree.map(lambda g: g * scale, module)

  def update(updates, state, params=None):
    del params
    return {name: clip(module) for name, module in updates.items()}, state

  return optax.GradientTransformation(optax.init_empty_state, update)


def schedule(learning_rate: float, *, warmup: int, decay: str) -> Rate:
  """Linear warm-up, then a constant or decaying rate up to the last step.

  Args:
    learning_rate: after the warm-up.
    warmup: steps of the warm-up.
    decay: "constant", or "cosine", which ends at a tenth.

  Returns:
    (step, steps of the run) -> learning rate.
  """
  # From 1 / (warmup + 1) on, since a first step of rate 0 would be lost.
  ramp = optax.linear_schedule(
    learning_rate / (warmup + 1), learning_rate, warmup
  )
  share = pick(DECAYS, "decay", decay)

  def rate(step, steps):
    # Both may be traced; a run of no more steps than its warm-up divides by 1.
    done = jnp.asarray(step - warmup, float) / jnp.maximum(steps - warmup, 1)
    later = learning_rate * share(jnp.clip(done, 0, 1))
    return jnp.where(step < warmup, ramp(step), later)

  return rate


DECAYS = {  # share of the run after warm-up that is done -> share of the rate
  "cosine": lambda done: 0.1 + 0.9 * (1 + jnp.cos(jnp.pi * done)) / 2,
  "constant": lambda done: jnp.ones_like(done),
}


def scale_by_rate(rate: Rate) -> optax.GradientTransformationExtraArgs:
  """Scales updates by minus the learning rate.

  As `optax.scale_by_learning_rate`, but the length of the run is an argument of
  the update, so that another length needs no other program.
  """

  def init(params):
    del params
    # The state of Optax's own schedule, so that its checkpoints fit.
    return optax.ScaleByScheduleState(count=jnp.zeros([], jnp.int32))

  def update(updates, state, params=None, **others: Any):
    del params
    factor = -rate(state.count, others["steps"])
    updates = jax.tree.map(lambda u: factor.astype(u.dtype) * u, updates)
    count: Any = optax.safe_increment(state.count)
    return updates, optax.ScaleByScheduleState(count=count)

  return optax.GradientTransformationExtraArgs(init, update)


def adam(
  rate: Rate,
  *,
  clip: float,
  per_module: bool,
  epsilon: float = 1e-8,
) -> optax.GradientTransformation:
  """Gradient clipping, then Adam; its update takes the `steps` of the run.

  Kingma & Ba 2015, "Adam: A Method for Stochastic Optimization".

  Args:
    rate: (step, steps) -> learning rate, see `schedule`.
    clip: largest gradient norm.
    per_module: clips encoder, decoder and CPC each on its own instead of all
      of them together.
    epsilon: added to the root of the second moment.
  """
  if per_module:
    clipping = clip_by_module_norm(clip)
  else:
    clipping = optax.clip_by_global_norm(clip)
  # Nested as optax.adam is, so that checkpoints of older runs fit.
  adam = optax.chain(optax.scale_by_adam(eps=epsilon), scale_by_rate(rate))
  return optax.chain(clipping, adam)
