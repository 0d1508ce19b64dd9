"""Configuration in, results out: the only reader of a ConfigDict."""

import functools
from typing import Any

import jax.numpy as jnp
import optax

from unirep import codebook
from unirep.errors import InputError
from unirep.losses import club
from unirep.losses import cmcm
from unirep.losses import cpc
from unirep.losses import infonce
from unirep.losses import objective
from unirep.losses import reconstruction
from unirep.model import Modality
from unirep.model import Model
from unirep.train import optimizer
from unirep.train.state import Recipe

DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}


def build_model(config) -> Model:
  """The network that `config` describes."""
  return Model(
    {
      m: Modality(
        kind=config.encoders[m].kind,
        fine=m in config.fine,
        specific=config.encoders[m].specific,
      )
      for m in config.modalities
    },
    dropout=config.dropout,
    dtype=DTYPES[config.dtype],
    **config.model,
  )


def build_recipe(config) -> Recipe:
  """Model, losses and optimizers, with every keyword from `config`."""
  bind, loss = functools.partial, config.loss
  restart = dict(config.restart)
  restarts = {
    "rows": codebook.restart_from_rows,
    "codes": codebook.restart_from_codes,
  }
  rate = optimizer.schedule(
    config.optimizer.learning_rate,
    steps=config.steps,
    warmup=config.optimizer.warmup,
    decay=config.optimizer.decay,
  )
  return Recipe(
    model=build_model(config),
    terms=objective.Terms(
      fine_reconstruction=bind(
        reconstruction.reconstruction, **loss.fine_reconstruction
      ),
      coarse_reconstruction=bind(
        reconstruction.reconstruction, **loss.coarse_reconstruction
      ),
      commitment=bind(reconstruction.commitment, **loss.commitment),
      distribution=bind(cmcm.code_distribution, **loss.distribution),
      cmcm=bind(cmcm.cmcm, **loss.cmcm),
      club=bind(club.estimate, **loss.club),
      cpc=bind(cpc.cpc, **loss.cpc),
      infonce=bind(infonce.infonce, **loss.infonce),
    ),
    weights=objective.Weights(**config.weights),
    optimizer=optimizer.adam(
      rate,
      clip=config.optimizer.clip,
      per_module=config.optimizer.per_module,
      epsilon=config.optimizer.epsilon,
    ),
    club_optimizer=optax.adam(config.club.learning_rate),
    init_codebook=bind(codebook_from, **config.codebook),
    ema_update=bind(codebook.ema_update, **config.ema),
    restart=bind(restarts[restart.pop("source")], **restart),
    init_cpc=bind(cpc.init, **config.cpc),
    init_club=bind(club.init, hidden=config.club.hidden),
    club_rounds=config.club.rounds,
    mask_padding=config.mask_padding,
  )


def codebook_from(key, dim, modalities, *, size: int, **keywords: Any):
  """`codebook.init` with the model's arguments first."""
  return codebook.init(key, size, dim, modalities, **keywords)
