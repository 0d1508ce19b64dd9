"""AVVP (LLP): events seen and heard in each second, also as a test of AVE.

Shapes: N videos, T seconds, C classes, the last of which is background.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from unirep.data.annotations import per_second
from unirep.data.annotations.per_second import Events
from unirep.data.datasets import ave
from unirep.data.datasets.clips import Clips
from unirep.data.release import lists, stores

DENSE = {
  "video": "eval_visual_checked_combined.csv",
  "audio": "eval_audio_checked_combined.csv",
}
# Every fifth video of the val list is for validation, the others are for
# training; the rest are videos of no list.
PARTS = ("train", "validation", "test", "rest")
SHARED_PARTS = (*ave.PARTS, "avvp")
_EVERY = 5


def read(options: Mapping[str, Any], part: str) -> Clips:
  """The videos of a part of AVVP.

  Samples hold video and audio, and labels events/video and events/audio
  (10, 26), background last. A modality is missing if its file has no row of the
  video.

  Args:
    options: `labels`, a folder of the two dense files, the class list and the
      lists of splits; `features`, one of audio/zip and video/zip; `repair`, see
      `annotations.avvp`.
    part: of `PARTS`.

  Raises:
    InputError: for a missing, broken or short file.
  """
  folder = pathlib.Path(options["labels"])
  sides = _sides(options, folder, "AVVP_", "AVVP_Categories.txt", folder)
  split = {}
  for events in sides.values():
    split |= dict(zip(events.ids_N.tolist(), events.split_N, strict=True))
  val = sorted(x for x, s in split.items() if s == "val")
  chosen = dict.fromkeys(val, "train")
  chosen |= dict.fromkeys(val[::_EVERY], "validation")
  names = {"test": "test", "": "rest", "train": "rest"}
  ids = [x for x, s in split.items() if (chosen.get(x) or names[s]) == part]
  return _joined(options, sides, ids, folder, "AVVP_")


def shared(options: Mapping[str, Any], part: str) -> Clips:
  """AVE's clips of the classes that AVVP has, or "avvp", the videos of these.

  Args:
    options: as of `read` and `ave.read`, with `labels_ave`, `labels_avvp`
      (AVE_AVVP_*.csv, ave_avvp_*.h5 and the class list), `features_ave` and
      `features_avvp`.
    part: of `SHARED_PARTS`.

  Raises:
    InputError: as these.
  """
  both, own = (pathlib.Path(options[f"labels_{x}"]) for x in ("avvp", "ave"))
  names = both / "AVE_AVVP_Categories.txt"
  if part == "avvp":
    sides = _sides(options, both, "AVE_AVVP_", names.name, None)
    ids = [*dict.fromkeys(x for e in sides.values() for x in e.ids_N.tolist())]
    avvp_options = {**options, "features": options["features_avvp"]}
    return _joined(avvp_options, sides, ids, both, "AVE_AVVP_")
  path = own / "Annotations.txt"
  whole = per_second.ave(path, own)
  lists.check_rows(path, len(whole.ids_N), options["whole"])
  order = both / "ave_avvp_order.h5"
  events = per_second.ave_avvp(
    path, both / "ave_avvp_labels.h5", order, names, own
  )
  ave_options = {**options, "features": options["features_ave"]}
  return ave.of_split(ave_options, events, whole, part, path)


def _sides(options, folder, prefix, names, splits) -> dict[str, Events]:
  """The events of each modality."""
  repair: Literal["drop", "widen", "refuse"] = options["repair"]
  sides = {}
  for m, file in DENSE.items():
    path = folder / f"{prefix}{file}"
    sides[m] = per_second.avvp(
      path, folder / names, splits=splits, repair=repair
    )
    lists.check_rows(path, lists.count(path), options["whole"])
  return sides


def _joined(options, sides, ids, folder, prefix) -> Clips:
  """Videos with their labels in each modality that has some."""
  id_N = np.array(ids, "<U11")
  labels, present = {}, {}
  for m, events in sides.items():
    row = {x: i for i, x in enumerate(events.ids_N.tolist())}
    row_N = np.array([row.get(x, -1) for x in ids], int)
    present[m] = row_N >= 0
    labels[f"events/{m}"] = events.label_NxTxC[row_N] * present[m][
      :, None, None
    ].astype(np.int8)
  files = [folder / f"{prefix}{x}" for x in DENSE.values()]
  stored = stores.pair(options, id_N)
  return Clips(id_N, stored, labels, present=present, lists=files)
