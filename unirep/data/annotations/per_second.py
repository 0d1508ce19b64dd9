"""Per-second event labels from the annotation files of AVE and AVVP (LLP).

A fault in those files is either repaired, with one logged line that says where
and how, or refused with an `InputError` that says where.

Shapes: N videos chosen of M, T one-second segments, C classes (A those of AVE),
the last of which is background.
"""

import logging
import pathlib
from typing import NamedTuple, get_args

import numpy as np

from unirep.data import hdf5
from unirep.data.annotations.dense import ID, Repair, read_videos
from unirep.data.annotations.tables import (
  TIME,
  Path,
  class_list,
  read_order,
  read_rows,
  read_second,
)
from unirep.runtime.errors import InputError

SPLITS = ("train", "val", "test")

_AVE = ("Category", "VideoID", "Quality", "StartTime", "EndTime")
_WEAK = ("filename", "event_labels")
_WEAK_FILES = ("AVVP_train.csv", "AVVP_val_pd.csv", "AVVP_test_pd.csv")

_log = logging.getLogger(__name__)


class Events(NamedTuple):
  """Videos and the events in each of their seconds.

  Attributes:
    ids_N: the 11 characters that name a video, and its feature file.
    label_NxTxC: int8 0 or 1; the last column is 1 where no other one is.
    names: the C - 1 event classes, in the order of the columns.
    split_N: "train", "val", "test", or "" for a video in no list.
    index_N: int64 row of each video in its dataset's feature arrays.
  """

  ids_N: np.ndarray
  label_NxTxC: np.ndarray
  names: tuple[str, ...]
  split_N: np.ndarray
  index_N: np.ndarray


def ave(path: Path, orders: Path | None = None) -> Events:
  """Reads AVE's Annotations.txt: row i is sample i of every AVE array.

  A class is numbered by its first appearance. A row that ends at its start is
  all background, and logged.

  Args:
    path: the file, `&` separated, with or without its header line.
    orders: folder of train_order.h5, val_order.h5 and test_order.h5.

  Raises:
    InputError: naming file and line, for a missing file, a damaged row or id,
      or an interval that is reversed or not within 0..10; or for an order that
      is no part of a partition.
  """
  rows = read_rows(path, _AVE, delimiter="&", header=False)
  names = list(dict.fromkeys(row.cells["Category"] for row in rows))
  label_NxTxC = np.zeros((len(rows), TIME, len(names) + 1), np.int8)
  for n, (where, cells) in enumerate(rows):
    name, video = cells["Category"], cells["VideoID"]
    if not name or name != name.strip():
      raise InputError(f"{where}: Category must be a name, got {name!r}")
    if not ID.fullmatch(video):  # it would go unseen by shared_ids
      raise InputError(f"{where}: VideoID must be 11 characters, got {video!r}")
    start = read_second(where, "StartTime", cells["StartTime"])
    end = read_second(where, "EndTime", cells["EndTime"])
    if start > end:
      raise InputError(f"{where}: StartTime {start} is after EndTime {end}")
    if start == end:
      _log.warning(
        "%s: sample %d (%s, %s) lasts from %d to %d; all background",
        *(where, n, video, name, start, end),
      )
    label_NxTxC[n, start:end, names.index(name)] = 1
  ids_N = np.array([row.cells["VideoID"] for row in rows])
  split_N = _order_splits(orders, len(rows))
  shared = shared_ids(ids_N, split_N)
  if len(shared):
    _log.warning(
      "%s: %d videos are in train and also in val or test; see shared_ids",
      *(path, len(shared)),
    )
  _add_background(label_NxTxC)
  return Events(ids_N, label_NxTxC, tuple(names), split_N, np.arange(len(rows)))


def shared_ids(ids_N: np.ndarray, split_N: np.ndarray) -> np.ndarray:
  """The sorted ids that are in train and also in val or test.

  AVE has such videos, under two classes; `~np.isin(ids_N, shared_ids(...))`
  are the rows without them.
  """
  train_N = split_N == "train"
  held_N = np.isin(split_N, ("val", "test"))
  return np.intersect1d(ids_N[train_N], ids_N[held_N])


