"""A configuration's objects: network, training, by the registries."""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from unirep.configuration import migrate, schema
from unirep.losses import club, cmcm, contrast, cpc, objective
from unirep.methods import recipe as recipes
from unirep.methods.network import Modality, Network
from unirep.methods.recipe import METHODS
from unirep.parallel import collectives
from unirep.quantizer import codebook, growth, mm_ema
from unirep.runtime.errors import InputError, first_line, pick
from unirep.train import optimizer
from unirep.train.state import Training

Config = Any  # a ConfigDict; its type stubs know no leaves

# Errors that settings of a wrong type may raise where they are used.
BROKEN = (AttributeError, KeyError, TypeError, ValueError, IndexError)
DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}


def network(config: Config) -> Network:
  """The network that `config` describes."""
  make = pick(METHODS, "method", config.method)
  return make(
    {
      m: Modality(
        kind=config.encoders[m].kind,
        fine=m in config.fine,
        specific=config.encoders[m].specific,
      )
      for m in config.modalities
    },
    dropout=config.dropout,
    dtype=pick(DTYPES, "dtype", config.dtype),
    **config.model,
  )


def shapes(settings: Mapping[str, Any], stored: Mapping[str, Any]) -> Any:
  """The shapes of a model's arrays, as its configuration describes them.

  Args:
    settings: of the run; they are not trusted.
    stored: {"params": ..., "codebook": ...}, descriptions of arrays; only the
      widths of features are taken from there, and whether an imported model
      has decoders.

  Raises:
    InputError: for settings that describe no network.
  """
  schema.check(settings, recorded=True)
  try:
    config = from_json(settings)
    made = network(config)
    features = {}
    for m in made.order:
      width = made.width(stored["params"], m)
      shape = 1, 3, *made.kind(m).least, width
      features[m] = jax.ShapeDtypeStruct(shape, jnp.float32)
    params = jax.eval_shape(made.init, jax.random.key(0), features)
    size = config.codebook.size, made.dim
  except InputError:
    raise
  except (*BROKEN, ArithmeticError) as error:
    raise InputError(
      f"the configuration of the run describes no network ({first_line(error)})"
    ) from error
  if settings.get("imported") and "decoder" not in stored["params"]:
    del params["decoder"]
  code_KxD = jax.ShapeDtypeStruct(size, jnp.float32)
  return {"params": params, "codebook": {"code_KxD": code_KxD}}


def training(config: Config) -> Training:
  """Method and optimizer, with every keyword from `config`."""
  rate = optimizer.schedule(
    config.optimizer.learning_rate,
    warmup=config.optimizer.warmup,
    decay=config.optimizer.decay,
  )
  return Training(
    method=recipes.method(recipe(config)),
    optimizer=optimizer.adam(
      rate,
      clip=config.optimizer.clip,
      per_module=config.optimizer.per_module,
      epsilon=config.optimizer.epsilon,
    ),
  )


def recipe(config: Config) -> recipes.Recipe:
  """Network, losses and rules of codes."""
  bind = functools.partial
  for name in config.weights:
    pick(objective.LOSSES, "weights", name)
  # Chunks and rings save memory; CLUB's negatives then go around as well.
  chunked = bind(contrast.chunked, chunk=config.contrast_chunk)
  contrasts = contrast.CONTRASTS | {"chunked": chunked}
  dense = config.contrast == "dense"
  return recipes.Recipe(
    network=network(config),
    losses={
      name: bind(loss, **config.loss[name])
      for name, loss in objective.LOSSES.items()
      if name in config.weights
    },
    weights=dict(config.weights),
    club_optimizer=optax.adam(config.club.learning_rate),
    **pick(CODES, "codes.rule", config.codes.rule)(config),
    distribution=distribution(config),
    contrast=pick(contrasts, "contrast", config.contrast),
    rows=collectives.gathered_rows if dense else collectives.rotated_rows,
    init_cpc=bind(cpc.init, **config.cpc),
    init_club=bind(club.init, hidden=config.club.hidden),
    permute=pick(club.PERMUTATIONS, "club.negatives", config.club.negatives),
    club_rounds=config.club.rounds,
    mask_padding=config.mask_padding,
  )


def distribution(config: Config) -> Callable[..., Any]:
  """(squared distances, width D) -> distribution over codes."""
  options = dict(config.loss.distribution)
  kind = options.pop("kind")
  make = pick(cmcm.DISTRIBUTIONS, "loss.distribution.kind", kind)
  return functools.partial(make, **options)


def shared_codes(config: Config) -> dict[str, Callable]:
  """Codes that grow where modalities agree: a part of the recipe's fields."""
  options = dict(config.codes)
  del options["rule"]

  def init(key, dim, modalities):
    return codebook.asleep(key, config.codebook.size, dim, modalities)

  return {
    "init_codebook": init,
    "nearest": codebook.nearest_jointly,
    "update_codebook": functools.partial(growth.update, **options),
  }


def released_codes(config: Config) -> dict[str, Callable]:
  """MM-EMA as released: a part of the recipe's fields."""
  options = dict(config.codes)
  del options["rule"]
  bound = options.pop("bound")

  def init(key, dim, modalities):
    return codebook.init(
      key, config.codebook.size, dim, modalities, bound=bound
    )

  return {
    "init_codebook": init,
    "nearest": codebook.nearest_each,
    "update_codebook": functools.partial(
      mm_ema.update, modalities=tuple(config.modalities), **options
    ),
  }


CODES = {"shared": shared_codes, "released": released_codes}


def as_json(config: Config) -> dict[str, Any]:
  """The configuration as plain JSON values.

  Raises:
    InputError: for values that JSON can't hold.
  """
  try:
    return json.loads(config.to_json())
  except (TypeError, ValueError, RecursionError) as error:
    raise InputError(
      f"the configuration holds no plain values: {first_line(error)}"
    ) from error


def from_json(settings: Mapping[str, Any]) -> Config:
  """The inverse of `as_json`: lists become tuples again.

  An older run gets the leaves of its network that have been added since.
  """

  def restore(value):
    if isinstance(value, Mapping):
      return {name: restore(part) for name, part in value.items()}
    return tuple(value) if isinstance(value, list) else value

  leaves = dict.fromkeys(("sphere", "steps"), "")
  if settings.get("method", "fcid") != "fcid":
    del leaves["steps"]  # a key of FCID alone
  like = {"method": "", "model": leaves}
  return ConfigDict(restore(migrate.completed(settings, like)))
