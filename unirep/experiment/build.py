"""A configuration's objects: model, recipe, sources."""

import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from unirep import codebook, collectives, growth, mm_ema, workdir
from unirep.data import arrays, contract
from unirep.errors import InputError
from unirep.losses import (
  club,
  cmcm,
  cpc,
  infonce,
  matching,
  objective,
  reconstruction,
)
from unirep.losses import contrast as contrast_lib
from unirep.model import Modality, Model
from unirep.train import optimizer
from unirep.train.state import Recipe

Config = Any  # a ConfigDict, whose type stubs know no leaves

DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}
PERMUTE = {
  "derangement": club.derangement,
  "permutation": jax.random.permutation,
}


def sources(config: Config) -> tuple[Any, Any]:
  """Training and held-out samples.

  Raises:
    InputError: if the data is missing or broken.
  """
  options = dict(config.data)
  kind = options.pop("source")
  if kind == "arrays":
    path, holdout = options["path"], options["holdout"]
    if not path:
      raise InputError("data.path is empty; name an .npz file of features")
    whole = arrays.load_npz(path, modalities=config.modalities)
    both: Any = arrays.split(whole, holdout, config.seed)
  else:
    sizes = options.pop("train_size"), options.pop("test_size")
    # Imported here: each needs packages that the other does without.
    if kind == "digits":
      from unirep.data.digits import Digits as source
    else:
      from unirep.data.synthetic import SyntheticEvents as source
    both = tuple(
      source(split=split, size=size, **options)
      for split, size in zip(("train", "test"), sizes, strict=True)
    )
  for source, split in zip(both, ("train", "test"), strict=True):
    contract.check_source(source, f"data.source={kind}, {split} split")
  return both


def model(config: Config) -> Model:
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


def recipe(config: Config) -> Recipe:
  """Model, losses and optimizers, with every keyword from `config`."""
  bind, loss = functools.partial, config.loss
  contrast, rows = contrasts(config)
  codes = CODES[config.codes.rule](config)
  rate = optimizer.schedule(
    config.optimizer.learning_rate,
    steps=config.steps,
    warmup=config.optimizer.warmup,
    decay=config.optimizer.decay,
  )
  return Recipe(
    model=model(config),
    terms=objective.Terms(
      fine_reconstruction=bind(
        reconstruction.reconstruction, **loss.fine_reconstruction
      ),
      coarse_reconstruction=bind(
        reconstruction.reconstruction, **loss.coarse_reconstruction
      ),
      commitment=bind(reconstruction.commitment, **loss.commitment),
      distribution=distribution(config),
      matching=bind(matching.matching, dim=config.model.dim, **loss.matching),
      cmcm=bind(cmcm.cmcm, contrast=contrast, **loss.cmcm),
      club=bind(club.estimate, rows=rows, **loss.club),
      cpc=bind(cpc.cpc, contrast=contrast, **loss.cpc),
      infonce=bind(infonce.infonce, contrast=contrast, **loss.infonce),
    ),
    weights=objective.Weights(**config.weights),
    optimizer=optimizer.adam(
      rate,
      clip=config.optimizer.clip,
      per_module=config.optimizer.per_module,
      epsilon=config.optimizer.epsilon,
    ),
    club_optimizer=optax.adam(config.club.learning_rate),
    steps=config.steps,
    **codes,
    init_cpc=bind(cpc.init, **config.cpc),
    init_club=bind(club.init, hidden=config.club.hidden),
    permute=PERMUTE[config.club.negatives],
    club_rounds=config.club.rounds,
    mask_padding=config.mask_padding,
  )


def contrasts(config: Config) -> tuple[Callable, Callable]:
  """How rows meet those of other devices: to compare, and CLUB's negatives."""
  chunked = functools.partial(contrast_lib.chunked, chunk=config.contrast_chunk)
  return {
    "dense": (contrast_lib.dense, collectives.gathered_rows),
    "chunked": (chunked, collectives.rotated_rows),
    "ring": (contrast_lib.ring, collectives.rotated_rows),
  }[config.contrast]


def shared_codes(config: Config) -> dict[str, Any]:
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


def released_codes(config: Config) -> dict[str, Any]:
  """MM-EMA as released: a part of the recipe's fields."""
  options = dict(config.codes)

  def init(key, dim, modalities):
    return codebook.init(
      key, config.codebook.size, dim, modalities, bound=options["bound"]
    )

  return {
    "init_codebook": init,
    "nearest": codebook.nearest_each,
    "update_codebook": functools.partial(
      mm_ema.update,
      modalities=tuple(config.modalities),
      ema=dict(options["ema"]),
      restart=dict(options["restart"]),
    ),
  }


CODES = {"shared": shared_codes, "released": released_codes}
DISTRIBUTIONS = {
  "cosine": lambda config: functools.partial(
    cmcm.cosine_distribution, dim=config.model.dim
  ),
  "root": lambda config: cmcm.code_distribution,
}


def distribution(config: Config) -> Callable:
  """What CMCM compares: distributions over codes."""
  options = dict(config.loss.distribution)
  kind = options.pop("kind")
  return functools.partial(DISTRIBUTIONS[kind](config), **options)


def as_json(config: Config) -> dict[str, Any]:
  """The configuration as plain JSON values."""
  return json.loads(config.to_json())


def from_json(settings: Mapping[str, Any]) -> Config:
  """The inverse of `as_json`: lists become tuples again.

  Leaves that older runs lack take the value that says what these did.
  """

  def restore(value):
    if isinstance(value, Mapping):
      return {name: restore(part) for name, part in value.items()}
    return tuple(value) if isinstance(value, list) else value

  whole: Any = restore(settings)
  for key, value in workdir.ADDED.items():
    section, name = key.split(".")
    if section == "model":  # the section that a frozen model is built from
      whole["model"].setdefault(name, value)
  return ConfigDict(whole)