def ave_avvp(
  annotations: Path,
  labels: Path,
  order: Path,
  categories: Path,
  orders: Path | None = None,
) -> Events:
  """Reads the AVE side of AVE -> AVVP: the videos of the 12 shared classes.

  The AVVP side is `avvp` with the same categories.

  Args:
    annotations: AVE's Annotations.txt.
    labels: ave_avvp_labels.h5, (all AVE, T, C); only the ordered rows hold.
    order: ave_avvp_order.h5, the N rows; they become `index_N`.
    categories: AVE_AVVP_Categories.txt.
    orders: as in `ave`.

  Raises:
    InputError: as `ave` and `class_list`, for a wrong order or shape, or for a
      row of the labels that is not that row of the annotations, each AVE class
      being one column.
  """
  source = ave(annotations, orders)
  names = class_list(categories)
  index_N = read_order(order, len(source.ids_N))
  all_MxTxC = hdf5.array(labels, "avadataset")
  shape = (len(source.ids_N), TIME, len(names) + 1)
  if all_MxTxC.shape != shape or all_MxTxC.dtype.kind not in "fiub":
    raise InputError(
      f"{labels} must hold numbers of shape {shape}, got {all_MxTxC.dtype} of"
      f" shape {all_MxTxC.shape}"
    )
  label_NxTxC, event_NxTxA = all_MxTxC[index_N], source.label_NxTxC[index_N]
  present_A = event_NxTxA[..., :-1].any((0, 1))
  votes_AxC = np.tensordot(event_NxTxA, label_NxTxC, ((0, 1), (0, 1)))[:-1, :-1]
  # Row c of the map is the column that AVE's class c has here.
  map_AxC = np.eye(shape[2])[np.append(votes_AxC.argmax(axis=1), len(names))]
  wrong_N = (label_NxTxC != event_NxTxA @ map_AxC).any((1, 2))
  if wrong_N.any():
    row = index_N[wrong_N.argmax()]
    raise InputError(
      f"{labels}, row {row}: not one-hot, or other than sample {row} of"
      f" {annotations}"
    )
  if (map_AxC[:-1][present_A].sum(axis=0) > 1).any():
    raise InputError(f"{labels}: two AVE classes share one column")
  return Events(
    source.ids_N[index_N],
    label_NxTxC.astype(np.int8),
    names,
    source.split_N[index_N],
    index_N,
  )


def avvp(
  path: Path,
  categories: Path,
  *,
  splits: Path | None = None,
  repair: Repair = "drop",
) -> Events:
  """Reads a dense AVVP file; all rows of one video become one sample.

  Rows are of one event, or of comma lists of them; equal and overlapping
  events are combined with OR. A row is dropped if its name is not an id of 11
  characters and ten seconds; a backtick at its end is stripped. A video without
  an event left is kept, all background. All of this is logged.

  Args:
    path: filename, onset, offset and event_labels; TAB or comma separated.
    categories: the class list, AVVP's 25 or the 12 shared with AVE.
    splits: folder of AVVP_train.csv, AVVP_val_pd.csv and AVVP_test_pd.csv.
    repair: "drop" leaves out an event with an offset not after its onset, as
      slicing would; nothing is invented. "widen" makes an event of no length
      one second long, as the AVE -> AVVP files do, and still drops a reversed
      one. "refuse" raises.

  Raises:
    InputError: naming file and line, for a missing file, lists of unequal
      length, a label that is no class, an onset or offset not within 0..10, or
      two clips of one id.
  """
  if repair not in get_args(Repair):
    raise InputError(
      f"repair must be {', '.join(get_args(Repair))}, got {repair!r}"
    )
  names = class_list(categories)
  columns = {name: c for c, name in enumerate(names)}
  videos = read_videos(path, columns, repair)
  label_NxTxC = np.zeros((len(videos), TIME, len(names) + 1), np.int8)
  equal = overlaps = 0
  for n, video in enumerate(videos.values()):
    equal += len(video.events) - len(set(video.events))
    for onset, offset, column in dict.fromkeys(video.events):
      overlaps += bool(label_NxTxC[n, onset:offset, column].any())
      label_NxTxC[n, onset:offset, column] = 1
    if not video.events:
      _log.warning("%s: %s is all background", video.where, video.clip)
  if equal or overlaps:
    _log.warning(
      "%s: %d repeated events, and %d that overlap one of their class; OR",
      *(path, equal, overlaps),
    )
  _add_background(label_NxTxC)
  ids_N = np.array(list(videos))
  split_N = _weak_splits(path, ids_N, splits)
  return Events(ids_N, label_NxTxC, names, split_N, np.arange(len(videos)))


def _add_background(label_NxTxC: np.ndarray) -> None:
  label_NxTxC[..., -1] = ~label_NxTxC[..., :-1].any(axis=-1)


def _order_splits(folder: Path | None, size: int) -> np.ndarray:
  split_N = np.full(size, "", "<U5")
  if folder is None:
    return split_N
  for split in SPLITS:
    path = pathlib.Path(folder, f"{split}_order.h5")
    order = read_order(path, size)
    taken = order[split_N[order] != ""]
    if len(taken):
      raise InputError(
        f"{path}: sample {taken[0]} is in {split_N[taken[0]]} too"
      )
    split_N[order] = split
  lost = int(np.sum(split_N == ""))
  if lost:
    _log.warning("%s: %d samples are in no split", folder, lost)
  return split_N


def _weak_splits(
  path: Path, ids_N: np.ndarray, folder: Path | None
) -> np.ndarray:
  if folder is None:
    return np.full(len(ids_N), "", "<U5")
  of: dict[str, str] = {}
  for split, file in zip(SPLITS, _WEAK_FILES, strict=True):
    for row in read_rows(pathlib.Path(folder, file), _WEAK):
      video = row.cells["filename"][:11]
      if of.setdefault(video, split) != split:
        raise InputError(f"{row.where}: {video} is in {of[video]} too")
  split_N = np.array([of.get(video, "") for video in ids_N.tolist()], "<U5")
  lost = ids_N[split_N == ""].tolist()
  if lost:
    _log.warning("%s: in no split: %s", path, ", ".join(lost))
  return split_N
