"""The samples that downstream tasks are trained, validated and tested on.

A kind of data is `clips` (one event), `events` (several) or `other` (clips of a
second data set); a split is `train`, `validation`, `test`, or `seen`: the train
split, to be tested on.
"""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from unirep.data import arrays, pipeline
from unirep.data.contract import Source
from unirep.errors import InputError


def source(data: Mapping[str, Any], kind: str, split: str) -> Source:
  """The samples of one split of one kind.

  Raises:
    InputError: if the data is missing or broken.
  """
  options = dict(data)
  make = SOURCES[options.pop("source")]
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


def _generated(options, kind, split):
  """Validation samples are fresh compositions of what the train split has."""
  sizes = {s: options.pop(f"{s}_size") for s in ("train", "validation", "test")}
  start, size = 0, sizes[split]
  if split == "validation":
    start, size = sizes["train"], sizes["train"] + sizes["validation"]
  options |= {"split": "test" if split == "test" else "train", "size": size}
  return pipeline.Window(_composed(options, kind), start, size)


def _composed(options, kind):
  # Imported here: each needs packages that the other does without.
  if "fsdd" not in options:
    from unirep.data.synthetic import SyntheticEvents

    return SyntheticEvents(**options)
  from unirep.data.digit_events import DigitEvents
  from unirep.data.digits import Digits

  speaker = options.pop("other_speaker")
  if kind == "other":
    options["speaker_out"] = speaker
  return (DigitEvents if kind == "events" else Digits)(**options)


def _ave(options, kind, split):
  del kind
  from unirep.data.ave import Ave

  return Ave(split, **options)


def _arrays(options, kind, split):
  return arrays.load_npz(options["other" if kind == "other" else split])


SOURCES = {
  "synthetic": _generated,
  "digits": _generated,
  "ave": _ave,
  "arrays": _arrays,
}
