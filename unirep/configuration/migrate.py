"""Settings of older runs, completed with the keys that were added since."""

import copy
from collections.abc import Mapping
from typing import Any

# Keys that older runs lack -> the value with which they did the same, or a
# function of their settings that gives it. A feature that adds a key adds a
# line here, so that older runs load and resume.
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
  **{"allow_changed": False, "data.device_resident": False},
  **{"data.converted": "", "data.exclude": "", "data.whole": True},
  "data.limit": 64,
  "data.validation": "",
}


def completed(
  settings: Mapping[str, Any], like: Mapping[str, Any]
) -> dict[str, Any]:
  """An older run's settings, with the leaves that have been added since.

  Args:
    settings: as the run recorded them.
    like: settings of today; only keys that they have are added.
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
