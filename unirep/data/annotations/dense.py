"""The dense event rows of AVVP (LLP), gathered by video.

Every repair is one logged line, every refusal an `InputError`; both say where.
"""

import logging
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from unirep.data.annotations.tables import (
  TIME,
  Path,
  Row,
  read_rows,
  read_second,
)
from unirep.runtime.errors import InputError

Repair = Literal["drop", "widen", "refuse"]

_COLUMNS = ("filename", "onset", "offset", "event_labels")
ID = re.compile(r"[A-Za-z0-9_-]{11}")  # of a video
_CLIP = re.compile(rf"({ID.pattern})_(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)")

_log = logging.getLogger(__name__)


class Video(NamedTuple):
  """The events (onset, offset, class) of one clip, and its first row."""

  where: str
  clip: str
  events: list[tuple[int, int, int]]


def read_videos(
  path: Path, columns: dict[str, int], repair: Repair
) -> dict[str, Video]:
  """Reads a dense file into its videos by id, in order of appearance.

  Args:
    path: the file, as in `annotations.avvp`.
    columns: the number of each class.
    repair: as in `annotations.avvp`.

  Raises:
    InputError: as `annotations.avvp`, but for the class list and the splits.
  """
  rows = read_rows(path, _COLUMNS)
  lists = any("," in row.cells["event_labels"] for row in rows)
  videos: dict[str, Video] = {}
  for row in rows:
    clip = _clip_name(row)
    if not clip:
      continue
    first = videos.setdefault(clip[:11], Video(row.where, clip, []))
    if clip != first.clip:  # features go by the id alone
      raise InputError(
        f"{row.where}: {clip} has the video id of {first.clip} ({first.where});"
        " keep one clip of a video"
      )
    if lists and row.where != first.where:
      _log.warning("%s: %s merged with %s", row.where, clip, first.where)
    first.events.extend(_read_events(row, columns, repair))
  if not videos:
    raise InputError(f"{path} has no row with an undamaged name")
  return videos


def _clip_name(row: Row) -> str:
  """The clip's name, maybe repaired, or "" if it is damaged; logs either."""
  name = row.cells["filename"]
  clip = name.rstrip("`")
  match = _CLIP.fullmatch(clip)
  # All clips last 10 s. The one name of 370 s, beside a good one of the same
  # id, has a label that its video lacks: it is no second row of that video.
  if not match or abs(float(match[3]) - float(match[2]) - TIME) > 1e-3:
    _log.warning("%s: damaged name %r; row dropped", row.where, name)
    return ""
  if clip != name:
    _log.warning("%s: filename %r read as %r", row.where, name, clip)
  return clip


def _read_events(
  row: Row, columns: dict[str, int], repair: Repair
) -> Iterator[tuple[int, int, int]]:
  lists = [row.cells[name].split(",") for name in _COLUMNS[1:]]
  if len({len(values) for values in lists}) > 1:
    raise InputError(
      f"{row.where}: onset, offset and event_labels have"
      f" {', '.join(str(len(values)) for values in lists)} values"
    )
  for first, last, label in zip(*lists, strict=True):
    onset = read_second(row.where, "onset", first)
    offset = read_second(row.where, "offset", last)
    if label not in columns:
      raise InputError(
        f"{row.where}: the label {label!r} is not in the list of"
        f" {len(columns)} classes"
      )
    if onset < offset:
      yield onset, offset, columns[label]
      continue
    fault = f"{row.where}: {label} has onset {onset} and offset {offset}"
    if repair == "refuse":
      raise InputError(f"{fault}; mend the file, or repair by dropping it")
    if repair == "widen" and onset == offset:
      onset = min(onset, TIME - 1)
      _log.warning("%s; widened to second %d", fault, onset)
      yield onset, onset + 1, columns[label]
    else:
      _log.warning("%s; event dropped", fault)
