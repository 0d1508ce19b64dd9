"""The directory of one run: whose it is, and what it holds."""

import copy
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from unirep import files
from unirep.errors import InputError

CONFIG = "config.json"
SUMMARY = "summary.json"
REPORT = "report.png"
CHECKPOINTS = "checkpoints"
CODES = "codes"
NONFINITE = "nonfinite"
# Leaves that may change when a run goes on: they change no result, or only what
# is still to come.
FREE = (
  *("steps", "log_every", "workers", "timeout", "mesh.model", "mesh.params"),
  *("checkpoint_every", "checkpoint_seconds", "checkpoints_kept"),
  *("checkpoints_required", "wandb"),
)
# Leaves that older runs lack -> what says that these did the same; a function
# of their settings where it depends. A feature that adds a leaf adds it here,
# and orphans no run.
ADDED: dict[str, Any] = {
  **{"data.classes": 10, "data.variation": 0.4},
  **{"data.nuisance": 0.5, "data.private": 0},
  **{"data.resample": "none", "data.steps": 0},
  **{"model.sphere": False, "model.steps": False},
  "loss.step_infonce": lambda settings: copy.copy(
    settings["loss"].get("infonce")
  ),
  "loss.step_infonce.every": False,
  "loss.infonce.grouped": False,
  **{"data.missing": False, "missing": False},
  "data.holdout_seed": lambda settings: settings.get("seed"),
  "method": "fcid",
  **{"media": "", "init_from": "", "wandb": "", "checkpoint_seconds": 0.0},
  "probe.samples": 0,
}


def check(workdir: pathlib.Path, settings: Mapping[str, Any]) -> None:
  """Refuses a work directory that isn't ours.

  Raises:
    InputError: if it holds a run with another configuration.
  """
  path = workdir / CONFIG
  if not path.exists():
    return
  try:
    old = json.loads(path.read_text())
  except ValueError as error:
    raise InputError(f"{path} is not JSON ({error})") from error
  if not isinstance(old, dict):
    raise InputError(f"{path} does not hold the settings of a run")
  old = completed(old, settings)
  for key, values in sorted(differences(old, settings).items()):
    if key not in FREE:
      raise InputError(
        f"{workdir} holds a run with {key}={values[0]!r}, not {values[1]!r}; "
        "name another --workdir or delete it"
      )


def claim(workdir: pathlib.Path, settings: Mapping[str, Any]) -> None:
  """Makes the work directory ours, or checks that it is.

  Raises:
    InputError: if it holds a run with another configuration, or can't be
      written to.
  """
  check(workdir, settings)
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    files.write_json(workdir / CONFIG, settings)
  except OSError as error:
    raise InputError(f"cannot write to {workdir}: {error.strerror}") from error


def completed(
  settings: Mapping[str, Any], like: Mapping[str, Any]
) -> dict[str, Any]:
  """An older run's settings, with the leaves that have been added since.

  Args:
    settings: as the run recorded them.
    like: settings of today, which say what leaves such a run has.
  """
  whole = copy.deepcopy(dict(settings))
  for key, value in ADDED.items():
    *sections, name = key.split(".")
    old, new = whole, like
    for section in sections:
      old, new = old.get(section), new.get(section, {})
      if not isinstance(old, dict):  # a file that nobody here has written
        break
    else:
      if name in new and name not in old:
        old[name] = value(settings) if callable(value) else value
  return whole


def differences(old: Any, new: Any, prefix: str = "") -> dict[str, tuple]:
  """Leaves that differ: dotted key -> (old, new)."""
  if not (isinstance(old, dict) and isinstance(new, dict)):
    return {} if old == new else {prefix: (old, new)}
  found = {}
  for key in {*old, *new}:
    name = f"{prefix}.{key}" if prefix else key
    found |= differences(old.get(key), new.get(key), name)
  return found
