"""The checkpoint that a run goes on from.

A checkpoint is moved away only if its digests say that it is of this run and
damaged. An error of the disk is no damage: it ends the run with a line, and
changes nothing.
"""

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

from unirep.runtime import lockstep
from unirep.runtime.errors import InputError, first_line
from unirep.train import digests, saving
from unirep.train import state as states
from unirep.train.state import TrainState

QUARANTINE = "quarantine"
METADATA = "_CHECKPOINT_METADATA"  # a file that Orbax writes in each step


def restore(
  manager: ocp.CheckpointManager, like: TrainState, sharding: TrainState
) -> tuple[TrainState, dict[str, Any], dict[str, Any]] | None:
  """Reads the newest checkpoint that is undamaged and finite.

  Newer ones of the run go to `quarantine`: the run will write these steps
  again. Folders that are no checkpoints are left alone.

  Args:
    manager: from `saving.open_manager`.
    like: a state of the same shapes and types (arrays or their descriptions).
    sharding: of each restored array; devices and processes may be others than
      those of the run that saved, and more or fewer.

  Returns:
    The state, the data iterator's position, and the run's configuration; None
    if there is no checkpoint.

  Raises:
    InputError: if there are checkpoints, but none can be read; for an error of
      the disk; for a newer folder that would be written over.
  """

  def place(x, sharding):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  wanted = jax.tree.map(place, like, sharding)
  root = pathlib.Path(str(manager.directory))
  damaged: dict[int, str] = {}
  for step in _steps(root):
    fault = _fault(root, step)
    if not fault:
      restored = _read(manager, root, step, wanted)
      bad = states.nonfinite(restored[0])
      if not bad:
        _set_aside(root, damaged)
        _adopt(root, step)
        return restored
      fault = f"{bad} is not finite"
    logging.warning(
      "checkpoint %s is damaged (%s); trying the one before",
      root / str(step),
      fault,
    )
    damaged[step] = fault
  if damaged:
    raise InputError(
      f"{root}: none of the checkpoints {sorted(damaged)} can be read "
      f"({next(reversed(damaged.values()))}); start in a new work directory"
    )
  return None


def strangers(root: pathlib.Path) -> list[int]:
  """Lists the folders named by a number that are no checkpoints."""
  if not root.is_dir():
    return []
  numbers = {int(x.name) for x in root.iterdir() if is_number(x.name)}
  return sorted(numbers - {*_steps(root)})


def is_number(name: str) -> bool:
  """Whether a folder of this name may be a step."""
  return name.isascii() and name.isdecimal() and str(int(name)) == name


def _steps(root: pathlib.Path) -> list[int]:
  """Steps in the record of this run, or whole by Orbax; the newest first."""
  if not root.is_dir():
    return []
  record = digests.known(root)
  return sorted(
    (
      int(x.name)
      for x in root.iterdir()
      if is_number(x.name)
      and (x.name in record or (x / METADATA).is_file())
      and x.is_dir()
    ),
    reverse=True,
  )


def _fault(root: pathlib.Path, step: int) -> str:
  """The damage that process 0 finds in the files, in all processes."""
  fault = ""
  with lockstep.together():
    if jax.process_index() == 0:
      try:
        fault = digests.damage(root, step)
        loose = digests.unrecorded(root, step)
      except OSError as error:
        raise InputError(
          f"{error.filename or root / str(step)}: {error.strerror}; nothing was"
          " changed, the same command goes on once it can be read"
        ) from error
      if loose and not fault:
        logging.warning(
          "checkpoint %s: no digest vouches for %s", root / str(step), loose[0]
        )
  bad = lockstep.same(int(bool(fault)))
  return fault or ("process 0 says so" if bad else "")


def _read(
  manager: ocp.CheckpointManager,
  root: pathlib.Path,
  step: int,
  wanted: TrainState,
) -> tuple[TrainState, dict[str, Any], dict[str, Any]]:
  """Reads a step with files that are undamaged by their digests."""
  model, train = saving.items(wanted)
  try:
    items = manager.restore(
      step,
      args=ocp.args.Composite(
        model=ocp.args.StandardRestore(model),
        config=ocp.args.JsonRestore(),
        train=ocp.args.StandardRestore(train),
        data=ocp.args.JsonRestore(),
      ),
    )
  except Exception as error:  # Orbax raises many kinds
    if isinstance(error, jax.errors.JaxRuntimeError):
      raise  # of the devices, or a lost process
    raise InputError(
      f"{root / str(step)} cannot be read ({first_line(error)}); nothing was "
      "changed: start again, with what wrote it, or in a new work directory"
    ) from error
  state = _state(items["model"], items["train"])
  return state, items["data"], items["config"]


def _set_aside(root: pathlib.Path, damaged: Mapping[int, str]) -> None:
  """Moves damaged checkpoints to `quarantine`."""
  with lockstep.together():
    if jax.process_index() == 0:
      record = digests.known(root)
      for step, fault in damaged.items():
        if str(step) not in record:
          raise InputError(
            f"{root / str(step)} can't be read ({fault}), and no digest says "
            "that it is of this run; move it away"
          )
        try:
          place = digests.set_aside(root, step, root.parent / QUARANTINE)
        except OSError as error:
          raise InputError(
            f"{root / str(step)} is damaged ({fault}) and cannot be moved: "
            f"{error.strerror}"
          ) from error
        logging.warning("%s is now in %s", root / str(step), place)


def _adopt(root: pathlib.Path, step: int) -> None:
  """Records a step of a run that was killed before it wrote the digests."""
  if jax.process_index() == 0 and str(step) not in digests.known(root):
    with contextlib.suppress(OSError):  # the run goes on without them
      digests.write(root, step)


def _state(model: Mapping[str, Any], train: Mapping[str, Any]) -> TrainState:
  side = dict(train)
  step, opt_state = side.pop("step"), side.pop("opt_state")
  return TrainState(step=step, opt_state=opt_state, side=side, **model)
