"""Official releases: checked, or converted to files that are read faster."""

import json
import pathlib
from typing import Any

from rich.console import Console
from rich.progress import track

from unirep.config import build
from unirep.config.build import Config
from unirep.data.datasets import converted, releases
from unirep.data.datasets.clips import Clips
from unirep.data.release import inspection, lists, shards
from unirep.jobs import workdir as workdirs
from unirep.runtime import atomic
from unirep.runtime.errors import InputError, pick


class NotReadyError(InputError):
  """Data that training would be wrong with: the command exits with 1."""

  exit_code = 1


def run(
  config: Config, workdir: pathlib.Path, console: Console
) -> dict[str, Any]:
  """Does what `config.do` says, check or convert.

  Args:
    config: as `configs/data.py` gives it.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for anything that the user can mend.
    NotReadyError: where a check found something.
  """
  pick(releases.RELEASES, "data.source", config.data.source)
  if config.data.converted:
    raise InputError("data.converted is what this job writes; leave it empty")
  return pick({"check": check, "convert": convert}, "do", config.do)(
    config, workdir, console
  )


def check(
  config: Config, workdir: pathlib.Path, console: Console
) -> dict[str, Any]:
  """Lists all that is wrong, in `problems.csv`, and the ids in `exclude.txt`.

  Raises:
    NotReadyError: if anything is wrong.
  """
  options, name = options_of(config), config.data.source
  workdirs.claim(workdir, build.as_json(config))
  found = inspection.inspect(
    name,
    options,
    against=config.against,
    opened=config.open,
    track=lambda x, n, what: track(x, what, total=n, console=console),
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
  config: Config, workdir: pathlib.Path, console: Console
) -> dict[str, Any]:
  """Writes every part of a release as TFDS's files of ArrayRecord.

  They lie in `workdir/NAME/VERSION`. Shards that are there are not written
  again.

  Raises:
    InputError: for clips that are missing or broken, or other options than
      those of the shards that are there.
  """
  if config.shard < 1:
    raise InputError(f"shard={config.shard} must be at least 1")
  options, name = options_of(config), config.data.source
  exclude = lists.read_ids(options["exclude"]) if options["exclude"] else ()
  read = releases.RELEASES[name].read
  parts = {
    part: read(options, part).without(exclude).require()
    for part in releases.RELEASES[name].parts
  }
  parts = {part: clips for part, clips in parts.items() if len(clips)}
  workdirs.claim(workdir, build.as_json(config))
  made = releases.meaning(name, options)
  groups: dict[str, dict[str, Clips]] = {}
  for part, clips in parts.items():
    groups.setdefault(releases.stored(name, part), {})[part] = clips
  for stored, some in groups.items():
    folder = workdir / stored / converted.VERSION
    _write(folder, stored, some, made, config.shard, console)
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
  """Writes the shards of a data set that are not there, and what says so."""
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


def options_of(config: Config) -> dict[str, Any]:
  """The options of a set, checked."""
  options = dict(config.data)
  del options["source"]
  releases.check(options)
  return options


def _records(clips: Clips, rows: range, spec: Any):
  for row in rows:
    yield shards.serialized(spec, str(clips.id_N[row]), clips[row])


def _stamp(folder: pathlib.Path, meaning, ids) -> None:
  """Says what the shards of a folder are of.

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
