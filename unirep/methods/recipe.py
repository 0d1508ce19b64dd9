"""Methods made of a network, losses and rules for the codebook.

Dimensions: B samples of this device, T time, K codes, D code width.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from unirep.losses import club, cmcm, cpc, objective
from unirep.losses import contrast as contrasts
from unirep.losses.base import Draws, LossInputs, filled, fingerprint
from unirep.methods import assignment as assigning
from unirep.methods import dcid, fcid
from unirep.methods.method import Aux, Method
from unirep.methods.network import Network
from unirep.parallel import collectives
from unirep.quantizer import codebook as codebooks
from unirep.quantizer import growth


class Recipe(NamedTuple):
  """The parts of a method of this family; functions have their keywords bound.

  Attributes:
    network: see `Network`.
    losses: name -> (inputs) -> Loss, of `objective.LOSSES`.
    weights: name -> weight; 0 leaves out a loss and its networks.
    club_optimizer: of the CLUB networks.
    init_codebook: (key, dim, modalities) -> Codebook.
    nearest: `codebook.nearest_jointly` or `codebook.nearest_each`.
    update_codebook: `growth.update` or `mm_ema.update`.
    distribution: one of `cmcm.DISTRIBUTIONS`.
    contrast: how rows are compared across devices, of `contrast.CONTRASTS`.
    rows: how CLUB's negatives come from other devices, see `club.estimate`.
    init_cpc: see `cpc.init`.
    init_club: see `club.init`.
    permute: (key, rows) -> for each row, the row of its CLUB negative.
    club_rounds: CLUB updates in each step; 0 leaves out the CLUB loss.
    mask_padding: whether padded steps are left out, where lengths are known.
  """

  network: Network
  losses: Mapping[str, Callable]
  weights: Mapping[str, float]
  club_optimizer: optax.GradientTransformation
  init_codebook: Callable
  nearest: Callable = codebooks.nearest_jointly
  update_codebook: Callable = growth.update
  distribution: Callable = cmcm.cosine_distribution
  contrast: contrasts.Contrast = contrasts.dense
  rows: Callable = collectives.gathered_rows
  init_cpc: Callable = cpc.init
  init_club: Callable = club.init
  permute: Callable = club.derangement
  club_rounds: int = 5
  mask_padding: bool = True


def method(recipe: Recipe) -> Method:
  """The method of a recipe: four functions with the recipe bound."""
  # Training sees four functions of arrays, and no configuration.
  bind = functools.partial
  return Method(
    init=bind(init, recipe),
    draw=bind(draw, recipe),
    loss=bind(loss, recipe),
    update=bind(update, recipe),
  )


def init(recipe: Recipe, key: jax.Array, batch: Mapping[str, Any]):
  """Parameters, codebook and CLUB networks, see `methods.method.Init`."""
  network = recipe.network
  keys = jax.random.split(key, 4)
  # One sample: the batch itself is large, and only shapes matter.
  features = {m: jnp.asarray(batch["features"][m][:1]) for m in network.order}
  params: dict[str, Any] = dict(network.init(keys[0], features))
  if recipe.weights["cpc"] and network.aligns_in_time(features):
    params["cpc"] = recipe.init_cpc(keys[1], network.fine, network.dim)
  codebook = recipe.init_codebook(keys[2], network.dim, network.order)
  nets = {}
  if recipe.weights["club"] and recipe.club_rounds:

    def pairs(params, code_KxD, features):
      outputs = network.forward(params, code_KxD, features)
      return network.club_pairs(outputs, {}, filled(None, features))

    # Only the widths of the pairs are needed, so nothing is computed.
    shapes = jax.eval_shape(pairs, params, codebook.code_KxD, features)
    nets = recipe.init_club(keys[3], shapes)
  opt_state = recipe.club_optimizer.init(nets)
  return params, codebook, {"club": nets, "club_opt_state": opt_state}


def draw(recipe: Recipe, key: jax.Array, batch: Mapping[str, Any], rows: int):
  """The random choices of a step over `rows` samples: `Draws`."""
  network = recipe.network
  first = (network.fine or network.order)[0]
  time = batch["features"][first].shape[1]
  pairs = network.club_rows
  keys = iter(jax.random.split(key, 2 + len(pairs)))
  # At least two tokens of context, and one to predict.
  start = jax.random.randint(next(keys), (), 1, max(time - 1, 2))
  # Over the long batch of all devices, so that negatives come from all of it.
  permutation = {
    name: recipe.permute(next(keys), rows * parts)
    for name, parts in pairs.items()
  }
  return Draws(start, permutation, next(keys))


def loss(
  recipe: Recipe,
  params: Mapping[str, Any],
  codebook: codebooks.Codebook,
  side: Mapping[str, Any],
  batch: Mapping[str, Any],
  draws: Draws,
  keys_B: jax.Array | None,
  *,
  axis_name: str | None = None,
) -> tuple[jax.Array, Aux]:
  """Forward pass, CLUB fit, losses: see `methods.method.LossFn`."""
  network = recipe.network
  features = {m: batch["features"][m] for m in network.order}
  mask = padding_mask(batch) if recipe.mask_padding else {}
  present = filled(batch.get("present"), features)
  outputs = network.forward(params, codebook.code_KxD, features, mask, keys_B)
  # First the CLUB networks are fitted to the features of this step, detached.
  # Then they give the bound on these same features, through which the gradient
  # reaches the encoders but not the networks.
  pairs = network.club_pairs(outputs, mask, present) if side["club"] else {}
  side, metrics = _fit_club(recipe, side, pairs, axis_name)
  # Codes before their update: losses and update see one assignment.
  assignments = network.assign(
    outputs, mask, codebook.code_KxD, recipe.nearest, present
  )
  networks = {"club": side["club"]}
  if "cpc" in params:
    networks["cpc"] = params["cpc"]
  inputs = LossInputs(
    order=network.order,
    fine=network.fine,
    outputs=outputs,
    mask=mask,
    present=present,
    assignments=assignments,
    pairs=pairs,
    networks=networks,
    draws=draws,
    # Samples with equal captions mean the same, and so do those with equal
    # features of any other modality that is not fine-aligned.
    groups={
      m: fingerprint(features[m], mask.get(m))
      for m in network.order
      if m not in network.fine
    },
    distribution=recipe.distribution,
    contrast=recipe.contrast,
    rows=recipe.rows,
    axis_name=axis_name,
  )
  total, terms = objective.objective(inputs, recipe.losses, recipe.weights)
  return total, Aux(side, assignments, metrics | terms)


def update(
  recipe: Recipe,
  codebook: codebooks.Codebook,
  assignments: Mapping[str, codebooks.Assignment],
  draws: Draws,
  progress: jax.Array,
  *,
  axis_name: str | None = None,
) -> tuple[codebooks.Codebook, dict[str, jax.Array]]:
  """The codebook after a step, and metrics: see `methods.method.Update`."""
  codebook = recipe.update_codebook(
    codebook,
    [*assignments.values()],
    draws.codebook,
    progress,
    axis_name=axis_name,
  )
  order = recipe.network.order
  return codebook, assigning.health(order, codebook, assignments, axis_name)


def _fit_club(recipe, side, pairs, axis_name):
  if not pairs:
    return side, {}
  nets, opt_state, gains = club.fit(
    side["club"],
    side["club_opt_state"],
    pairs,
    recipe.club_optimizer,
    rounds=recipe.club_rounds,
    axis_name=axis_name,
  )
  metrics = {}
  for name, gain in gains.items():
    metrics[f"club_log_likelihood/{name}"] = gain[-1]
    # As a share of the maximum, Y/2, that the bounded log-variances allow: 1 is
    # a perfect fit; far below 0 the network is wrong and its bound meaningless.
    width = nets[name]["mean3"]["bias"].shape[0]
    metrics[f"club_fit/{name}"] = gain[-1] / (width / 2)
  return {"club": nets, "club_opt_state": opt_state}, metrics


def padding_mask(batch: Mapping[str, Any]) -> dict[str, jax.Array]:
  """Modality -> (B, T) bool, False at padding, where lengths are given.

  All True where the modality is missing: its length says nothing, and must not
  shorten the other modalities of the sample.
  """
  mask, present = {}, filled(batch.get("present"), batch["features"])
  for m, length_B in batch.get("lengths", {}).items():
    time_T = jnp.arange(batch["features"][m].shape[1])
    mask[m] = (time_T < length_B[:, None]) | ~present[m][:, None]
  return mask


# Name -> the class of the network; a configuration names all other parts.
METHODS = {"fcid": fcid.FCID, "dcid": dcid.DCID}
