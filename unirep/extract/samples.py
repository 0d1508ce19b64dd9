"""Samples: files that belong together, listed from a folder or a table."""

import csv
import hashlib
import os
import pathlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from unirep.extract import containers, images, series, texts
from unirep.files import guard
from unirep.runtime.errors import InputError

SPLITS = ("train", "validation", "test")
ALIASES = {"val": "validation", "valid": "validation", "dev": "validation"}
KINDS = {  # suffix -> the column that a file in a folder is for
  **dict.fromkeys(containers.FORMATS, "video"),
  **dict.fromkeys(containers.SOUNDS, "audio"),
  **dict.fromkeys(images.SUFFIXES, "image"),
  **dict.fromkeys(texts.SUFFIXES, "text"),
  **dict.fromkeys(series.SUFFIXES, "sensor"),
}
UNKNOWN = re.compile(r"-0*[1-9][0-9]*")  # a label below 0
COLUMNS = ("id", "video", "audio", "image", "text", "label", "split")
TIMES = ("start", "end")
MOST = 2**22  # lines of a table


class Sample(NamedTuple):
  """Files that belong together.

  Attributes:
    id: the name of the sample.
    files: column -> path.
    text: a caption that is in no file; "" for none.
    label: the name of the class; "" for none.
    split: train, validation or test; "" before `divide`.
    start: seconds from the beginning of the files.
    end: likewise; None for the end of the files.
    problem: the reason why it can't be read, if that is known already.
    group: samples of one group get the same split.
  """

  id: str
  files: Mapping[str, str]
  text: str = ""
  label: str = ""
  split: str = ""
  start: float = 0.0
  end: float | None = None
  problem: str = ""
  group: str = ""


def find(media: str, columns: Iterable[str]) -> list[Sample]:
  """The samples of a folder or of a table.

  Args:
    media: a folder, or a .csv file with any of the columns id, video, audio,
      image, text, label, split, start, end, and of `columns`.
    columns: the columns that modalities use; other files are ignored.

  Raises:
    InputError: if the path does not exist, or holds no file of a known kind.
  """
  if not media:
    raise InputError("media is empty; name a folder, or a .csv file")
  path = pathlib.Path(media)
  if path.is_dir():
    samples = walk(path, columns)
  elif path.suffix.lower() == ".csv" and path.exists():
    samples = table(path, columns)
  else:
    raise InputError(f"media={media}: no such folder or .csv file")
  if not samples:
    names = ", ".join(sorted(columns))
    raise InputError(f"media={media} holds no file for any of {names}")
  return samples


def walk(folder: pathlib.Path, columns: Iterable[str]) -> list[Sample]:
  """Samples of a folder.

  Files with one stem are one sample, and sub-folders are classes. Sub-folders
  named train, validation and test are splits if there are no others.
  """
  groups: dict[pathlib.PurePath, dict[str, list[str]]] = {}
  wanted = {*columns}
  for path in _files(folder):
    kind = KINDS.get(path.suffix.lower())
    if kind in wanted:
      # One name may be written in two forms of Unicode, as macOS does.
      stem = path.relative_to(folder).with_suffix("").as_posix()
      name = pathlib.PurePosixPath(unicodedata.normalize("NFC", stem))
      groups.setdefault(name, {}).setdefault(kind, []).append(str(path))
  tops = {name: name.parts[0] if len(name.parts) > 1 else "" for name in groups}
  tops = {name: ALIASES.get(top, top) for name, top in tops.items()}
  split = {*tops.values()} <= {*SPLITS}
  classes = {name: "/".join(name.parts[int(split) : -1]) for name in groups}
  labelled = any(classes.values())
  return [
    Sample(
      id=name.as_posix(),
      files={kind: paths[0] for kind, paths in kinds.items()},
      label=(classes[name] or ".") if labelled else "",
      split=tops[name] if split else "",
      problem=_doubled(kinds),
      group=name.as_posix(),
    )
    for name, kinds in sorted(groups.items())
  ]


