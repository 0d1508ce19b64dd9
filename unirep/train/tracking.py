"""Runs on Weights & Biases."""

import contextlib
import importlib
import importlib.util
import pathlib
import secrets
from collections.abc import Mapping
from typing import Any

import jax

from unirep.runtime import atomic
from unirep.runtime.errors import InputError, first_line

PACKAGE = "wandb"
ID = "wandb_id"  # file with the id of the run there, for a resumed run


def check(project: str) -> None:
  """Raises InputError for a project without the package."""
  spec = importlib.util.find_spec(PACKAGE) if project else None
  if project and not (spec and spec.origin):  # no origin: a mere folder
    raise InputError(
      f"wandb={project!r} needs the package {PACKAGE}: pip install "
      "'unirep[wandb]'"
    )


def run(
  project: str, workdir: pathlib.Path, settings: Mapping[str, Any]
) -> contextlib.AbstractContextManager[Any]:
  """The run of a work directory on Weights & Biases, as a context.

  It is None without a project, and in all processes but the first.

  Args:
    project: name of the project, or "".
    workdir: gives the run its name, and holds its files.
    settings: hyperparameters.

  Raises:
    InputError: if it can't be started, for example without a login.
  """
  if not project or jax.process_index():
    return contextlib.nullcontext()
  module: Any = importlib.import_module(PACKAGE)
  path = workdir / ID
  if not path.exists():
    with atomic.whole(path) as part:
      part.write_text(secrets.token_hex(4))
  try:
    return module.init(
      project=project,
      dir=str(workdir),
      name=workdir.name,
      id=path.read_text().strip(),
      resume="allow",
      config=dict(settings),
      settings={"console": "off"},  # printed lines are not uploaded
    )
  except module.Error as error:
    raise InputError(
      f"wandb={project!r}: {first_line(error)}; log in with `wandb login`, or "
      "set WANDB_MODE=offline"
    ) from error
