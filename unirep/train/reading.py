"""Frozen models from checkpoints, which a stranger may have written.

Nothing in a checkpoint is executed, and nothing outside of its folder is read.
Memory is allocated only once all sizes are those of the network that the
checkpoint's configuration describes. Nothing checks what its numbers do: see
docs/runs.md.
"""

import contextlib
import json
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from unirep.parallel import trees
from unirep.runtime.errors import InputError, first_line
from unirep.train import digests, restoring
from unirep.train import state as states

Settings = Mapping[str, Any]
Shapes = Mapping[str, Any]  # nested, of descriptions of arrays

LARGEST_TEXT = 2**24  # bytes of a JSON file
ROOM = 2**26  # numbers that training may keep beside those of the network
MOST_PACKED = 16  # bytes in memory for a byte on disk; weights hardly shrink


def read_model(
  path: pathlib.Path, expected: Callable[[Settings, Shapes], Shapes]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
  """Reads the model of the newest undamaged checkpoint, on one device.

  Args:
    path: a work directory, its `checkpoints`, or one checkpoint in there.
    expected: (configuration, stored shapes) -> the shapes that the network of
      this configuration has, a tree of some of the stored names. Feature widths
      are taken from the stored shapes.

  Returns:
    Parameters, the codebook's fields, and the run's configuration.

  Raises:
    InputError: if there is no checkpoint, none can be read, or the newest
      undamaged one holds another model than its configuration describes.
  """
  return read_newest(path, expected)[1:]


def read_newest(
  path: pathlib.Path, expected: Callable[[Settings, Shapes], Shapes]
) -> tuple[int, dict[str, Any], dict[str, Any], dict[str, Any]]:
  """Reads as `read_model`, and returns the checkpoint's step first."""
  root, steps = find(path)
  fault = ""
  for step in sorted(steps, reverse=True):
    try:
      fault = digests.damage(root, step, "config")
      fault = fault or digests.damage(root, step, "model")
      if not fault:
        _warn(root, step)
        params, codebook, settings = _read(root, step, expected)
        model: Any = {"params": params, "codebook": codebook}
        bad = states.nonfinite(model)
        if not bad:
          return step, params, codebook, settings
        fault = f"{bad} is not finite"
    except OSError as error:
      reason = error.strerror or str(error)
      fault = f"{error.filename or 'it'}: {reason}"
    logging.warning("checkpoint %s is damaged (%s)", root / str(step), fault)
  raise InputError(f"{root}: no checkpoint can be read ({fault})")


def find(path: pathlib.Path) -> tuple[pathlib.Path, list[int]]:
  """Finds the directory of checkpoints that `path` means, and their steps.

  Raises:
    InputError: if there are none.
  """
  number = restoring.is_number
  if number(path.name) and (path / "model").exists():
    return path.parent, [int(path.name)]
  for root in (path / "checkpoints", path):
    if root.is_dir():
      names = [x.name for x in root.iterdir() if number(x.name)]
      steps = [int(x) for x in names if (root / x / "model").is_dir()]
      if steps:
        return root, steps
  raise InputError(f"{path}: no checkpoint there")


def configuration(place: pathlib.Path) -> dict[str, Any]:
  """Reads the configuration of a checkpoint's run.

  Raises:
    InputError: if it is too large, or not JSON.
    OSError: if it can't be read.
  """
  return _json(place / "config" / "metadata")


def _warn(root: pathlib.Path, step: int) -> None:
  loose = [
    x
    for item in ("config", "model")
    for x in digests.unrecorded(root, step, item)
  ]
  if loose:
    logging.warning(
      "checkpoint %s: no digest vouches for %s%s; damage would not be noticed",
      root / str(step),
      loose[0],
      f" and {len(loose) - 1} more" if loose[1:] else "",
    )


def _read(root, step, expected):
  """Parameters, codebook and configuration of a step of allowed sizes."""
  place = root / str(step)
  settings = configuration(place)
  for name in ("_METADATA", "_sharding"):
    _json(place / "model" / name)  # Orbax has no limit to their size
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  try:
    # A manager would also read the state of training: twice the time.
    with contextlib.closing(ocp.StandardCheckpointHandler()) as reader:
      where: Any = (place / "model").resolve()
      stored = reader.metadata(where).tree
      if not isinstance(stored, dict) or not {"params", "codebook"} <= {
        *stored
      }:
        raise InputError(f"{place} holds no model")
      _check(place, stored, expected(settings, stored))
      like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device),
        stored,
      )
      model = reader.restore(where, args=ocp.args.StandardRestore(like))
  except InputError:
    raise
  except Exception as error:  # Orbax raises many kinds for broken files
    raise InputError(f"{place}: {first_line(error)}") from error
  return model["params"], model["codebook"], settings


def _json(path: pathlib.Path) -> dict[str, Any]:
  if path.stat().st_size > LARGEST_TEXT:
    raise InputError(f"{path} is too large, {path.stat().st_size} bytes")
  try:
    value = json.loads(path.read_bytes())
  except (ValueError, RecursionError) as error:
    raise InputError(f"{path} is no JSON ({first_line(error)})") from error
  if not isinstance(value, dict):
    raise InputError(f"{path} must hold an object of JSON")
  return value


def _check(place: pathlib.Path, stored: Shapes, expected: Shapes) -> None:
  """Raises InputError for arrays other than those of the expected network."""
  there, wanted = trees.named(stored), trees.named(expected)
  for name, x in wanted.items():
    if name not in there:
      raise InputError(f"{place} lacks {name}, which its configuration needs")
    if tuple(there[name].shape) != tuple(x.shape):
      raise InputError(
        f"{place}: {name} has shape {tuple(there[name].shape)}, and by its "
        f"configuration {tuple(x.shape)}"
      )
  for name, x in there.items():
    kinds = "fiuV" if name in wanted else "fiuVb"  # V: bfloat16
    dtype = np.dtype(x.dtype)
    if dtype.kind not in kinds or dtype.itemsize > 8:
      raise InputError(f"{place}: {name} holds {dtype}")
    # A chunk is read as a whole: it may be no larger than its array.
    pairs = zip(x.storage.chunk_shape, x.shape, strict=True)
    if not all(0 < chunk <= max(size, 1) for chunk, size in pairs):
      raise InputError(f"{place}: {name} is not stored as checkpoints are")
  sizes = {name: math.prod(x.shape) for name, x in there.items()}
  on_disk = sum(digests.listing(place, "model").values())
  most = min(
    8 * sum(sizes[name] for name in wanted) + ROOM,
    MOST_PACKED * on_disk // 4 + ROOM,
  )
  if sum(sizes.values()) > most:
    raise InputError(
      f"{place} says that it holds {sum(sizes.values())} numbers; by its files "
      f"and its configuration there are {most} at most"
    )
