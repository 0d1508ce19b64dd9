"""Runs on Weights & Biases, where a project is named."""

import contextlib
import importlib
import importlib.util
import pathlib
import secrets
from collections.abc import Mapping
from typing import Any

import jax

from unirep.runtime import atomic
from unirep.runtime.errors import InputError

PACKAGE = "wandb"
ID = "wandb_id"  # of the run there, which a resumed run goes on with


def check(project: str) -> None:
  """Raises InputError for a project without the package."""
  spec = importlib.util.find_spec(PACKAGE) if project else None
  if project and not (spec and spec.origin):  # a folder of that name is none
    raise InputError(
      f"wandb={project!r} needs the package {PACKAGE}: pip install "
      "'unirep[wandb]'"
    )


def run(
  project: str, workdir: pathlib.Path, settings: Mapping[str, Any]
) -> contextlib.AbstractContextManager[Any]:
  """The run of a work directory, until the context ends; None without one.

  Of several processes, the first one has it.

  Args:
    project: to put it in; "" for none.
    workdir: gives its name, and holds its files.
    settings: its hyperparameters.

  Raises:
    InputError: if it can't be begun, such as without a login.
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
      **{"project": project, "dir": str(workdir), "name": workdir.name},
      **{"id": path.read_text().strip(), "resume": "allow"},
      config=dict(settings),
      settings={"console": "off"},  # what is printed stays here
    )
  except module.Error as error:
    said = str(error).splitlines()[0]
    raise InputError(
      f"wandb={project!r}: {said}; log in with `wandb login`, or set "
      "WANDB_MODE=offline"
    ) from error
