"""Clips of one class each: the VGGSound, UCF101 and prompt lists.

A fault in those files is either repaired, with one logged line that says where
and how, or refused with an `InputError` that says where.

Shapes: N clips.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unirep.data.annotations.tables import Path, Row, class_list, read_rows
from unirep.runtime.errors import InputError

_COLUMNS = ("category", "video_id")
_SPLITS = ("train", "val", "test")

_log = logging.getLogger(__name__)


class Clips(NamedTuple):
  """Clips and the one class of each.

  Attributes:
    ids_N: names of the clips and of their feature files.
    label_N: int32 index into `names`.
    names: the classes, also those without a clip.
    split_N: "train", "val", "test", or "" in a file without that column.
  """

  ids_N: np.ndarray
  label_N: np.ndarray
  names: tuple[str, ...]
  split_N: np.ndarray


def vggsound(path: Path, categories: Path | None = None) -> Clips:
  """Reads a VGGSound-AVEL list: category, video_id and split.

  Args:
    path: the file.
    categories: the class list; None numbers the classes by their first
      appearance, which is the order of the published list.

  Raises:
    InputError: naming file and line, for a missing file, an unknown category
      or split, or an id that is empty or there twice.
  """
  rows = read_rows(path, (*_COLUMNS, "split"))
  if categories is not None:
    return _make_clips(rows, class_list(categories))
  names = dict.fromkeys(row.cells["category"] for row in rows)
  return _make_clips(rows, tuple(names))


def ucf_vgg(path: Path, classes_ucf: Path, classes_vgg: Path) -> Clips:
  """Reads one side of UCF101 <-> VGGSound: ucf2vggsound or vggsound2ucf.

  The label is the line of the category in the list of its side, so it means the
  same on both sides. A class without a clip is logged.

  Args:
    path: a table of category, video_id and maybe split; the categories tell its
      side.
    classes_ucf: UCF101sameVGGSound.txt.
    classes_vgg: VGGSoundsameUCF101.txt, with the same classes line by line.

  Raises:
    InputError: naming file and line, for a missing file, lists of unequal
      length, a category that is not in the list of its side, an unknown split,
      or an id that is empty or there twice.
  """
  sides = class_list(classes_ucf), class_list(classes_vgg)
  if len(sides[0]) != len(sides[1]):
    raise InputError(
      f"{classes_ucf} has {len(sides[0])} classes and {classes_vgg}"
      f" {len(sides[1])}; they are paired by line"
    )
  rows = read_rows(path, _COLUMNS, optional=("split",))
  names = max(
    sides, key=lambda side: sum(row.cells["category"] in side for row in rows)
  )
  clips = _make_clips(rows, names)
  for label in sorted(set(range(len(names))) - set(clips.label_N.tolist())):
    _log.warning("%s: class %d, %r, has no clip", path, label, names[label])
  return clips


def shared_classes(first: Clips, second: Clips) -> np.ndarray:
  """The sorted labels, int32, of clips on both sides of `ucf_vgg`.

  Raises:
    InputError: if the sides have unequal numbers of classes.
  """
  if len(first.names) != len(second.names):
    raise InputError(
      f"the sides have {len(first.names)} and {len(second.names)} classes; read"
      " them with the same pair of lists"
    )
  return np.intersect1d(first.label_N, second.label_N)


def prompts(path: Path) -> dict[str, str]:
  """Reads the prompt of each class from a file of label and prompt.

  Raises:
    InputError: naming file and line, for a missing file, an empty cell or a
      label that is there twice.
  """
  texts: dict[str, str] = {}
  for where, cells in read_rows(path, ("label", "prompt")):
    label, prompt = cells["label"], cells["prompt"]
    if not label.strip() or not prompt.strip():
      raise InputError(f"{where}: label {label!r} has the prompt {prompt!r}")
    if label in texts:
      raise InputError(f"{where}: the label {label!r} is there twice")
    texts[label] = prompt
  return texts


def _make_clips(rows: Sequence[Row], names: Sequence[str]) -> Clips:
  labels = {name: n for n, name in enumerate(names)}
  places: dict[str, str] = {}
  for where, cells in rows:
    category, video = cells["category"], cells["video_id"]
    if category not in labels or category != category.strip() or not category:
      raise InputError(
        f"{where}: the category {category!r} is not in the list of"
        f" {len(names)} classes"
      )
    if not video or video in places:
      raise InputError(
        f"{where}: the id {video!r} is empty, or also at {places.get(video)}"
      )
    if cells.get("split", "train") not in _SPLITS:
      raise InputError(
        f"{where}: split must be {', '.join(_SPLITS)}, got {cells['split']!r}"
      )
    places[video] = where
  return Clips(
    ids_N=np.array(list(places)),
    label_N=np.array([labels[row.cells["category"]] for row in rows], np.int32),
    names=tuple(names),
    split_N=np.array([row.cells.get("split", "") for row in rows], "<U5"),
  )
