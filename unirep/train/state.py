"""What a run is made of: a `Recipe` that stays, a `TrainState` that moves."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from unirep import codebook as codebook_lib
from unirep import growth
from unirep.codebook import Codebook
from unirep.losses import club, cpc, objective
from unirep.model import Model

Params = Mapping[str, Any]
Batch = Mapping[str, Mapping[str, Any]]


class Recipe(NamedTuple):
  """What is trained and how; functions have their keywords bound.

  Attributes:
    model: the network.
    terms: the losses.
    weights: what they count.
    optimizer: of the main parameters.
    club_optimizer: of the CLUB networks.
    init_codebook: (key, dim, modalities) -> Codebook.
    steps: of the whole run; codes are placed only in a part of it.
    nearest: which codes are assigned, `codebook.nearest_jointly` or `_each`.
    update_codebook: `growth.update` or `mm_ema.update`.
    init_cpc: see `cpc.init`.
    init_club: see `club.init`.
    permute: (key, rows) -> for each row, the row of its CLUB negative.
    club_rounds: CLUB updates a step; 0 leaves the CLUB terms out.
    mask_padding: whether padded steps are left out, where lengths are known.
  """

  model: Model
  terms: objective.Terms
  weights: objective.Weights
  optimizer: optax.GradientTransformation
  club_optimizer: optax.GradientTransformation
  init_codebook: Callable
  steps: int
  nearest: Callable = codebook_lib.nearest_jointly
  update_codebook: Callable = growth.update
  init_cpc: Callable = cpc.init
  init_club: Callable = club.init
  permute: Callable = club.derangement
  club_rounds: int = 5
  mask_padding: bool = True


class TrainState(NamedTuple):
  """All that a run carries from step to step; plain arrays only.

  Attributes:
    step: number of steps done, int32.
    params: {"encoder", "decoder"} and, where CPC runs, {"cpc"}.
    codebook: codes, counts, sums, ages.
    club: the CLUB networks, one a pair.
    opt_state: of the main optimizer.
    club_opt_state: of the CLUB optimizer.
  """

  step: jax.Array
  params: Params
  codebook: Codebook
  club: Params
  opt_state: optax.OptState
  club_opt_state: optax.OptState


def init(recipe: Recipe, key: jax.Array, batch: Batch) -> TrainState:
  """Draws the first state; `batch` gives only shapes."""
  model = recipe.model
  keys = jax.random.split(key, 4)
  features = {m: jnp.asarray(batch["features"][m][:1]) for m in model.order}
  params = dict(model.init(keys[0], features))
  if aligns_in_time(model, features):
    params["cpc"] = recipe.init_cpc(keys[1], model.fine, model.dim)
  codebook = recipe.init_codebook(keys[2], model.dim, model.order)
  club_params: Params = {}
  if recipe.club_rounds:
    shapes = jax.eval_shape(
      lambda p, c, f: objective.club_pairs(model, model.forward(p, c, f), {}),
      params,
      codebook.code_KxD,
      features,
    )
    club_params = recipe.init_club(keys[3], shapes)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    codebook=codebook,
    club=club_params,
    opt_state=recipe.optimizer.init(params),
    club_opt_state=recipe.club_optimizer.init(club_params),
  )


def aligns_in_time(model: Model, features: Mapping[str, Any]) -> bool:
  """Whether the fine-aligned modalities have the steps that CPC needs."""
  return len(model.fine) > 1 and features[model.fine[0]].shape[1] >= 3
