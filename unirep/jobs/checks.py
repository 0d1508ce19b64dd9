"""Checks of a pretraining run: keys that depend on each other, and samples."""

import functools
import pathlib
from typing import Any

from unirep.configuration.build import CODES, DTYPES, Config
from unirep.data import labels
from unirep.data.sample import Source
from unirep.losses import club, cmcm, contrast
from unirep.methods.network import Network
from unirep.methods.recipe import METHODS
from unirep.nn import encoders
from unirep.nn.kinds import KINDS
from unirep.runtime.errors import InputError, pick
from unirep.train import optimizer, reading, tracking

CHOICES = {  # leaf -> the registry that it names an entry of
  "method": METHODS,
  "dtype": DTYPES,
  "contrast": contrast.CONTRASTS,
  "codes.rule": CODES,
  "loss.distribution.kind": cmcm.DISTRIBUTIONS,
  "club.negatives": club.PERMUTATIONS,
  "model.pool": encoders.POOLS,
  "optimizer.decay": optimizer.DECAYS,
}


def check_pretrain(config: Config) -> None:
  """Raises InputError for values that no part below would explain."""
  order, fine = tuple(config.modalities), tuple(config.fine)
  if len(set(order)) < 2 or len(set(order)) < len(order):
    raise InputError(
      f"modalities={order}: a shared codebook needs two or more, each once"
    )
  for m in order:
    if "/" in m or m not in config.encoders:
      raise InputError(f"modalities: {m!r} has no entry encoders.{m}")
    pick(KINDS, f"encoders.{m}.kind", config.encoders[m].kind)
  if not set(fine) <= set(order) or len(fine) == 1:
    raise InputError(
      f"fine={fine} must be none, or two or more, of modalities={order}"
    )
  for key, registry in CHOICES.items():
    pick(registry, key, leaf(config, key))
  if config.contrast != "dense" and not config.loss.cmcm.paired:
    raise InputError(
      f"contrast={config.contrast!r} needs loss.cmcm.paired=True: the released "
      "CMCM takes the minimum over all pairs first"
    )
  if config.model.dim % config.model.heads:
    raise InputError(
      f"model.dim={config.model.dim} is not divisible by "
      f"model.heads={config.model.heads}"
    )
  for name in config.weights:
    if name not in config.loss:
      raise InputError(f"weights.{name} has no entry loss.{name}")
  if config.init_from:
    reading.find(pathlib.Path(config.init_from))
  tracking.check(config.wandb)
  if config.codes.rule == "shared" and not config.model.sphere:
    raise InputError("codes.rule='shared' needs model.sphere=True")


def check_missing(config: Config) -> None:
  """Raises InputError for keywords that can't leave out a missing modality."""
  needed = {
    "codes.rule": "shared",
    "loss.cmcm.paired": True,
    "loss.club.per_step": True,
  }
  for key, value in needed.items():
    if leaf(config, key) != value:
      raise InputError(
        f"{key}={leaf(config, key)!r}: where samples lack modalities it must be"
        f" {value!r}; the released form counts every sample"
      )


def leaf(config: Config, key: str) -> Any:
  """The value at a dotted key."""
  return functools.reduce(lambda part, name: part[name], key.split("."), config)


def check_splits(network: Network, train: Source, test: Source) -> None:
  """Checks the samples that a run is trained on, and evaluated on.

  Raises:
    InputError: naming the split, for features that the network does not take,
      or that differ in shape, and for labels that `labels.check` refuses.
  """
  shapes = {}
  for split, source in (("train", train), ("test", test)):
    given = source[0]["features"]
    try:
      network.check({m: x[None] for m, x in given.items()})
    except InputError as error:
      raise InputError(f"{split} split: {error}") from error
    shapes[split] = {m: given[m].shape for m in network.order}
  for m, shape in shapes["train"].items():
    if shapes["test"][m] != shape:
      raise InputError(
        f"test split: {m!r} is {shapes['test'][m]}, but {shape} in the train"
        " split; both must agree"
      )
  labels.check({"train": train, "test": test})
