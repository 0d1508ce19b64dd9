"""Splits of data, looked at before anything is trained on them or encoded."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from unirep.data import labels, sources
from unirep.data.sample import Source
from unirep.errors import InputError
from unirep.methods.network import Network
from unirep.tokenizer import Tokenizer


def check(network: Network, train: Source, test: Source) -> None:
  """Checks what a run is trained on, and evaluated on in the end.

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


def opened(
  data: Mapping[str, Any], fine: Sequence[str]
) -> Callable[[str, str], Source]:
  """(kind, split) -> samples as `sources.source` gives them, opened once."""
  once = functools.cache(functools.partial(sources.source, data, fine=fine))
  return lambda kind, split: once(kind, "train" if split == "seen" else split)


def check_downstream(
  opened: Callable[[str, str], Source], model: Tokenizer, kinds: Iterable[str]
) -> None:
  """Checks all splits that tasks look at.

  Args:
    opened: see there.
    model: trained.
    kinds: of data, see `sources`.

  Raises:
    InputError: naming the split, for features that the model does not take,
      and for labels that `labels.check` refuses.
  """
  for kind in sorted({*kinds}):
    for split in ("train", "validation", "test"):
      where = split if kind == "clips" else f"{split} ({kind})"
      source = opened(kind, split)
      if not len(source):
        raise InputError(f"{where} split: it holds no samples")
      check_features(model, source, where)
      labels.check({where: source})


def check_features(model: Tokenizer, source: Source, where: str) -> None:
  """Raises InputError for features that a model does not take."""
  given = source[0]["features"]
  names = [m for m in model.modalities if m in given]
  if not names:
    raise InputError(
      f"{where} split: it has only {', '.join(given)}, but the model takes"
      f" {', '.join(model.modalities)}"
    )
  try:
    model.check({m: given[m][None] for m in names})
  except InputError as error:
    raise InputError(f"{where} split: {error}") from error
