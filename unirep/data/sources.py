"""Sources by name, for pretraining and for downstream tasks.

A kind of data is `clips` (one event), `events` (several) or `other` (clips of a
second data set). A split is `train`, `validation`, `test`, or `seen`: the train
split, to test on.
"""

import functools
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from unirep.data import arrays, pipeline, resample, sample, scripts
from unirep.data.sample import Source
from unirep.runtime.errors import InputError, pick


class Uses(NamedTuple):
  """The uses of a source.

  Attributes:
    pretraining: (options, modalities) -> training and held-out samples; None if
      the source is not for pretraining.
    downstream: (options, kind, split) -> samples; None if the source is not for
      downstream tasks.
    kinds: the kinds of data that it has; clips stand for events that it lacks.
  """

  pretraining: Callable[..., tuple[Source, Source]] | None
  downstream: Callable[..., Source] | None
  kinds: tuple[str, ...] = ("clips",)


def pair(
  data: Mapping[str, Any], modalities: Sequence[str], fine: Sequence[str] = ()
) -> tuple[Source, Source]:
  """Training and held-out samples of a pretraining run.

  Args:
    data: `source` and its options.
    modalities: those to read.
    fine: those of them that share a time axis, for `data.resample`.

  Raises:
    InputError: if the data is missing or broken.
  """
  options = dict(data)
  options.pop("device_resident", None)  # decided later
  name = options.pop("source")
  fit = _resampling(options, fine)
  train, test = _use(name, "pretraining")(options, modalities)
  both = fit(train), fit(test)
  if note := getattr(test, "note", ""):
    held_out: Any = both[1]
    held_out.note = note
  for source, split in zip(both, ("train", "test"), strict=True):
    sample.check_source(source, f"data.source={name}, {split} split")
  return both


def source(
  data: Mapping[str, Any], kind: str, split: str, fine: Sequence[str] = ()
) -> Source:
  """The samples of one split of one kind, for downstream tasks.

  Args:
    data: `source` and its options.
    kind: see this module.
    split: likewise.
    fine: modalities that share a time axis, for `data.resample`.

  Raises:
    InputError: if the data is missing or broken.
  """
  options = dict(data)
  make = _use(options.pop("source"), "downstream")
  fit = _resampling(options, fine)
  return fit(make(options, kind, "train" if split == "seen" else split))


def opened(
  data: Mapping[str, Any], fine: Sequence[str]
) -> Callable[[str, str], Source]:
  """(kind, split) -> samples as `source` gives them, opened once."""
  once = functools.cache(functools.partial(source, data, fine=fine))
  return lambda kind, split: once(kind, "train" if split == "seen" else split)


def check(data: Mapping[str, Any], kinds: Iterable[str]) -> None:
  """Raises InputError for files or folders of arrays that do not exist."""
  if data["source"] == "arrays":
    for name in ("train", "validation", "test", *({*kinds} & {"other"})):
      path, *_ = scripts.find(data[name]) or (pathlib.Path(data[name]),)
      if not data[name] or not path.exists():
        wrong = f"{path} does not exist" if data[name] else "is empty"
        raise InputError(
          f"data.{name}: {wrong}; name a file or folder of features"
        )


def kinds(name: str) -> tuple[str, ...]:
  """The kinds of data that a source has; see this module."""
  return pick(SOURCES, "data.source", name).kinds


def kind(name: str, wanted: str) -> str:
  """A kind of data that a source has: the wanted one, or else `clips`.

  Segments of clips have labels as well.
  """
  return wanted if wanted in kinds(name) else "clips"


def _use(name, use):
  able = {n: uses for n, uses in SOURCES.items() if getattr(uses, use)}
  return getattr(pick(able, "data.source", name), use)


def _resampling(options, fine):
  """A function that resamples a source; takes its options out."""
  if "resample" not in options:
    return lambda source: source
  rule, steps = options.pop("resample"), options.pop("steps")
  if rule == "none":
    if steps:
      raise InputError(
        f"data.steps={steps} needs a rule: data.resample is one of"
        f" {tuple(resample.RULES)}"
      )
    return lambda source: source
  return lambda source: resample.Resampled(source, fine, rule=rule, steps=steps)


