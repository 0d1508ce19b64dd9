"""AVE: clips of one event, with the features of its authors.

It needs their two feature files and their annotations, which may not be
redistributed here.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from unirep.data.annotations import per_second
from unirep.data.annotations.per_second import Events
from unirep.data.datasets.clips import Clips, Stored
from unirep.data.release import lists
from unirep.data.release.stores import Rows

FEATURES = {"video": ("visual_feature.h5", 4), "audio": ("audio_feature.h5", 2)}
KEY = "avadataset"
SPLITS = {"train": "train", "validation": "val", "test": "test"}
PARTS = tuple(SPLITS)


def read(options: Mapping[str, Any], part: str) -> Clips:
  """One split of AVE.

  Samples hold video (10, 7, 7, 512) and audio (10, 128), no lengths, and
    labels: class (), the event; events/video and events/audio (10, 29), 1 for
      each event in a second, background last.

  Args:
    options: `features`, a folder of `visual_feature.h5` and
      `audio_feature.h5`; `labels`, one of `Annotations.txt` and the three
      `*_order.h5`; `spare_shared` leaves those videos out of the train split
      that are also in another split, under another label.
    part: "train", "validation" or "test".

  Raises:
    InputError: for a missing or broken file, or features that are not one row
      an annotation.
  """
  folder = pathlib.Path(options["labels"])
  path = folder / "Annotations.txt"
  events = per_second.ave(path, folder)
  lists.check_rows(path, len(events.ids_N), options["whole"])
  return of_split(options, events, events, part, path)


def of_split(
  options: Mapping[str, Any],
  events: Events,
  whole: Events,
  part: str,
  path: pathlib.Path,
) -> Clips:
  """The clips of a split of AVE, or of some of AVE.

  Args:
    options: as of `read`.
    events: the clips to take the split of.
    whole: all clips of AVE, each a row of the feature files.
    part: "train", "validation" or "test".
    path: of the annotations.
  """
  mine_N = events.split_N == SPLITS[part]
  if part == "train" and options["spare_shared"]:
    shared = per_second.shared_ids(whole.ids_N, whole.split_N)
    mine_N &= ~np.isin(events.ids_N, shared)
  label_NxTxC, row_N = events.label_NxTxC[mine_N], events.index_N[mine_N]
  stored = {
    m: Stored(
      Rows(
        pathlib.Path(options["features"], file), KEY, len(whole.ids_N), axes
      ),
      row_N,
    )
    for m, (file, axes) in FEATURES.items()
  }
  labels = {
    "class": label_NxTxC[..., :-1].sum(1).argmax(-1).astype(np.int32),
    "events/video": label_NxTxC,
    "events/audio": label_NxTxC,
  }
  return Clips(events.ids_N[mine_N], stored, labels, lists=[path])
