"""VGGSound-AVEL: video, sound and the prompt of a class, to learn from."""

import pathlib
from collections.abc import Mapping
from typing import Any

from unirep.data.annotations import clips as labels
from unirep.data.datasets import folders, texts
from unirep.data.datasets.clips import Clips
from unirep.data.release import lists
from unirep.runtime.errors import InputError

PARTS = ("train", "val", "test")
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
    folders.pair(options, found.ids_N[mine]),
    {"class": label_N},
    texts=(vectors, label_N),
    lists=[path, said],
  )
