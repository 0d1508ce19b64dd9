"""Official releases by name: their parts, and the uses of each.

A part is read, checked and converted as one. A split consists of one part or
more.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from unirep.data import sample as samples
from unirep.data.datasets import ave, avel, avvp, captioned, ucf_vgg
from unirep.data.datasets.clips import Clips
from unirep.data.datasets.converted import Converted
from unirep.data.release import lists
from unirep.data.sample import Sample, Source
from unirep.runtime.errors import InputError

# Options that say where files are, or choose clips. All others decide the
# contents of a sample.
PLACES = {
  *("labels", "labels_ave", "labels_avvp", "features", "features_ave"),
  *("features_avvp", "features_ucf", "features_vgg", "converted", "exclude"),
  *("limit", "whole", "learn_from", "held_out", "first"),
  *("source", "clips"),
}


class Release(NamedTuple):
  """An official release.

  Attributes:
    parts: the names of its parts.
    read: (options, part) -> clips; their features may be missing.
    use: (options, kind, split) -> names of parts; see `data.sources`.
    groups: part -> suffix of the name of its converted data set, for parts
      whose samples have other features or labels.
  """

  parts: tuple[str, ...]
  read: Callable[[Mapping[str, Any], str], Clips]
  use: Callable[[Mapping[str, Any], str, str], Sequence[str]]
  groups: Mapping[str, str] = {}


def _by_name(options, kind, split):
  del options, kind
  return (split,)


def _avel(options, kind, split):
  del kind
  return options["learn_from"] if split == "train" else (options["held_out"],)


def _avvp(options, kind, split):
  del kind
  return avvp.PARTS if options["clips"] == "all" else (split,)


def _ave_avvp(options, kind, split):
  """Clips of AVE by split, events of AVVP."""
  if kind == "events":
    return ("avvp",)
  return ave.PARTS if options["clips"] == "all" else (split,)


def _ucf_vgg(options, kind, split):
  """Trains on one side, tests on all of the other."""
  first = options["first"]
  if first not in ucf_vgg.SIDES:
    raise InputError(f"data.first={first!r} is not one of {(*ucf_vgg.SIDES,)}")
  other = next(x for x in ucf_vgg.SIDES if x != first)
  side = other if kind == "other" else first
  whole = kind == "other" or options["clips"] == "all"
  return [f"{side}_{x}" for x in (ucf_vgg.SPLITS if whole else (split,))]


def _one(options, kind, split):
  del options, kind, split
  return captioned.PARTS


RELEASES = {
  "avel": Release(avel.PARTS, avel.read, _avel),
  "ave": Release(ave.PARTS, ave.read, _by_name),
  "avvp": Release(avvp.PARTS, avvp.read, _avvp),
  "ave_avvp": Release(
    avvp.SHARED_PARTS, avvp.shared, _ave_avvp, {"avvp": "_tested"}
  ),
  "ucf_vgg": Release(
    ucf_vgg.PARTS,
    ucf_vgg.read,
    _ucf_vgg,
    {part: f"_{part.partition('_')[0]}" for part in ucf_vgg.PARTS},
  ),
  **{
    name: Release(captioned.PARTS, captioned.reader(name), _one)
    for name in captioned.SETS
  },
}


def pair(name: str, options: Mapping[str, Any]) -> tuple[Source, Source]:
  """Training and held-out samples of a pretraining run."""
  return source(name, options, "clips", "train"), source(
    name, options, "clips", "validation"
  )


def source(
  name: str, options: Mapping[str, Any], kind: str, split: str
) -> Source:
  """The samples of a split, from the release or a conversion of it.

  Raises:
    InputError: for files that are missing or broken, an unknown part, or no
      clip.
  """
  release = RELEASES[name]
  parts = [*dict.fromkeys(release.use(options, kind, split))]
  for part in parts:
    if part not in release.parts:
      raise InputError(f"data: {part!r} is not one of {release.parts}")
  exclude = lists.read_ids(options["exclude"]) if options["exclude"] else ()
  if options["converted"]:
    plain = meaning(name, options)
    sources = [
      Converted(options["converted"], stored(name, part), part, plain, exclude)
      for part in parts
    ]
  else:
    check(options)
    sources = [
      release.read(options, part).without(exclude).require() for part in parts
    ]
  sources = [x for x in sources if len(x)]
  if not sources:
    raise InputError(f"data.source={name}, {split} split: there are no clips")
  return sources[0] if len(sources) == 1 else Joined(sources)


def check(options: Mapping[str, Any]) -> None:
  """Raises InputError for an empty path, or a limit below 1 MB."""
  for key in options:
    if key.split("_")[0] in ("labels", "features") and not options[key]:
      raise InputError(
        f"data.{key} is empty; name the folder that docs/releases.md describes"
      )
  if options["limit"] < 1:
    raise InputError(f"data.limit={options['limit']} must be at least 1 MB")


def stored(name: str, part: str) -> str:
  """The name of the data set that a part is converted to."""
  return name + RELEASES[name].groups.get(part, "")


def meaning(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
  """The options that decide the contents of samples, as JSON values."""
  return {
    "source": name,
    **{k: options[k] for k in sorted(options) if k not in PLACES},
  }


class Joined:
  """Several sources as one, one behind the other."""

  def __init__(self, parts: Sequence[Any]):
    self._parts = list(parts)

  @property
  def concurrent(self) -> bool:
    """Whether all sources are, see `data.sample.Source`."""
    return all(getattr(x, "concurrent", False) for x in self._parts)

  def __len__(self) -> int:
    return sum(len(x) for x in self._parts)

  def __getitem__(self, index: int, /) -> Sample:
    part, row = self._find(index)
    return part[row]

  def stored(self, index: int) -> Sample:
    """See `data.sample.stored`."""
    return samples.stored(*self._find(index))

  def _find(self, index):
    index = range(len(self))[index]
    for part in self._parts:
      if index < len(part):
        return part, index
      index -= len(part)
    raise IndexError(index)

  def files(self) -> list[str]:
    """The files of all sources, see `data.identity`."""
    return [x for part in self._parts for x in part.files()]