def _files(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields each file below a folder once, even if links lead in circles."""
  seen = set()
  for here, below, names in os.walk(folder, onerror=_refuse, followlinks=True):
    status = os.stat(here)
    if (status.st_dev, status.st_ino) in seen:
      below.clear()
      continue
    seen.add((status.st_dev, status.st_ino))
    below[:] = sorted(name for name in below if not name.startswith("."))
    for name in sorted(names):
      if not name.startswith("."):
        yield pathlib.Path(here, name)


def _refuse(error: OSError) -> None:
  raise InputError(f"media: {error.filename}: {error.strerror}") from error


def _doubled(kinds: Mapping[str, Sequence[str]]) -> str:
  for kind, paths in kinds.items():
    if len(paths) > 1:
      names = " and ".join(pathlib.Path(path).name for path in paths[:2])
      return f"{names} are both its {kind}; give them other names"
  return ""


def table(path: pathlib.Path, columns: Iterable[str]) -> list[Sample]:
  """Samples of a .csv file, one a line; paths are relative to its folder.

  Raises:
    InputError: for an unknown column, or an id that is there twice.
  """
  guard.check(path)
  csv.field_size_limit(2**24)
  allowed = {*COLUMNS, *TIMES, *columns}
  try:
    with path.open(
      encoding="utf-8-sig", errors="surrogateescape", newline=""
    ) as file:
      rows = csv.DictReader(file)
      unknown = {*(rows.fieldnames or ())} - allowed
      if unknown or not rows.fieldnames:
        fault = f"column {min(unknown)!r}" if unknown else "an empty file"
        raise InputError(f"{path}: {fault}; columns are {', '.join(allowed)}")
      if len({*rows.fieldnames}) < len(rows.fieldnames):
        raise InputError(f"{path}: a column is there twice")
      samples = []
      for i, row in enumerate(rows):
        if i == MOST:
          raise InputError(f"{path}: it has more than {MOST} lines")
        samples.append(_row(path.parent, {*columns}, i, row))
  except (csv.Error, OSError) as error:
    raise InputError(f"{path}: {guard.reason(error)}") from error
  ids = set()
  for sample in samples:
    if sample.id in ids:
      raise InputError(f"{path}: id {sample.id!r} is there twice")
    ids.add(sample.id)
  labelled = any(sample.label for sample in samples)
  return [
    s._replace(problem="has no label, others have")
    if labelled and not s.label and not s.problem
    else s
    for s in _joined(samples, path.parent)
  ]


def _joined(samples: Sequence[Sample], folder: pathlib.Path) -> list[Sample]:
  """The same samples; those that share any file are in one group."""
  above: dict[str, str] = {}

  def top(name):
    while above.setdefault(name, name) != name:
      name = above[name]
    return name

  names = [
    sorted(os.path.relpath(path, folder) for path in sample.files.values())
    for sample in samples
  ]
  for own in names:
    for name in own[1:]:
      one, other = sorted((top(own[0]), top(name)))
      above[other] = one
  return [
    sample._replace(group=top(own[0])) if own else sample
    for sample, own in zip(samples, names, strict=True)
  ]


def _row(folder, columns, number: int, row: Mapping) -> Sample:
  cells = {key: (row[key] or "") for key in row if isinstance(key, str)}
  given = {key: cells.pop(key, "") for key in ("id", "text", "label", "split")}
  times = {key: cells.pop(key, "").strip() for key in TIMES}
  problem = "has more cells than the table has columns" if None in row else ""
  start, end = 0.0, None
  try:
    start = float(times["start"] or 0)
    end = float(times["end"]) if times["end"] else None
    if not 0 <= start < (1e9 if end is None else end) <= 1e9:
      raise ValueError
  except ValueError:
    problem = f"start={times['start']!r} and end={times['end']!r} don't rise"
    start, end = 0.0, None
  split = ALIASES.get(given["split"], given["split"])
  if split and split not in SPLITS:
    problem, split = f"split={split!r} is none of {', '.join(SPLITS)}", ""
  files = {
    key: str(folder / name)
    for key, name in cells.items()
    if name and key in columns
  }
  if not files and not given["text"]:
    problem = problem or "names no file and no text"
  return Sample(
    id=given["id"] or str(number),
    files=files,
    text=given["text"],
    label=given["label"],
    split=split,
    start=start,
    end=end,
    problem=problem,
    group=given["id"] or str(number),
  )


def divide(
  samples: Sequence[Sample], shares: Mapping[str, float]
) -> list[Sample]:
  """Gives each sample a split, if no sample has one.

  Samples of one file get the same split. When samples are added, few of the
  others move.

  Args:
    samples: of one folder or table.
    shares: split -> its share of the files; the rest is for training.

  Raises:
    InputError: for shares that leave nothing for training.
  """
  if any(s.split for s in samples):
    return [
      s if s.split or s.problem else s._replace(problem="has no split")
      for s in samples
    ]
  if min(shares.values(), default=0) < 0 or sum(shares.values()) >= 1:
    raise InputError(f"shares={dict(shares)} must be 0 or more, below 1 in all")
  ranked = sorted({s.group for s in samples}, key=_digest)
  split, first = dict.fromkeys(ranked, SPLITS[0]), 0
  for name, share in shares.items():
    left = len(ranked) - 1 - first  # one is for training
    count = min(max(round(share * len(ranked)), share > 0), left)
    split |= dict.fromkeys(ranked[first : first + count], name)
    first += count
  return [s._replace(split=split[s.group]) for s in samples]


def _digest(name: str) -> bytes:
  return hashlib.sha256(name.encode(errors="surrogateescape")).digest()


def classes(samples: Iterable[Sample]) -> dict[str, int]:
  """Name of a class -> its number; names that are numbers keep them.

  A label below 0 says that nobody knows the class: its number is -1.
  """
  labels = {s.label for s in samples if s.label}
  unknown = {name for name in labels if UNKNOWN.fullmatch(name)}
  return _numbers(sorted(labels - unknown)) | dict.fromkeys(unknown, -1)


def _numbers(names: Sequence[str]) -> dict[str, int]:
  if all(name.isdecimal() and len(name) < 20 for name in names):
    numbers = {name: int(name) for name in names}
    # 1 and 01 are two names of one number.
    if max(numbers.values(), default=0) < 2**31 and len(names) == len(
      {*numbers.values()}
    ):
      return numbers
  return {name: i for i, name in enumerate(names)}
