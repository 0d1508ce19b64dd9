"""UCF101 <-> VGGSound: classes seen in one set, and heard in the other."""

import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from unirep.data.annotations import clips as labels
from unirep.data.datasets.clips import Clips, Stored
from unirep.data.release import lists, stores

SIDES = {"ucf": "ucf2vggsound.csv", "vgg": "vggsound2ucf.csv"}
SPLITS = ("train", "validation", "test")
PARTS = tuple(f"{side}_{split}" for side in SIDES for split in SPLITS)
CLASSES = "UCF101sameVGGSound.txt", "VGGSoundsameUCF101.txt"


def read(options: Mapping[str, Any], part: str) -> Clips:
  """The clips of a split of one side, with the label "class".

  The list of UCF101 has no splits, so that they are made here: all clips of a
  group (of one person, say) are in one. UCF101 has video, VGGSound has audio.

  Args:
    options: `labels`, a folder of the lists; `features_ucf`, one of video/zip,
      and `features_vgg`, one of audio/zip.
    part: of `PARTS`.

  Raises:
    InputError: for a missing, broken or short list.
  """
  side, split = part.split("_")
  folder = pathlib.Path(options["labels"])
  path = folder / SIDES[side]
  clips = labels.ucf_vgg(path, *(folder / name for name in CLASSES))
  lists.check_rows(path, len(clips.ids_N), options["whole"])
  if side == "ucf":
    store = "video", stores.video(options["features_ucf"], options, fill=True)
    split_N = np.array([_split(x) for x in clips.ids_N.tolist()])
  else:
    store = "audio", stores.audio(options["features_vgg"], options)
    split_N = np.where(clips.split_N == "val", "validation", clips.split_N)
  mine = split_N == split
  stored = {store[0]: Stored(store[1], clips.ids_N[mine])}
  return Clips(
    clips.ids_N[mine], stored, {"class": clips.label_N[mine]}, lists=[path]
  )


def _split(name: str) -> str:
  """The split of `v_CLASS_gNN_cNN`, by its group: one person, one split."""
  group = name.rpartition("_c")[0] or name
  share = zlib.crc32(group.encode()) % 5
  return "test" if share == 0 else "validation" if share == 1 else "train"
