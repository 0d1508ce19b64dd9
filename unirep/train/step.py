"""One training step: (state, batch, run_args) -> (state, metrics).

The step is a pure function of the global batch. `build` runs it in one
`jax.shard_map` over the device axis. Each device holds its samples, and the
losses gather the rows that they compare across devices. The loss is that of the
global batch, so its gradient needs no further average.

Dimensions: B samples of this device.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.sharding import Mesh, PartitionSpec

from unirep.parallel import collectives
from unirep.parallel import mesh as meshes
from unirep.train.state import Batch, RunArgs, Training, TrainState

Metrics = dict[str, jax.Array]


def build(
  training: Training,
  mesh: Mesh,
  *,
  sharding: TrainState | None = None,
) -> Callable:
  """Compiles `train_step`: (state, batch, run_args) -> (state, metrics).

  The state is donated. Keys are derived from the run's seed and the step, so
  that a step can be repeated.

  Args:
    training: method and optimizer.
    mesh: of the devices. The batch is spread over its data axis, along which
      the state is equal.
    sharding: of the state along the model axis of `mesh`, by which XLA splits
      the work; None if the state is equal everywhere.
  """
  shards = mesh.shape[meshes.AXIS]
  # With one data shard and a state that XLA splits, there is nothing to map
  # over, and collectives are the identity.
  axis = meshes.AXIS if shards > 1 or sharding is None else None

  def local_step(state: TrainState, batch: Batch, run_args: RunArgs):
    # No key is part of the state: a run that resumes at a step has its keys.
    key = jax.random.fold_in(jax.random.key(run_args.seed), state.step)
    # Draws that pair samples or pick time steps come from a key that all
    # devices have, and index the global batch.
    draw_key, dropout_key = jax.random.split(key)
    rows = jax.tree.leaves(batch["features"])[0].shape[0]
    draws = training.method.draw(draw_key, batch, rows * shards)
    # Dropout gets a key for each sample, by its number in the global batch, so
    # that its draws do not depend on the number of devices.
    row_B = collectives.local_rows(rows, axis)
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(dropout_key, row_B)
    return train_step(
      state,
      batch,
      draws,
      keys_B,
      run_args.steps,
      training=training,
      axis_name=axis,
    )

  everywhere, spread = PartitionSpec(), PartitionSpec(meshes.AXIS)
  step: Any = local_step
  if axis:
    step = jax.shard_map(
      local_step,
      mesh=mesh,
      in_specs=(everywhere, spread, everywhere),
      out_specs=(everywhere, everywhere),
      # Over an axis that isn't named here, XLA splits the work by itself.
      axis_names={axis} if sharding else set(mesh.axis_names),
      # JAX then tracks the values that differ over devices, and sums gradients
      # of those that do not.
      check_vma=True,
    )
  # Without a sharding, outputs lie as the map leaves them: equal everywhere.
  metrics = meshes.replicated(mesh)
  where: Any = {"out_shardings": (sharding, metrics)} if sharding else {}
  return jax.jit(step, donate_argnums=0, **where)


def train_step(
  state: TrainState,
  batch: Batch,
  draws: Any,
  keys_B: jax.Array | None,
  steps: jax.Array | int,
  *,
  training: Training,
  axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
  """One step: loss, gradients, optimizer, codebook.

  Args:
    state: before the step.
    batch: {"features": modality -> (B, T, ...), "lengths": modality -> (B,)},
      and maybe {"present": modality -> (B,)}, see `data.sample`.
    draws: the step's random choices, see `methods.method.Draw`.
    keys_B: one dropout key for each sample, or None for no dropout.
    steps: length of the whole run.
    training: method and optimizer.
    axis_name: the device axis inside shard_map, or None on one device.

  Returns:
    The state after the step, and metrics: name -> scalar of the global batch.
  """
  method = training.method

  def loss_fn(params):
    # The total is that of the global batch, and so is its gradient. The cast to
    # varying makes JAX add up the gradients of devices at the very end, in the
    # parameters' own type.
    return method.loss(
      collectives.varying(params, axis_name),
      state.codebook,
      state.side,
      batch,
      draws,
      keys_B,
      axis_name=axis_name,
    )

  grads, aux = jax.grad(loss_fn, has_aux=True)(state.params)
  optimizer = optax.with_extra_args_support(training.optimizer)
  updates, opt_state = optimizer.update(
    grads, state.opt_state, state.params, steps=steps
  )
  params: Any = optax.apply_updates(state.params, updates)
  # The codebook moves by averages of assigned vectors, not by gradients, and
  # after the gradient: losses and gradients saw the codes before the update.
  codebook, health = method.update(
    state.codebook,
    jax.lax.stop_gradient(aux.assignments),
    draws,
    state.step / steps,
    axis_name=axis_name,
  )
  norms = {f"grad_norm/{name}": optax.tree.norm(x) for name, x in grads.items()}
  norms["grad_norm"] = optax.tree.norm(grads)
  state = TrainState(
    step=state.step + 1,
    params=params,
    codebook=codebook,
    side=aux.side,
    opt_state=opt_state,
  )
  return state, aux.metrics | norms | health
