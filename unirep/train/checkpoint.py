"""Checkpoints: for downstream, for training, and for the place in the data.

Each step is one Orbax checkpoint with the items `model` (parameters and
codebook), `config` (JSON), `train` (step, optimizer, the method's own state)
and `data` (the iterator's position, JSON). Orbax writes to a temporary name and
renames, so that a killed run leaves whole checkpoints only; digests of the
written files catch those that were cut short or changed afterwards.
"""

import concurrent.futures
import os
import pathlib
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

from unirep import digests
from unirep.errors import InputError
from unirep.parallel import lockstep
from unirep.train.state import TrainState

TEMPORARY = ".orbax-checkpoint-tmp"  # how Orbax names what it hasn't finished


class SaveError(Exception):
  """A checkpoint could not be written; those before it are untouched."""


def open_manager(directory: pathlib.Path, keep: int) -> ocp.CheckpointManager:
  """Manages the checkpoints below `directory`; the last `keep` of them stay."""
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep,
    cleanup_tmp_directories=True,
  )
  items = ("model", "config", "train", "data")
  return ocp.CheckpointManager(
    directory.resolve(), options=options, item_names=items
  )


class Saver:
  """Writes checkpoints beside training, one at a time.

  A state is copied before `save` returns; files and their digests are written
  while training goes on.
  """

  def __init__(
    self, manager: ocp.CheckpointManager, failed: Callable[[SaveError], None]
  ):
    """`failed` hears of every checkpoint that can't be written, and may raise.

    What was begun of it is removed, and the next one may succeed.
    """
    self._manager, self._failed = manager, failed
    self._root = pathlib.Path(str(manager.directory))
    self._worker = concurrent.futures.ThreadPoolExecutor(1)
    self._under_way: tuple[int, concurrent.futures.Future] | None = None

  def save(
    self,
    state: TrainState,
    config: Mapping[str, Any],
    data: Mapping[str, Any],
  ) -> None:
    """Begins a checkpoint named by the state's step, once none is under way."""
    self.wait()
    step = int(state.step)

    def begin():
      _check_room(self._root, sum(x.nbytes for x in jax.tree.leaves(state)))
      _write(self._manager, step, state, config, data)
      self._under_way = step, self._worker.submit(self._complete, step)

    self._try(step, begin)

  def wait(self) -> bool:
    """Whether what was under way, if anything, is written now."""
    if not self._under_way:
      return False
    step, complete = self._under_way
    self._under_way = None
    return self._try(step, complete.result)

  def _complete(self, step: int) -> None:
    self._manager.wait_until_finished()
    if jax.process_index() == 0:
      digests.write(self._root, self._manager.all_steps(), step)

  def _try(self, step: int, function: Callable[[], None]) -> bool:
    try:
      function()
    except (OSError, ValueError, RuntimeError) as error:
      if isinstance(error, jax.errors.JaxRuntimeError):
        raise  # of the devices, or a lost process
      if jax.process_index() == 0:
        _remove_begun(self._root, step)
      self._manager.reload()
      said = (str(error).strip() or repr(error)).splitlines()[0]
      self._failed(SaveError(f"no checkpoint of step {step}: {said}"))
      return False
    return True


