"""Extraction: files of media to features."""

import pathlib
from typing import Any

from rich.console import Console
from rich.progress import track

from unirep.config import build
from unirep.config.build import Config
from unirep.extract import assembly, clips, features, samples, store
from unirep.extract.features import Front, Settings
from unirep.jobs import workdir as workdirs
from unirep.runtime.errors import InputError


def run(
  config: Config, workdir: pathlib.Path, console: Console
) -> dict[str, Any]:
  """Writes `features` and `failed.csv` into `workdir`, see `extract.assembly`.

  Args:
    config: as `configs/extract.py` gives it.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for anything that the user can mend; not for a broken file,
      which `failed.csv` lists.
  """
  made = features.front(
    Settings(
      extractors={m: name for m, name in config.extractors.items() if name},
      seconds=config.seconds,
      steps=config.steps,
      words=config.words,
      dtype=config.dtype,
    )
  )
  check_workers(config)
  check_place(config.media, workdir)
  found = samples.find(config.media, clips.columns(made.plan.needs))
  if config.whole:
    found = clips.pieces(found, made.plan)
  found = samples.divide(found, dict(config.shares))
  workdirs.claim(workdir, build.as_json(config))
  return extracted(config, found, made, workdir, console)


def extracted(
  config: Config,
  found: list[samples.Sample],
  made: Front,
  workdir: pathlib.Path,
  console: Console,
) -> dict[str, Any]:
  """Extracts with `config.workers`, prints, and sums it up."""
  result = store.write(
    found,
    made,
    workdir,
    workers=config.workers,
    timeout=config.timeout,
    track=lambda x, n: track(x, "extracting", total=n, console=console),
  )
  manifest = result.manifest
  sizes = ", ".join(f"{n} {split}" for split, n in manifest["samples"].items())
  lines = [f"{sizes}; features are in {workdir / assembly.FEATURES}"]
  if manifest["failed"]:
    lines.append(
      f"{manifest['failed']} failed; {workdir / assembly.FAILED} says why"
    )
  if manifest["longer"]:
    seconds = manifest["seconds"] * manifest["steps"]
    lines.append(
      f"{manifest['longer']} are longer than {seconds:g} s, of which only the"
      " beginning was taken; --config.whole=True takes all"
    )
  lines += [
    f"no sample has {m}"
    for m in made.extractors
    if m not in manifest["extractors"]
  ]
  for line in lines:
    console.print(line, soft_wrap=True)
  return {
    "samples": manifest["samples"],
    "failed": manifest["failed"],
    "new": result.new,
  }


def check_place(media: str, workdir: pathlib.Path) -> None:
  """Raises InputError where results would be found as media."""
  if media and workdir.resolve().is_relative_to(pathlib.Path(media).resolve()):
    raise InputError(f"workdir={workdir} lies in media={media}; name another")


def check_workers(config: Config) -> None:
  """Raises InputError for numbers of processes or seconds out of range."""
  if config.workers < 0:
    raise InputError(f"workers={config.workers} must not be negative")
  if not config.timeout > 0:
    raise InputError(f"timeout={config.timeout} must be above 0")