def _generated(make):
  """A generated source; train and test have other recordings or seeds."""

  def pretraining(options, modalities):
    del modalities
    sizes = {s: options.pop(f"{s}_size") for s in ("train", "test")}
    train, test = (
      make("clips", split=split, size=size, **options)
      for split, size in sizes.items()
    )
    return train, test

  def downstream(options, kind, split):
    """Validation samples are new compositions of the train split's material."""
    sizes = {
      s: options.pop(f"{s}_size") for s in ("train", "validation", "test")
    }
    start, size = 0, sizes[split]
    if split == "validation":
      start, size = sizes["train"], sizes["train"] + sizes["validation"]
    side = "test" if split == "test" else "train"
    return pipeline.Subset(
      make(kind, split=side, size=size, **options), range(start, size)
    )

  return Uses(pretraining, downstream)


# Imported where they are used: each needs packages that the others do not.


def _synthetic(kind, **options):
  del kind
  from unirep.data.procedural.synthetic import SyntheticEvents

  return SyntheticEvents(**options)


def _digits(kind, *, other_speaker="", **options):
  from unirep.data.procedural.digit_events import DigitEvents
  from unirep.data.procedural.digits import Digits

  if kind == "other":
    options["speaker_out"] = other_speaker
  return (DigitEvents if kind == "events" else Digits)(**options)


def _arrays_pair(options, modalities):
  if not options["path"]:
    raise InputError("data.path is empty; name a file or folder of features")
  whole = _opened(options["path"], options["missing"], modalities)
  if options["validation"]:
    path, missing = options["validation"], options["missing"]
    return whole, _opened(path, missing, modalities)
  return arrays.split(whole, options["holdout"], options["holdout_seed"])


def _arrays(options, kind, split):
  path = options["other" if kind == "other" else split]
  return _opened(path, options["missing"])


def _media_pair(options, modalities):
  from unirep.data.datasets import extracted

  return extracted.pair(options, modalities)


def _media(options, kind, split):
  from unirep.data.datasets import extracted

  return extracted.source(options, kind, split)


def _recorded(make):
  """A source of few recordings; training sees each moved in many ways."""

  def pretraining(options, modalities):
    del modalities
    size, moved = options.pop("train_size"), options.pop("moved")
    train = make("train", size=size, moved=moved, **options)
    return train, make("validation", **options)

  def downstream(options, kind, split):
    del kind
    return make(split, **options)

  return Uses(pretraining, downstream)


def _grid(split, **options):
  from unirep.data.datasets.grid import Grid

  return Grid(split, **options)


def _utd(split, **options):
  from unirep.data.datasets.utd import Utd

  return Utd(split, **options)


def _release(name, *kinds, pretraining=False):
  """An official release."""

  def pair(options, modalities):
    del modalities
    from unirep.data.datasets import releases

    return releases.pair(name, options)

  def downstream(options, kind, split):
    from unirep.data.datasets import releases

    return releases.source(name, options, kind, split)

  if pretraining:
    return Uses(pair, None)
  return Uses(None, downstream, ("clips", *kinds))


def _opened(path, missing, modalities=None):
  """The source of a path: a Python file makes one, others are features."""
  if scripts.find(path):
    return scripts.source(path)
  return arrays.load(path, modalities=modalities, missing=missing)


SOURCES = {
  "synthetic": _generated(_synthetic),
  "digits": _generated(_digits)._replace(kinds=("clips", "events", "other")),
  "arrays": Uses(_arrays_pair, _arrays, ("clips", "other")),
  "grid": _recorded(_grid),
  "utd": _recorded(_utd),
  "media": Uses(_media_pair, _media),
  "avel": _release("avel", pretraining=True),
  "ave": _release("ave"),
  "avvp": _release("avvp"),
  "ave_avvp": _release("ave_avvp", "events"),
  "ucf_vgg": _release("ucf_vgg", "other"),
  "clotho": _release("clotho"),
  "coco": _release("coco"),
  "msvd": _release("msvd"),
  "flickr_sound": _release("flickr_sound"),
  "valor": _release("valor"),
}
