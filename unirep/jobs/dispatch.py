"""Job dispatch."""

import pathlib
from typing import Any

import jax
from rich.console import Console

from unirep import build, schema
from unirep.build import Config
from unirep.errors import InputError
from unirep.jobs import (
  evaluate,
  extract,
  generate,
  pretrain,
  retrieve,
  toc,
  tokenize,
)

JOBS = {
  "pretrain": pretrain.run,
  "evaluate": evaluate.run,
  "retrieve": retrieve.run,
  "generate": generate.run,
  "toc": toc.run,
  "tokenize": tokenize.run,
  "extract": extract.run,
}


def run(
  config: Config, workdir: pathlib.Path, console: Console | None = None
) -> dict[str, Any]:
  """Does `config.job` and returns its results.

  Raises:
    InputError: for anything that the user can mend.
  """
  schema.check(build.as_json(config))
  if config.job != "pretrain" and jax.process_count() > 1:
    raise InputError(
      f"job={config.job} runs in one process, not {jax.process_count()}"
    )
  return JOBS[config.job](config, workdir, console)
