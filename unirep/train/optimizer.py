"""Optax chains for the main parameters and for the CLUB networks."""

import jax
import jax.numpy as jnp
import optax

from unirep.errors import pick


def clip_by_module_norm(max_norm: float) -> optax.GradientTransformation:
  """Clips each top-level module of the gradients to `max_norm` on its own.

  This is what the released code does with encoder, decoders and CPC, down to
  the 1e-6 that PyTorch adds to the norm.
  """

  def clip(module):
    scale = jnp.minimum(1.0, max_norm / (optax.tree.norm(module) + 1e-6))
    return jax.tree.map(lambda g: g * scale, module)

  def update(updates, state, params=None):
    del params
    return {name: clip(module) for name, module in updates.items()}, state

  return optax.GradientTransformation(optax.init_empty_state, update)


def schedule(
  learning_rate: float, *, steps: int, warmup: int, decay: str
) -> optax.Schedule:
  """Linear warm-up, then "constant" or "cosine" (to a tenth) over `steps`."""
  ramp = optax.linear_schedule(
    learning_rate / (warmup + 1), learning_rate, warmup
  )
  then = pick(DECAYS, "decay", decay)(learning_rate, max(steps - warmup, 1))
  return optax.join_schedules([ramp, then], [warmup])


DECAYS = {
  "cosine": lambda rate, steps: optax.cosine_decay_schedule(
    rate, steps, alpha=0.1
  ),
  "constant": lambda rate, steps: optax.constant_schedule(rate),
}


def adam(
  learning_rate: optax.ScalarOrSchedule,
  *,
  clip: float,
  per_module: bool,
  epsilon: float = 1e-8,
) -> optax.GradientTransformation:
  """Clipping, then Adam.

  Args:
    learning_rate: a number or a schedule over steps.
    clip: largest gradient norm.
    per_module: clips encoder, decoder and CPC each on its own instead of all
      of them together.
    epsilon: added to the root of the second moment.
  """
  if per_module:
    clipping = clip_by_module_norm(clip)
  else:
    clipping = optax.clip_by_global_norm(clip)
  return optax.chain(clipping, optax.adam(learning_rate, eps=epsilon))
