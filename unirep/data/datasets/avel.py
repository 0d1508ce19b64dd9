"""VGGSound-AVEL: video, sound and the prompt of a class, to learn from."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from unirep.data.annotations import clips as labels
from unirep.data.datasets import texts
from unirep.data.datasets.clips import Clips, Stored
from unirep.data.release import lists
from unirep.data.release.stores import Zips
from unirep.runtime.errors import InputError

PARTS = ("train", "val", "test")
STEPS = 10
CATEGORIES = "VggsoundAVEL40kCategories.txt"
PROMPTS = "vggsoundCategories2Prompts.csv"


def read(options: Mapping[str, Any], part: str) -> Clips:
  """The clips of a split, with the label "class".

  Args:
    options: `labels`, a folder of `list`, the categories and their prompts;
      `features`, one of audio/zip and video/zip; and those of `texts.embed`.
    part: of `PARTS`.

  Raises:
    InputError: for a broken or short list, or a category without a prompt.
  """
  folder = pathlib.Path(options["labels"])
  path, said = folder / options["list"], folder / PROMPTS
  found = labels.vggsound(path, folder / CATEGORIES)
  lists.check_rows(path, len(found.ids_N), options["whole"])
  prompts = labels.prompts(said)
  lists.check_rows(said, len(prompts), options["whole"])
  lost = [name for name in found.names if name not in prompts]
  if lost:
    raise InputError(f"{said} has no prompt of {lost[0]!r}")
  vectors = texts.embed([prompts[name] for name in found.names], options)
  mine = found.split_N == part
  label_N = found.label_N[mine]
  return Clips(
    found.ids_N[mine],
    pair(options, found.ids_N[mine]),
    {"class": label_N},
    texts=(vectors, label_N),
    lists=[path, said],
  )


def pair(options: Mapping[str, Any], id_N: np.ndarray) -> dict[str, Stored]:
  """Video and audio of clips in the field's usual folders."""
  return {
    "video": Stored(video(options["features"], options), id_N),
    "audio": Stored(audio(options["features"], options), id_N),
  }


def video(folder: str, options: Mapping[str, Any], fill: bool = False) -> Zips:
  """Grids of ten seconds, refused where there are more or fewer."""
  place = pathlib.Path(folder, "video", "zip")
  return Zips(place, 4, STEPS, fill, options["limit"] * 2**20)


def audio(folder: str, options: Mapping[str, Any]) -> Zips:
  """Vectors of ten seconds: the last is repeated, or what is more is cut."""
  place = pathlib.Path(folder, "audio", "zip")
  return Zips(place, 2, STEPS, True, options["limit"] * 2**20)
