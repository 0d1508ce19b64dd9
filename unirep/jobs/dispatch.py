"""Job dispatch."""

import contextlib
import pathlib
from typing import Any

import jax
from rich.console import Console

from unirep.config import build, schema
from unirep.config.build import Config
from unirep.jobs import (
  convert,
  data,
  evaluate,
  extract,
  generate,
  pretrain,
  retrieve,
  toc,
  tokenize,
)
from unirep.jobs import workdir as workdirs
from unirep.runtime import lockstep
from unirep.runtime.errors import InputError

JOBS = {
  "pretrain": pretrain.run,
  "evaluate": evaluate.run,
  "retrieve": retrieve.run,
  "generate": generate.run,
  "toc": toc.run,
  "tokenize": tokenize.run,
  "extract": extract.run,
  "convert": convert.run,
  "data": data.run,
}
TOGETHER = ("pretrain", "tokenize")  # jobs of several processes


def run(
  config: Config, workdir: pathlib.Path, console: Console | None = None
) -> dict[str, Any]:
  """Does `config.job` and returns its results.

  Raises:
    InputError: for anything that the user can mend.
  """
  schema.check(build.as_json(config))
  if config.job not in TOGETHER and jax.process_count() > 1:
    raise InputError(
      f"job={config.job} runs in one process, not {jax.process_count()}"
    )
  with contextlib.ExitStack() as stack:
    with lockstep.together():
      if jax.process_index() == 0:
        stack.enter_context(workdirs.held(workdir))
    return JOBS[config.job](config, workdir, console or Console())
