"""Extraction: files of media to features."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from rich.console import Console

from unirep.configuration import build
from unirep.configuration.build import Config
from unirep.extract import clips, features, samples
from unirep.extract.features import Front, Settings
from unirep.jobs import extraction
from unirep.jobs import workdir as workdirs


class Job(NamedTuple):
  """An extraction, bound.

  Attributes:
    settings: the configuration as JSON values.
    media: the folder or table that names the files.
    front: the extractors.
    samples: the samples, each with its split.
    workers: processes that read media; 0 reads in this one.
    timeout: seconds after which a worker gives a file up.
  """

  settings: Mapping[str, Any]
  media: str
  front: Front
  samples: list[samples.Sample]
  workers: int
  timeout: float


def prepare(config: Config) -> Job:
  """Opens extractors and finds the samples.

  Args:
    config: as `configs/extract.py` gives it.

  Raises:
    InputError: for anything that the user can mend; not for a broken file,
      which `failed.csv` will list.
  """
  front = features.front(
    Settings(
      extractors={m: name for m, name in config.extractors.items() if name},
      seconds=config.seconds,
      steps=config.steps,
      words=config.words,
      dtype=config.dtype,
    )
  )
  found = samples.find(config.media, clips.columns(front.plan.needs))
  if config.whole:
    found = clips.pieces(found, front.plan)
  return Job(
    settings=build.as_json(config),
    media=config.media,
    front=front,
    samples=samples.divide(found, dict(config.shares)),
    workers=config.workers,
    timeout=config.timeout,
  )


def run(job: Job, workdir: pathlib.Path, console: Console) -> dict[str, Any]:
  """Writes `features` and `failed.csv` into `workdir`, see `extract.assembly`.

  Args:
    job: from `prepare`.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for a work directory of something else, or among the media.
  """
  extraction.check_place(job.media, workdir)
  workdirs.claim(workdir, job.settings)
  return extraction.write(
    job.samples, job.front, workdir, job.workers, job.timeout, console
  )
