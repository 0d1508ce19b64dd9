"""Official releases: checked, or converted to files that are read faster."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track

from unirep.configuration import build
from unirep.configuration.build import Config
from unirep.data.datasets import converted, releases
from unirep.data.datasets.clips import Clips
from unirep.data.release import inspection, lists, shards
from unirep.jobs import workdir as workdirs
from unirep.runtime import atomic
from unirep.runtime.errors import InputError, pick


class NotReadyError(InputError):
  """Data that training would be wrong with: the command exits with 1."""

  exit_code = 1


class Job(NamedTuple):
  """A check or a conversion of a release, bound.

  Attributes:
    settings: the configuration as JSON values.
    do: "check" or "convert".
    name: of the release.
    options: its places and the like, see `releases.RELEASES`.
    against: check: lists of evaluation sets, for videos in both.
    opened: check: whether every clip is read.
    shard: convert: clips a file.
  """

  settings: Mapping[str, Any]
  do: str
  name: str
  options: dict[str, Any]
  against: tuple[str, ...]
  opened: bool
  shard: int


def prepare(config: Config) -> Job:
  """Refuses options that no release has.

  Args:
    config: as `configs/data.py` gives it.

  Raises:
    InputError: for anything that the user can mend.
  """
  pick(releases.RELEASES, "data.source", config.data.source)
  if config.data.converted:
    raise InputError("data.converted is what this job writes; leave it empty")
  pick(ACTIONS, "do", config.do)
  options = dict(config.data)
  name = options.pop("source")
  releases.check(options)
  return Job(
    settings=build.as_json(config),
    do=config.do,
    name=name,
    options=options,
    against=tuple(config.against),
    opened=config.open,
    shard=config.shard,
  )


def run(job: Job, workdir: pathlib.Path, console: Console) -> dict[str, Any]:
  """Checks or converts a release.

  Args:
    job: from `prepare`.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for anything that the user can mend.
    NotReadyError: where a check found something.
  """
  return ACTIONS[job.do](job, workdir, console)


def check(job: Job, workdir: pathlib.Path, console: Console) -> dict[str, Any]:
  """Lists all problems in `problems.csv`, and their ids in `exclude.txt`.

  Raises:
    NotReadyError: if there is one.
  """
  workdirs.claim(workdir, job.settings)
  found = inspection.inspect(
    job.name,
    job.options,
    against=job.against,
    opened=job.opened,
    track=lambda x, n, title: track(x, title, total=n, console=console),
  )
  inspection.write(workdir, found)
  console.print(inspection.table(found), soft_wrap=True, markup=False)
  if found.problems:
    count = len(found.problems)
    raise NotReadyError(
      f"{count} problem{'s' * (count > 1)}, first {found.problems[0].what}; in"
      f" {workdir / inspection.PROBLEMS}, ids to leave out in"
      f" {workdir / inspection.EXCLUDE}"
    )
  return {"parts": found.parts, "problems": []}


def convert(
  job: Job, workdir: pathlib.Path, console: Console
) -> dict[str, Any]:
  """Writes every part of a release as TFDS's files of ArrayRecord.

  They lie in `workdir/NAME/VERSION`. Shards that are there are not written
  again.

  Raises:
    InputError: for clips that are missing or broken, or other options than
      those of the shards that are there.
  """
  options, name = job.options, job.name
  exclude = lists.read_ids(options["exclude"]) if options["exclude"] else ()
  read = releases.RELEASES[name].read
  parts = {
    part: read(options, part).without(exclude).require()
    for part in releases.RELEASES[name].parts
  }
  parts = {part: clips for part, clips in parts.items() if len(clips)}
  workdirs.claim(workdir, job.settings)
  made = releases.meaning(name, options)
  groups: dict[str, dict[str, Clips]] = {}
  for part, clips in parts.items():
    groups.setdefault(releases.stored(name, part), {})[part] = clips
  for stored, some in groups.items():
    folder = workdir / stored / converted.VERSION
    _write(folder, stored, some, made, job.shard, console)
  sizes = {part: len(clips) for part, clips in parts.items()}
  told = ", ".join(f"{n} {part}" for part, n in sizes.items())
  console.print(f"{told}; data.converted={workdir} reads them", soft_wrap=True)
  return {"samples": sizes}


def _write(
  folder: pathlib.Path,
  name: str,
  parts: dict[str, Clips],
  meaning: dict[str, Any],
  each: int,
  console: Console,
) -> None:
  """Writes the missing shards of a data set, and its metadata."""
  folder.mkdir(parents=True, exist_ok=True)
  ids = {part: clips.id_N.tolist() for part, clips in parts.items()}
  _stamp(folder, meaning, ids)
  plans = {p: shards.planned(len(c), each) for p, c in parts.items()}
  work = [(part, i) for part, plan in plans.items() for i in range(len(plan))]
  spec = shards.features(next(iter(parts.values()))[0])
  for part, i in track(work, f"converting {name}", console=console):
    path = shards.shard(folder, name, part, i, len(plans[part]))
    if not path.exists():
      shards.write(path, _records(parts[part], plans[part][i], spec))
  lengths = {part: [len(x) for x in plan] for part, plan in plans.items()}
  shards.finish(folder, name, spec, lengths)


def _records(clips: Clips, rows: range, spec: Any):
  for row in rows:
    yield shards.serialized(spec, str(clips.id_N[row]), clips[row])


def _stamp(folder: pathlib.Path, meaning, ids) -> None:
  """Records the clips and options that the shards of a folder are made of.

  Raises:
    InputError: where they are of something else.
  """
  wanted = {converted.MEANING: meaning, converted.IDS: ids}
  for file, value in wanted.items():
    value = json.loads(json.dumps(value))
    path = folder / file
    if path.exists() and converted.json_of(path) != value:
      raise InputError(
        f"{path} is of a conversion of other clips or options; name another"
        " --workdir"
      )
    atomic.write_json(path, value)


ACTIONS = {"check": check, "convert": convert}
