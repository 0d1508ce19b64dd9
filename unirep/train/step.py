"""One training step: (state, batch) -> (state, metrics).

The step is a pure function of the global batch. `build` runs it in one
`jax.shard_map` over the device axis: each device sees its rows, the losses
gather what they must compare, and gradients come out already averaged, because
the differentiated loss is the mean over the axis (so they are not averaged
again).

Dimensions: B batch rows of this device, T time, K codes, D code width.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from unirep import codebook as codebook_lib
from unirep import collectives
from unirep.losses import club, objective
from unirep.losses import levels as levels_lib
from unirep.train import mesh as mesh_lib
from unirep.train.state import Batch, Recipe, TrainState

Metrics = dict[str, jax.Array]

RECENT = 50  # steps in which a code counts as newly placed


def build(
  recipe: Recipe, mesh: Mesh, *, seed: int, sharding: TrainState | None = None
) -> Callable:
  """Compiles `train_step` over `mesh`: (state, batch) -> (state, metrics).

  The state is donated, and equal along the mesh's data axis, over which the
  batch is spread. Along its model axis it lies as `sharding` says (default:
  equal everywhere), and XLA splits the work accordingly. Keys are derived from
  `seed` and the step, so that a step can be repeated.
  """
  shards = mesh.shape[mesh_lib.AXIS]
  # With the whole batch in one place there is nothing to map over.
  axis = mesh_lib.AXIS if shards > 1 or sharding is None else None

  def local_step(state: TrainState, batch: Batch):
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    draw_key, dropout_key = jax.random.split(key)
    features = batch["features"]
    rows, time = features[recipe.model.order[0]].shape[:2]
    if recipe.model.fine:
      time = features[recipe.model.fine[0]].shape[1]
    draws = objective.draw(
      draw_key,
      recipe.model,
      batch=rows * shards,
      time=time,
      permute=recipe.permute,
    )
    row_B = collectives.local_rows(rows, axis)
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(dropout_key, row_B)
    return train_step(
      state, batch, draws, keys_B, recipe=recipe, axis_name=axis
    )

  everywhere, spread = PartitionSpec(), PartitionSpec(mesh_lib.AXIS)
  step: Any = local_step
  if axis:
    step = jax.shard_map(
      local_step,
      mesh=mesh,
      in_specs=(everywhere, spread),
      out_specs=(everywhere, everywhere),
      # An axis that isn't named here is XLA's.
      axis_names={axis} if sharding else set(mesh.axis_names),
      check_vma=True,
    )
  metrics = mesh_lib.replicated(mesh)
  where: Any = {"out_shardings": (sharding, metrics)} if sharding else {}
  return jax.jit(step, donate_argnums=0, **where)


def train_step(
  state: TrainState,
  batch: Batch,
  draws: objective.Draws,
  keys_B: jax.Array | None,
  *,
  recipe: Recipe,
  axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
  """Forward, CLUB fit, losses, gradients, Adam, codebook.

  Args:
    state: before the step.
    batch: {"features": modality -> (B, T, ...), "lengths": modality -> (B,)}.
    draws: see `objective.draw`.
    keys_B: one dropout key a sample, or None for no dropout.
    recipe: what to train and how.
    axis_name: the device axis inside shard_map, or None on one device.
  """
  model, features = recipe.model, batch["features"]
  mask = padding_mask(batch) if recipe.mask_padding else {}

  def loss_fn(params):
    outputs = model.forward(
      params, state.codebook.code_KxD, features, mask, keys_B
    )
    nets, club_opt_state, gains = state.club, state.club_opt_state, {}
    if nets:
      pairs = objective.club_pairs(model, outputs, mask)
      nets, club_opt_state, gains = club.fit(
        nets,
        club_opt_state,
        pairs,
        recipe.club_optimizer,
        rounds=recipe.club_rounds,
        axis_name=axis_name,
      )
    places = levels_lib.find(
      model, outputs, mask, state.codebook.code_KxD, recipe.nearest
    )
    total, metrics = objective.objective(
      model,
      recipe.terms,
      recipe.weights,
      outputs,
      features,
      mask,
      places,
      params.get("cpc"),
      nets,
      draws,
      axis_name=axis_name,
    )
    return total, (places, nets, club_opt_state, gains, metrics)

  grads, aux = jax.grad(loss_fn, has_aux=True)(state.params)
  places, nets, club_opt_state, gains, metrics = aux
  updates, opt_state = recipe.optimizer.update(
    grads, state.opt_state, state.params
  )
  params: Any = optax.apply_updates(state.params, updates)
  codebook = recipe.update_codebook(
    state.codebook,
    jax.lax.stop_gradient([*places.values()]),
    draws.codebook,
    state.step / recipe.steps,
    axis_name=axis_name,
  )
  for name, gain in gains.items():
    metrics[f"club_log_likelihood/{name}"] = gain[-1]
    # As a share of the best that bounded log-variances allow: 1 is a perfect
    # fit, and far below 0 the bound means nothing.
    width = nets[name]["mean3"]["bias"].shape[0]
    metrics[f"club_fit/{name}"] = gain[-1] / (width / 2)
  metrics["grad_norm"] = optax.tree.norm(grads)
  for name, module in grads.items():
    metrics[f"grad_norm/{name}"] = optax.tree.norm(module)
  metrics |= codebook_health(model.order, codebook, places, axis_name)
  state = TrainState(
    step=state.step + 1,
    params=params,
    codebook=codebook,
    club=nets,
    opt_state=opt_state,
    club_opt_state=club_opt_state,
  )
  return state, metrics


def padding_mask(batch: Batch) -> dict[str, jax.Array]:
  """Modality -> (B, T) bool, False at padding, where lengths are given."""
  mask = {}
  for m, length_B in batch.get("lengths", {}).items():
    time_T = jnp.arange(batch["features"][m].shape[1])
    mask[m] = time_T < length_B[:, None]
  return mask


def codebook_health(
  order: Sequence[str],
  book: codebook_lib.Codebook,
  places: Mapping[str, codebook_lib.Rows],
  axis_name: str | None,
) -> Metrics:
  """Usage of this batch, running perplexity, agreement between modalities.

  Usage is that of clips. Every modality chooses by itself, whatever code the
  update assigned. Codes that were placed in this step are no part of the
  perplexity: nobody has chosen them.
  """
  size = book.count_K.shape[0]
  own = {
    name: codebook_lib.nearest_each(rows.distance)
    for name, rows in places.items()
  }
  hits: Mapping[str, jax.Array] = {
    m: collectives.psum(codebook_lib.usage(idx_B, size), axis_name)
    for m, idx_B in own["clip"].items()
  }
  known_K = jnp.where(book.tenure_K > 0, jnp.maximum(book.count_K, 0), 0)
  share_K = known_K / jnp.maximum(known_K.sum(), 1e-9)
  entropy = -jnp.where(share_K > 0, share_K * jnp.log(share_K), 0).sum()
  hits_MxK = jnp.stack([*hits.values()])
  awake_K = codebook_lib.awake(book.code_KxD)
  metrics = {
    "codebook/perplexity": jnp.exp(entropy),
    "codebook/awake": awake_K.mean(),
    "codebook/placed": (book.tenure_K < RECENT).mean(),
    "codebook/used": (hits_MxK.sum(0) > 0).mean(),
    "codebook/used_by_all": (hits_MxK > 0).all(0).mean(),
    "codebook/idle": jnp.where(awake_K, codebook_lib.idle(book), 0).max(),
  }
  for m, hit_K in hits.items():
    metrics[f"codebook/used/{m}"] = (hit_K > 0).mean()
  for name, rows in places.items():
    idx = own[name]
    for m, n in itertools.combinations([m for m in order if m in idx], 2):
      same_B = (idx[m] == idx[n]).astype(rows.weight_B.dtype)
      metrics[f"agreement/{name}/{m}-{n}"] = collectives.masked_mean(
        same_B, rows.weight_B, axis_name
      )
  return metrics
