"""Inspection of a release: every file that it needs is checked."""

import csv
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from unirep.data.datasets import releases
from unirep.data.datasets.clips import Clips
from unirep.data.release import lists
from unirep.runtime import atomic
from unirep.runtime.errors import InputError

PROBLEMS, EXCLUDE, SUMMARY = "problems.csv", "exclude.txt", "check.json"
Track = Callable[[Iterable[Any], int, str], Iterable[Any]]


class Problem(NamedTuple):
  """A problem of a clip, or of a list.

  Attributes:
    kind: missing, unreadable, shared or list.
    part: of the release.
    modality: the modality, or "".
    id: the id of the clip, or "".
    what: the problem in one line.
  """

  kind: str
  part: str
  modality: str
  id: str
  what: str


class Report(NamedTuple):
  """Results of an inspection: number of clips by part, and problems."""

  parts: dict[str, int]
  problems: list[Problem]


def inspect(
  name: str,
  options: Mapping[str, Any],
  *,
  against: Sequence[str],
  opened: bool,
  track: Track,
) -> Report:
  """Checks every list and every clip of a release.

  Args:
    name: the release.
    options: those of its configuration.
    against: lists of evaluation sets; their videos are not for training.
    opened: whether clips are read; else only their files must exist.
    track: (items, their number, their name) -> items, with a progress bar.

  Raises:
    InputError: for a list in `against` or `exclude` that can't be read.
  """
  exclude = lists.read_ids(options["exclude"]) if options["exclude"] else ()
  held = {path: lists.videos(path) for path in against}
  parts, problems = {}, []
  earlier: dict[str, str] = {}
  for part in releases.RELEASES[name].parts:
    try:
      clips = releases.RELEASES[name].read(options, part).without(exclude)
    except InputError as error:
      problems.append(Problem("list", part, "", "", str(error)))
      continue
    parts[part] = len(clips)
    problems += _clips(part, clips, opened, track)
    problems += _twice(part, clips, earlier)
    for path, ids in held.items():
      shared = sorted({x for x in clips.id_N.tolist() if x[:11] in ids})
      problems += [
        Problem("shared", part, "", x, f"{x} is in {path} as well")
        for x in shared
      ]
  # One broken list is one problem, even if several parts are read from it.
  first: dict[Any, Problem] = {}
  for problem in problems:
    first.setdefault((problem.kind, problem.id, problem.what), problem)
  return Report(parts, [*first.values()])


def _twice(part: str, clips: Clips, earlier: dict[str, str]):
  """Clips of a part that are also in an earlier part.

  Captions of one clip share its name, but all of them are in one part.
  """
  for name in dict.fromkeys(clips.id_N.tolist()):
    if name in earlier:
      line = f"{name} is in {earlier[name]} and in {part}"
      yield Problem("shared", part, "", name, line)
  earlier.update(dict.fromkeys(clips.id_N.tolist(), part))


def _clips(part: str, clips: Clips, opened: bool, track: Track):
  """The problems of one part."""
  for m, (store, key_N) in clips.stored.items():
    try:
      lost = {*store.missing(clips.keys(m))}
    except InputError as error:
      yield Problem("list", part, m, "", str(error))
      continue
    done = set()
    rows = [i for i in range(len(clips)) if clips.has(m, i)]
    for i in track(rows, len(rows), f"{part} {m}") if opened else rows:
      key, name = key_N[i].item(), str(clips.id_N[i])
      if key in done:
        continue
      done.add(key)
      if key in lost:
        line = f"{store.path(key)}: no such file"
        yield Problem("missing", part, m, name, line)
      elif opened:
        try:
          store.read(key)
        except InputError as error:
          yield Problem("unreadable", part, m, name, str(error))


def write(folder: pathlib.Path, report: Report) -> None:
  """Writes all problems, the ids of their clips, and a summary."""
  with (
    atomic.whole(folder / PROBLEMS) as place,
    place.open("w", newline="", encoding="utf-8") as file,
  ):
    writer = csv.writer(file)
    writer.writerow(Problem._fields)
    writer.writerows(report.problems)
  ids = dict.fromkeys(p.id for p in report.problems if p.id)
  with atomic.whole(folder / EXCLUDE) as place:
    lists.write_ids(place, ids)
  atomic.write_json(
    folder / SUMMARY, {"parts": report.parts, "problems": counts(report)}
  )


def counts(report: Report) -> dict[str, int]:
  """The number of problems of each kind."""
  kinds = dict.fromkeys(p.kind for p in report.problems)
  return {k: sum(p.kind == k for p in report.problems) for k in kinds}


def table(report: Report) -> str:
  """The numbers of clips and problems, a line for each part."""
  lines = []
  for part in dict.fromkeys(
    [*report.parts, *(p.part for p in report.problems)]
  ):
    mine = Report({}, [p for p in report.problems if p.part == part])
    wrong = ", ".join(f"{n} {kind}" for kind, n in counts(mine).items())
    size = report.parts.get(part)
    have = "can't be read" if size is None else f"{size} clips"
    lines.append(f"{part}: {have}, {wrong or 'nothing wrong'}")
  return "\n".join(lines)
