"""One training step: (state, batch, span) -> (state, metrics).

The step is a pure function of the global batch. `build` runs it in one
`jax.shard_map` over the device axis: each device sees its rows, the losses
gather what they must compare, and gradients come out already averaged, because
the differentiated loss is the mean over the axis (so they are not averaged
again).

Dimensions: B batch rows of this device.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.sharding import Mesh, PartitionSpec

from unirep.parallel import collectives
from unirep.parallel import mesh as meshes
from unirep.train.state import Batch, Span, Training, TrainState

Metrics = dict[str, jax.Array]


def build(
  training: Training,
  mesh: Mesh,
  *,
  sharding: TrainState | None = None,
) -> Callable:
  """Compiles `train_step`: (state, batch, span) -> (state, metrics).

  The state is donated, and equal along the data axis of `mesh`, over which the
  batch is spread. Along its model axis it lies as `sharding` says (default:
  equal everywhere), and XLA splits the work accordingly. Keys are derived from
  the span's seed and the step, so that a step can be repeated.
  """
  shards = mesh.shape[meshes.AXIS]
  # With the whole batch in one place there is nothing to map over.
  axis = meshes.AXIS if shards > 1 or sharding is None else None

  def local_step(state: TrainState, batch: Batch, span: Span):
    key = jax.random.fold_in(jax.random.key(span.seed), state.step)
    # What pairs samples or picks time steps is drawn from the key that all
    # devices have; only dropout knows which sample it is for.
    draw_key, dropout_key = jax.random.split(key)
    rows = jax.tree.leaves(batch["features"])[0].shape[0]
    draws = training.method.draw(draw_key, batch, rows * shards)
    row_B = collectives.local_rows(rows, axis)
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(dropout_key, row_B)
    return train_step(
      state,
      batch,
      draws,
      keys_B,
      span.steps,
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
      # An axis that isn't named here is XLA's.
      axis_names={axis} if sharding else set(mesh.axis_names),
      check_vma=True,
    )
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
  """Loss, gradients, optimizer, codebook.

  Args:
    state: before the step.
    batch: {"features": modality -> (B, T, ...), "lengths": modality -> (B,)},
      and maybe {"present": modality -> (B,)}, see `data.sample`.
    draws: the step's random choices, see `Method.draw`.
    keys_B: one dropout key a sample, or None for no dropout.
    steps: of the whole run.
    training: what to train and how.
    axis_name: the device axis inside shard_map, or None on one device.
  """
  method = training.method

  def loss_fn(params):
    # The total is already the mean over devices: so is its gradient.
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
  # Codes move by averages of what was seen, not by gradients.
  codebook, health = method.update(
    state.codebook,
    jax.lax.stop_gradient(aux.places),
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
