"""Extraction as jobs run it: written, shown and summed up."""

import pathlib
from typing import Any

from rich.console import Console
from rich.progress import track

from unirep.extract import assembly, samples, store
from unirep.extract.features import Front
from unirep.runtime.errors import InputError


def write(
  found: list[samples.Sample],
  front: Front,
  workdir: pathlib.Path,
  workers: int,
  timeout: float,
  console: Console,
) -> dict[str, Any]:
  """Writes features of samples into `workdir`, and prints a summary.

  Args:
    found: the samples.
    front: the extractors.
    workdir: claimed.
    workers: processes that read media; 0 reads in this one.
    timeout: seconds after which a worker gives a file up.
    console: where to print.

  Returns:
    samples, failed and new.
  """
  result = store.write(
    found,
    front,
    workdir,
    workers=workers,
    timeout=timeout,
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
    for m in front.extractors
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