def _check_room(root: pathlib.Path, size: int) -> None:
  """Raises OSError, in all processes, if the first one finds no room."""
  free = 0  # MiB
  if jax.process_index() == 0:
    try:
      root.mkdir(parents=True, exist_ok=True)
      with tempfile.TemporaryFile(dir=root):
        free = shutil.disk_usage(root).free // 2**20
    except OSError as error:
      free = -(error.errno or 1)
  free, need = lockstep.same(free), -(-size // 2**20)
  if free < 0:
    raise OSError(f"cannot write to {root}: {os.strerror(-free)}")
  if free < need:
    raise OSError(f"{root} has {free} MiB left, it needs up to {need}")


def _write(
  manager: ocp.CheckpointManager,
  step: int,
  state: TrainState,
  config: Mapping[str, Any],
  data: Mapping[str, Any],
) -> None:
  model, train = _items(state)
  manager.save(
    step,
    args=ocp.args.Composite(
      model=ocp.args.StandardSave(model),
      config=ocp.args.JsonSave(dict(config)),
      train=ocp.args.StandardSave(train),
      data=ocp.args.JsonSave(dict(data)),
    ),
    force=True,
  )


def _remove_begun(root: pathlib.Path, step: int) -> None:
  """What a save that failed has left: it would fill the disk for good."""
  end = time.monotonic() + 2  # its threads may still be writing
  while time.monotonic() < end:
    begun = [x for x in root.glob("*") if TEMPORARY in x.name]
    if str(step) not in digests.known(root) and (root / str(step)).exists():
      begun.append(root / str(step))
    for path in begun:
      shutil.rmtree(path, ignore_errors=True)
    time.sleep(0.1)


def restore(
  manager: ocp.CheckpointManager, like: TrainState, sharding: TrainState
) -> tuple[TrainState, dict[str, Any]] | None:
  """The newest checkpoint that is whole, or None where there is none.

  Args:
    manager: from `open_manager`.
    like: a state of the same shapes and types (arrays or their descriptions).
    sharding: where each restored array shall live; devices and processes may
      be other ones, in another number, than those of the run that saved.

  Returns:
    The state and the data iterator's position.

  Raises:
    InputError: if there are checkpoints, but none can be read.
  """

  def place(x, sharding):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  model, train = _items(jax.tree.map(place, like, sharding))
  root = pathlib.Path(str(manager.directory))
  steps = sorted(manager.all_steps(), reverse=True)
  fault, damaged = "", []
  for step in steps:
    fault = _damage_for_all(root, step)
    if not fault:
      try:
        items = manager.restore(
          step,
          args=ocp.args.Composite(
            model=ocp.args.StandardRestore(model),
            train=ocp.args.StandardRestore(train),
            data=ocp.args.JsonRestore(),
          ),
        )
      except Exception as error:  # whatever a broken file raises in Orbax
        fault = str(error).splitlines()[0]
      else:
        for newer in damaged:  # the run will write these steps again
          manager.delete(newer)
        return _state(items["model"], items["train"]), items["data"]
    logging.warning(
      "checkpoint %s is damaged (%s); trying the one before",
      root / str(step),
      fault,
    )
    damaged.append(step)
  if steps:
    raise InputError(
      f"{root}: none of the checkpoints {sorted(steps)} can be read ({fault}); "
      "start in a new work directory"
    )
  return None


def read_model(
  path: pathlib.Path,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
  """What downstream needs of the newest whole checkpoint, on one device.

  Args:
    path: a work directory, its `checkpoints`, or one checkpoint in there.

  Returns:
    Parameters, the codebook's fields, and the run's configuration.

  Raises:
    InputError: if there is no checkpoint, or none can be read.
  """
  root, steps = find(path)
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  fault = ""
  handlers = {  # of all items: Orbax warns of what it meets and doesn't know
    "model": ocp.StandardCheckpointHandler(),
    "config": ocp.JsonCheckpointHandler(),
    "train": ocp.StandardCheckpointHandler(),
    "data": ocp.JsonCheckpointHandler(),
  }
  options = ocp.CheckpointManagerOptions(create=False)
  with ocp.CheckpointManager(
    root.resolve(), item_handlers=handlers, options=options
  ) as manager:
    for step in sorted(steps, reverse=True):
      fault = digests.damage(root, step)
      if not fault:
        try:
          like = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device),
            manager.item_metadata(step)["model"].tree,
          )
          items = manager.restore(
            step,
            args=ocp.args.Composite(
              model=ocp.args.StandardRestore(like),
              config=ocp.args.JsonRestore(),
            ),
          )
        except Exception as error:  # whatever a broken file raises in Orbax
          fault = str(error).splitlines()[0]
        else:
          model = items["model"]
          return model["params"], model["codebook"], items["config"]
      logging.warning("checkpoint %s is damaged (%s)", root / str(step), fault)
  raise InputError(f"{root}: no checkpoint can be read ({fault})")


def find(path: pathlib.Path) -> tuple[pathlib.Path, list[int]]:
  """The directory of checkpoints that `path` means, and their steps.

  Raises:
    InputError: if there are none.
  """
  if path.name.isdigit() and (path / "model").exists():
    return path.parent, [int(path.name)]
  for root in (path / "checkpoints", path):
    if root.is_dir():
      steps = [int(x.name) for x in root.iterdir() if x.name.isdigit()]
      if steps:
        return root, steps
  raise InputError(f"{path}: no checkpoint there")


def _items(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
  model = {"params": state.params, "codebook": state.codebook}
  train = {"step": state.step, "opt_state": state.opt_state}
  return model, train | dict(state.side)


def _state(model: Mapping[str, Any], train: Mapping[str, Any]) -> TrainState:
  side = dict(train)
  step, opt_state = side.pop("step"), side.pop("opt_state")
  return TrainState(step=step, opt_state=opt_state, side=side, **model)


def _damage_for_all(root: pathlib.Path, step: int) -> str:
  """As `digests.damage`, which the first process looks into."""
  fault = digests.damage(root, step) if jax.process_index() == 0 else ""
  bad = lockstep.same(int(bool(fault)))
  return fault or ("process 0 says so" if bad else "")
