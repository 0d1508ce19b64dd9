"""VGGSound-AVEL: video, sound and the prompt of a class, to learn from."""

import pathlib
from collections.abc import Mapping
from typing import Any

from unirep.data.annotations import clips as labels
from unirep.data.datasets import texts
from unirep.data.datasets.clips import Clips
from unirep.data.release import lists, stores
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
  path, prompts_path = folder / options["list"], folder / PROMPTS
  clips = labels.vggsound(path, folder / CATEGORIES)
  lists.check_rows(path, len(clips.ids_N), options["whole"])
  prompts = labels.prompts(prompts_path)
  lists.check_rows(prompts_path, len(prompts), options["whole"])
  lost = [name for name in clips.names if name not in prompts]
  if lost:
    raise InputError(f"{prompts_path} has no prompt of {lost[0]!r}")
  vectors = texts.embed([prompts[name] for name in clips.names], options)
  mine = clips.split_N == part
  label_N = clips.label_N[mine]
  return Clips(
    clips.ids_N[mine],
    stores.pair(options, clips.ids_N[mine]),
    {"class": label_N},
    texts=(vectors, label_N),
    lists=[path, prompts_path],
  )
