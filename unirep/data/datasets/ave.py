"""AVE: clips of one event with features that others extracted.

Needs the two feature files of the AVE authors and their annotations, none of
which may be redistributed here.
"""

import pathlib
from typing import Any

import numpy as np

from unirep.data import hdf5
from unirep.data.annotations import per_second
from unirep.data.sample import Sample
from unirep.errors import InputError
from unirep.reading import doors

FEATURES = {"video": "visual_feature.h5", "audio": "audio_feature.h5"}
KEY = "avadataset"
SPLITS = {"train": "train", "validation": "val", "test": "test"}


class Ave:
  """One split of AVE, read from disk sample by sample.

  Samples hold video (10, 7, 7, 512) and audio (10, 128), no lengths, and
    labels: class (), the event; events/video and events/audio (10, 29), 1 for
      what is on in a second, background last.

  Args:
    split: "train", "validation" or "test".
    features: folder of `visual_feature.h5` and `audio_feature.h5`.
    labels: folder of `Annotations.txt` and the three `*_order.h5`.
    spare_shared: leaves videos out of the train split that are also in another
      split, under another label.

  Raises:
    InputError: for a missing or broken file, or features that are not one row
      an annotation.
  """

  def __init__(
    self,
    split: str,
    *,
    features: str,
    labels: str,
    spare_shared: bool = True,
  ):
    folder = pathlib.Path(labels)
    events = per_second.ave(folder / "Annotations.txt", folder)
    mine = events.split_N == SPLITS[split]
    if split == "train" and spare_shared:
      shared = per_second.shared_ids(events.ids_N, events.split_N)
      mine &= ~np.isin(events.ids_N, shared)
    self._row_N = events.index_N[mine]
    self._label_NxTxC = events.label_NxTxC[mine]
    self._paths = {m: pathlib.Path(features) / f for m, f in FEATURES.items()}
    self._open: dict[str, Any] = {}
    for m, path in self._paths.items():
      size = len(self._array(m))
      if size != len(events.ids_N):
        raise InputError(
          f"{path}: {size} clips, but {len(events.ids_N)} annotations"
        )

  def __len__(self) -> int:
    return len(self._row_N)

  def __getitem__(self, index: int, /) -> Sample:
    index = range(len(self))[index]
    row, label_TxC = int(self._row_N[index]), self._label_NxTxC[index]
    features = {}
    for m, path in self._paths.items():
      with doors.reading(path):
        features[m] = self._array(m)[row].astype(np.float32)
    return {
      "features": features,
      "lengths": {},
      "labels": {
        "class": np.array(label_TxC[:, :-1].sum(0).argmax(), np.int32),
        "events/video": label_TxC,
        "events/audio": label_TxC,
      },
    }

  def __getstate__(self):
    return self.__dict__ | {"_open": {}}  # a file handle can't be pickled

  def _array(self, m: str):
    if m not in self._open:
      self._open[m] = hdf5.dataset(self._paths[m], KEY)
    return self._open[m]
