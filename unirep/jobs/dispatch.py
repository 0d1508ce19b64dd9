"""Job dispatch: a configuration becomes a job that is bound, and runs."""

import contextlib
import pathlib
from typing import Any

import jax
from rich.console import Console

from unirep.configuration import build, schema
from unirep.configuration.build import Config
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

# Each has prepare(config) -> job, which refuses all that can be refused and
# writes nothing, and run(job, workdir, console) -> results.
JOBS: dict[str, Any] = {
  "pretrain": pretrain,
  "evaluate": evaluate,
  "retrieve": retrieve,
  "generate": generate,
  "toc": toc,
  "tokenize": tokenize,
  "extract": extract,
  "convert": convert,
  "data": data,
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
  module = JOBS[config.job]
  with contextlib.ExitStack() as stack:
    with lockstep.together():
      if jax.process_index() == 0:
        stack.enter_context(workdirs.held(workdir))
    with lockstep.together():
      job = module.prepare(config)
    return module.run(job, workdir, console or Console())
