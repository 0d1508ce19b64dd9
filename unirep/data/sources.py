"""Sources by name: of a pretraining run, and of downstream tasks.

A kind of data is `clips` (one event), `events` (several) or `other` (clips of a
second data set); a split is `train`, `validation`, `test`, or `seen`: the train
split, to be tested on.
"""

import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from unirep.data import arrays, pipeline, sample
from unirep.data.sample import Source
from unirep.errors import InputError, pick


class Uses(NamedTuple):
  """What a source is good for.

  Attributes:
    pretraining: (options, modalities) -> training and held-out samples,
      or None where there is no such use.
    downstream: (options, kind, split) -> samples, or None likewise.
  """

  pretraining: Callable[..., tuple[Source, Source]] | None
  downstream: Callable[..., Source] | None


def pair(
  data: Mapping[str, Any], modalities: Sequence[str]
) -> tuple[Source, Source]:
  """Training and held-out samples of a pretraining run.

  Args:
    data: `source` and its options.
    modalities: those that are wanted.

  Raises:
    InputError: if the data is missing or broken.
  """
  options = dict(data)
  name = options.pop("source")
  make = _use(name, "pretraining")
  both = make(options, modalities)
  for source, split in zip(both, ("train", "test"), strict=True):
    sample.check_source(source, f"data.source={name}, {split} split")
  return both


def source(data: Mapping[str, Any], kind: str, split: str) -> Source:
  """The samples of one split of one kind, for downstream tasks.

  Raises:
    InputError: if the data is missing or broken.
  """
  options = dict(data)
  make = _use(options.pop("source"), "downstream")
  return make(options, kind, "train" if split == "seen" else split)


def check(data: Mapping[str, Any], kinds: Iterable[str]) -> None:
  """Raises InputError where `source` would, before anything is written.

  Of several files it opens the first and looks for the others.
  """
  if data["source"] == "arrays":
    for name in ("train", "validation", "test", *({*kinds} & {"other"})):
      if not data[name] or not pathlib.Path(data[name]).exists():
        what = f"{data[name]} does not exist" if data[name] else "is empty"
        raise InputError(f"data.{name}: {what}; name an .npz file of features")
  source(data, "clips", "train")


def _use(name, use):
  able = {n: uses for n, uses in SOURCES.items() if getattr(uses, use)}
  return getattr(pick(able, "data.source", name), use)


def _generated(make):
  """Train and test draw from what must never mix: other recordings, seeds."""

  def pretraining(options, modalities):
    del modalities
    sizes = {s: options.pop(f"{s}_size") for s in ("train", "test")}
    train, test = (
      make("clips", split=split, size=size, **options)
      for split, size in sizes.items()
    )
    return train, test

  def downstream(options, kind, split):
    """Validation samples are fresh compositions of what the train split has."""
    sizes = {
      s: options.pop(f"{s}_size") for s in ("train", "validation", "test")
    }
    start, size = 0, sizes[split]
    if split == "validation":
      start, size = sizes["train"], sizes["train"] + sizes["validation"]
    side = "test" if split == "test" else "train"
    return pipeline.Window(
      make(kind, split=side, size=size, **options), start, size
    )

  return Uses(pretraining, downstream)


# Imported where they are used: each needs packages that the others do without.


def _synthetic(kind, **options):
  del kind
  from unirep.data.generated.synthetic import SyntheticEvents

  return SyntheticEvents(**options)


def _digits(kind, *, other_speaker="", **options):
  from unirep.data.generated.digit_events import DigitEvents
  from unirep.data.generated.digits import Digits

  if kind == "other":
    options["speaker_out"] = other_speaker
  return (DigitEvents if kind == "events" else Digits)(**options)


def _ave(options, kind, split):
  del kind
  from unirep.data.datasets.ave import Ave

  return Ave(split, **options)


def _arrays_pair(options, modalities):
  if not options["path"]:
    raise InputError("data.path is empty; name an .npz file of features")
  whole = arrays.load_npz(
    options["path"], modalities=modalities, missing=options["missing"]
  )
  return arrays.split(whole, options["holdout"], options["holdout_seed"])


def _arrays(options, kind, split):
  path = options["other" if kind == "other" else split]
  return arrays.load_npz(path, missing=options["missing"])


SOURCES = {
  "synthetic": _generated(_synthetic),
  "digits": _generated(_digits),
  "ave": Uses(None, _ave),
  "arrays": Uses(_arrays_pair, _arrays),
}
