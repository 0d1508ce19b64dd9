"""A whole model in two files of open formats.

model.safetensors   all arrays, named by their path: params/..., codebook/...
model.json          settings and step of the run, the sha256 of the arrays
"""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from unirep.files import guard, state_dicts
from unirep.interop.model import Like, Model, fault, flat, nested, some
from unirep.runtime import atomic
from unirep.runtime.errors import InputError

ARRAYS, ABOUT = "model.safetensors", "model.json"
FORMAT = 1
LARGEST = 2**24  # bytes of model.json
FIELDS = ("code_KxD", "count_K", "sum_KxD", "tenure_K")


def write(folder: pathlib.Path, model: Model) -> None:
  """Writes both files; older files of these names are replaced."""
  tree = {"params": model.params, "codebook": model.codebook}
  arrays = {name: np.asarray(x) for name, x in flat(tree).items()}
  with atomic.whole(folder / ARRAYS) as part:
    state_dicts.write_tensors(part, arrays)
  about = {
    "format": FORMAT,
    "step": model.step,
    "sha256": digest(folder / ARRAYS),
    "settings": model.settings,
  }
  atomic.write_json(folder / ABOUT, about)


def read(folder: pathlib.Path) -> Model:
  """The model in a folder; `check` must still compare it to its network.

  Raises:
    InputError: if a file is missing or broken.
  """
  about = _about(folder / ABOUT)
  if digest(folder / ARRAYS) != about.get("sha256"):
    raise InputError(f"{folder / ARRAYS} is not the file of its {ABOUT}")
  arrays = state_dicts.read_tensors(folder / ARRAYS)
  with state_dicts.whole(str(folder / ARRAYS)):
    tree = nested(arrays)
  settings, step = about.get("settings"), about.get("step")
  if (
    not isinstance(settings, dict)
    or type(step) is not int
    or (not 0 <= step < 2**31)
  ):
    raise InputError(f"{folder / ABOUT} has no settings, or no step of a run")
  parts = [tree.get(x) for x in ("params", "codebook")]
  if {*tree} != {"params", "codebook"} or not all(
    isinstance(x, dict) for x in parts
  ):
    raise InputError(f"{folder / ARRAYS} holds {some(tree)}, no model")
  return Model(tree["params"], tree["codebook"], settings, step)


def stored(model: Model) -> dict[str, Any]:
  """Descriptions of a model's arrays: {"params": ..., "codebook": ...}."""
  tree = {"params": model.params, "codebook": model.codebook}
  return nested({k: Like(x.shape, x.dtype) for k, x in flat(tree).items()})


def check(model: Model, expected: Mapping[str, Any]) -> None:
  """Raises InputError for arrays that do not fit the network.

  Args:
    model: as `read` returns it.
    expected: {"params": ..., "codebook": ...}, the network's descriptions.
  """
  wanted = {name: x.shape for name, x in flat(expected).items()}
  shape = wanted["codebook/code_KxD"]
  wanted |= {f"codebook/{x}": shape[: x.count("x") + 1] for x in FIELDS}
  for m in model.settings["modalities"]:
    wanted[f"codebook/age/{m}"] = shape[:1]
  arrays = flat({"params": model.params, "codebook": model.codebook})
  # Predictors of CPC are allowed: a run may start from them.
  unknown = [
    x for x in arrays.keys() - wanted if not x.startswith("params/cpc/")
  ]
  lines = {
    "lacks": wanted.keys() - arrays.keys(),
    "has too many": unknown,
    "has of other shapes": [
      x for x in wanted.keys() & arrays if arrays[x].shape != tuple(wanted[x])
    ],
  }
  faults = [f"{kind}: {some(names)}" for kind, names in lines.items() if names]
  if faults:
    raise InputError("; ".join(faults))
  for name, x in arrays.items():
    if bad := fault(x):
      raise InputError(f"{name!a} {bad}")


def digest(path: pathlib.Path) -> str:
  """The sha256 of a file; raises InputError if it can't be read."""
  guard.check(path)
  with guard.reading(path), path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _about(path: pathlib.Path) -> dict[str, Any]:
  about = guard.read_json(path, LARGEST)
  if not isinstance(about, dict) or about.get("format") != FORMAT:
    raise InputError(f"{path} is of no format that is known; {FORMAT} is")
  return about
