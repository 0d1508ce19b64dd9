"""Lists of clips: their published lengths, ids, JSON."""

import os
import pathlib
from collections.abc import Iterable
from typing import Any

from unirep.data.annotations.tables import LARGEST, read_rows
from unirep.files import guard
from unirep.runtime.errors import InputError

# There are copies with half of the rows, which cost ten points of accuracy.
ROWS = {
  "vggsound-avel40k.csv": 40801,
  "vggsound-avel90k-new.csv": 87323,
  "vggsoundCategories2Prompts.csv": 141,
  "Annotations.txt": 4143,
  "AVVP_eval_audio_checked_combined.csv": 1846,
  "AVVP_eval_visual_checked_combined.csv": 1661,
  "AVE_AVVP_eval_audio_checked_combined.csv": 1085,
  "AVE_AVVP_eval_visual_checked_combined.csv": 1032,
  "ucf2vggsound.csv": 2003,
  "vggsound2ucf.csv": 4813,
  "clotho_captions_evaluation.csv": 1045,
  "captions_val2017.json": 25014,
  "desc_test.json": 3500,
}


def check_rows(path: pathlib.Path, rows: int, whole: bool) -> None:
  """Raises InputError for a list that is shorter or longer than published."""
  published = ROWS.get(path.name, rows)
  if whole and rows != published:
    raise InputError(
      f"{path} has {rows} rows, but was published with {published}; fetch it"
      " again, or say that a part is meant by data.whole=False"
    )


def count(path: pathlib.Path) -> int:
  """The rows of a list that is not JSON: lines of text without the header."""
  with path.open(encoding="utf-8", errors="replace") as file:
    lines = sum(1 for line in file if line.strip())
  return lines - (path.suffix == ".csv")


def read_ids(path: str | os.PathLike[str]) -> tuple[str, ...]:
  """The ids of a file with one a line.

  Raises:
    InputError: if it is missing or no text.
  """
  text = guard.read_text(path, LARGEST)
  return tuple(x for line in text.splitlines() if (x := line.strip()))


def write_ids(path: pathlib.Path, ids: Iterable[str]) -> None:
  """The inverse of `read_ids`."""
  path.write_text("".join(f"{x}\n" for x in ids), encoding="utf-8")


def videos(path: str | os.PathLike[str]) -> set[str]:
  """The video ids of a list of any of the sets: 11 characters each.

  Raises:
    InputError: for a file of another kind.
  """
  path = pathlib.Path(path)
  first = (guard.read_text(path, LARGEST).splitlines() or [""])[0]
  if "&" in first:
    columns = ("Category", "VideoID", "Quality", "StartTime", "EndTime")
    rows = read_rows(path, columns, delimiter="&", header=False)
    return {row.cells["VideoID"][:11] for row in rows}
  cells = [x.strip() for x in first.replace("\t", ",").split(",")]
  for key in ("video_id", "filename"):
    if key in cells:
      return {row.cells[key][:11] for row in read_rows(path, cells)}
  if len(cells) == 1:
    return {x[:11] for x in read_ids(path)}
  raise InputError(f"{path}: its first line, {first[:80]!r}, names no videos")


def read_json(
  path: pathlib.Path, part: str, keys: tuple[str, ...]
) -> list[Any]:
  """The entries of a JSON file: a list, or a dict with a list under `part`.

  Each is a tuple of the text of its `keys`.

  Raises:
    InputError: naming the file and entry, for anything else.
  """
  value = guard.read_json(path, LARGEST)
  value = value.get(part) if isinstance(value, dict) else value
  if not isinstance(value, list) or not value:
    raise InputError(f"{path} holds no list, alone or under {part!r}")
  entries = []
  for n, entry in enumerate(value):
    cells = [entry.get(k) for k in keys] if isinstance(entry, dict) else [None]
    if not all(type(x) in (str, int) and str(x).strip() for x in cells):
      raise InputError(f"{path}, entry {n}: it lacks {' or '.join(keys)}")
    entries.append(tuple(str(x) for x in cells))
  return entries
