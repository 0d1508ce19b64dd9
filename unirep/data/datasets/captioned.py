"""Clips and photos with captions, for retrieval: five sets with a list each.

A sample is a caption and its clip or photo. All captions of one clip or photo
have the same label "id". Shapes: N samples.
"""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from unirep.data.annotations.tables import read_rows
from unirep.data.datasets import texts
from unirep.data.datasets.clips import Clips, Stored
from unirep.data.release import lists, stores
from unirep.runtime.errors import InputError

PARTS = ("test",)
CAPTIONS = tuple(f"caption_{n}" for n in range(1, 6))

FOLDERS = {"video": stores.pictures, "audio": stores.audio}


class Set(NamedTuple):
  """The list and the modalities of a set.

  Attributes:
    rows: path -> (id, caption) pairs, in the order of the list. In a set
      without captions, they are "".
    modalities: all but text.
  """

  rows: Callable[[pathlib.Path], list[tuple[str, str]]]
  modalities: tuple[str, ...]


def clotho(path: pathlib.Path) -> list[tuple[str, str]]:
  """Five captions a sound; the released reader reads a fifth of the sounds."""
  rows = read_rows(path, ("file_name", *CAPTIONS))
  return [
    (row.cells["file_name"].rpartition(".")[0], row.cells[name])
    for row in rows
    for name in CAPTIONS
  ]


def coco(path: pathlib.Path) -> list[tuple[str, str]]:
  """Photos by number, which has twelve digits in the names of files."""
  entries = lists.read_json(path, "annotations", ("image_id", "caption"))
  return [(x.zfill(12), caption) for x, caption in entries]


def msvd(path: pathlib.Path) -> list[tuple[str, str]]:
  """Many captions a video."""
  rows = read_rows(path, ("video_name", "caption"))
  return [(row.cells["video_name"], row.cells["caption"]) for row in rows]


def flickr_sound(path: pathlib.Path) -> list[tuple[str, str]]:
  """Video and sound, and no caption."""
  rows = read_rows(path, ("filename",))
  return [(row.cells["filename"], "") for row in rows]


def valor(path: pathlib.Path) -> list[tuple[str, str]]:
  """One caption a video, of its pictures and its sound."""
  return lists.read_json(path, "annotations", ("video_id", "desc"))


SETS = {
  "clotho": Set(clotho, ("audio",)),
  "coco": Set(coco, ("video",)),
  "msvd": Set(msvd, ("video",)),
  "flickr_sound": Set(flickr_sound, ("video", "audio")),
  "valor": Set(valor, ("video", "audio")),
}


def reader(name: str) -> Callable[[Mapping[str, Any], str], Clips]:
  """The function that reads a set of `SETS`."""

  def read(options, part):
    del part
    return _read(SETS[name], options)

  return read


def _read(one: Set, options: Mapping[str, Any]) -> Clips:
  """The clips of `list`, a file in the folder `labels`.

  Raises:
    InputError: for a missing, broken or short list, or a caption twice.
  """
  path = pathlib.Path(options["labels"], options["list"])
  pairs = one.rows(path)
  each = len(CAPTIONS) if one.rows is clotho else 1
  lists.check_rows(path, len(pairs) // each, options["whole"])
  _check(path, pairs, "text" if pairs[0][1] else "")
  number = {x: n for n, x in enumerate(dict.fromkeys(x for x, _ in pairs))}
  pool = options["pool"]
  if not 0 <= pool <= len(number):
    raise InputError(f"data.pool={pool}: {path} has {len(number)} things")
  pairs = [(x, said) for x, said in pairs if not pool or number[x] < pool]
  id_N = np.array([x for x, _ in pairs])
  stored = {}
  for m in one.modalities:
    stored[m] = Stored(FOLDERS[m](options["features"], options), id_N)
  vectors = None
  if pairs[0][1]:
    vectors = texts.embed([said for _, said in pairs], options)
  return Clips(
    id_N,
    stored,
    {"id": np.array([number[x] for x, _ in pairs], np.int32)},
    texts=vectors and (vectors, np.arange(len(pairs))),
    lists=[path],
  )


def _check(path, pairs, captioned) -> None:
  """Raises InputError for rows that are empty, or there twice."""
  seen = set()
  for name, said in pairs:
    if not name or bool(said.strip()) != bool(captioned):
      raise InputError(f"{path}: {name!r} has the caption {said!r}")
    if (name, said) in seen and not captioned:
      raise InputError(f"{path}: {name!r} is there twice")
    seen.add((name, said))
