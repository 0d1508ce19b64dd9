"""Checkpoints, written while training goes on.

Each step is one Orbax checkpoint with the items `model` (parameters and
codebook), `config` (JSON), `train` (step, optimizer, the method's own state)
and `data` (the iterator's position, JSON). Orbax writes to a temporary name and
renames, so that a killed run leaves only whole checkpoints. Digests find files
that were cut or changed afterwards, and say which steps are of this run.
Nothing else is ever removed or written over.
"""

import concurrent.futures
import contextlib
import errno
import os
import pathlib
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp

from unirep.runtime import lockstep
from unirep.runtime.errors import first_line
from unirep.train import digests
from unirep.train.state import TrainState

TEMPORARY = ".orbax-checkpoint-tmp"  # in Orbax's names of unfinished folders


class SaveError(Exception):
  """A checkpoint could not be written; those before it are untouched."""


def open_manager(directory: pathlib.Path) -> ocp.CheckpointManager:
  """Opens the checkpoints below `directory`.

  Raises:
    OSError: if the directory can't be made or read.
  """
  if jax.process_index() == 0 and directory.is_dir():
    for path in _unfinished(directory):  # of a run that was killed
      shutil.rmtree(path, ignore_errors=True)
  options = ocp.CheckpointManagerOptions(
    # Both would delete folders that are not of this run.
    max_to_keep=None,
    cleanup_tmp_directories=False,
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
    self,
    manager: ocp.CheckpointManager,
    failed: Callable[[SaveError], None],
    keep: int,
  ):
    """Saves by `manager`, and keeps the last `keep` checkpoints of the run.

    `failed` is called for every checkpoint that can't be written, and may
    raise. Files of such a checkpoint are removed, and the next may succeed.
    """
    self._manager, self._failed, self._keep = manager, failed, keep
    self._root = pathlib.Path(str(manager.directory))
    self._worker = concurrent.futures.ThreadPoolExecutor(1)
    self._under_way: tuple[int, concurrent.futures.Future] | None = None
    self._writing = False

  def save(
    self,
    state: TrainState,
    config: Mapping[str, Any],
    data: Mapping[str, Any],
  ) -> None:
    """Starts a checkpoint of the state; waits for the one before to end."""
    self.wait()
    step = int(state.step)

    def begin():
      size = sum(x.nbytes for x in jax.tree.leaves(state))
      _check_place(self._root, step, size)
      self._manager.reload()  # it remembers steps that are removed since
      self._writing = True
      _write(self._manager, step, state, config, data)
      self._under_way = step, self._worker.submit(self._complete, step)

    self._writing = False
    self._try(step, begin)

  def wait(self) -> bool:
    """Waits for the last checkpoint; whether there was one, and it is whole."""
    if not self._under_way:
      return False
    step, complete = self._under_way
    self._under_way = None
    return self._try(step, complete.result)

  def _complete(self, step: int) -> None:
    self._manager.wait_until_finished()
    if jax.process_index() == 0:
      for old in digests.write(self._root, step)[: -self._keep]:
        digests.remove(self._root, old)

  def _try(self, step: int, function: Callable[[], None]) -> bool:
    try:
      function()
    except (OSError, ValueError, RuntimeError) as error:
      if isinstance(error, jax.errors.JaxRuntimeError):
        raise  # of the devices, or a lost process
      if jax.process_index() == 0 and self._writing:
        _remove_begun(self._root, step)
      self._manager = _renewed(self._manager)
      line = f"no checkpoint of step {step}: {first_line(error)}"
      self._failed(SaveError(line))
      return False
    return True


def _renewed(manager: ocp.CheckpointManager) -> ocp.CheckpointManager:
  """A manager that doesn't raise this one's error again at the next save."""
  if jax.process_count() > 1:  # only this process may have had an error
    return manager
  with contextlib.suppress(Exception):  # it raises its error once more
    manager.close()
  try:
    return open_manager(pathlib.Path(str(manager.directory)))
  except (OSError, ValueError):  # the next save tries again
    return manager


def _check_place(root: pathlib.Path, step: int, size: int) -> None:
  """Checks, in process 0, that a step can be written.

  Raises:
    OSError: in all processes, if the disk lacks `size` bytes or can't be
      written, or has a folder of that step that is not of this run.
  """
  free = 0  # MiB
  if jax.process_index() == 0:
    try:
      root.mkdir(parents=True, exist_ok=True)
      if str(step) in digests.known(root):
        digests.remove(root, step)
      if os.path.lexists(root / str(step)):
        raise OSError(errno.EBUSY, "in the way")
      with tempfile.TemporaryFile(dir=root):
        free = shutil.disk_usage(root).free // 2**20
    except OSError as error:
      free = -(error.errno or 1)
  free, need = lockstep.same(free), -(-size // 2**20)
  if free == -errno.EBUSY:
    raise OSError(f"{root / str(step)} is in the way, and not of this run")
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
  model, train = items(state)
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


def _unfinished(root: pathlib.Path) -> list[pathlib.Path]:
  """Folders that Orbax has not renamed."""
  name = re.compile(rf"\d+{re.escape(TEMPORARY)}(-\d+)?")
  return [x for x in root.iterdir() if name.fullmatch(x.name)]


def _remove_begun(root: pathlib.Path, step: int) -> None:
  """Removes the files of a failed save, which would fill the disk for good."""
  end = time.monotonic() + 2  # its threads may still be writing
  while time.monotonic() < end:
    if not root.is_dir():
      return  # a file has its name
    begun = _unfinished(root)
    done = root / str(step)  # without its digests
    if str(step) not in digests.known(root) and done.exists():
      begun.append(done)
    for path in begun:
      shutil.rmtree(path, ignore_errors=True)
    time.sleep(0.1)


def items(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
  """The contents of the items `model` and `train`."""
  model = {"params": state.params, "codebook": state.codebook}
  train = {"step": state.step, "opt_state": state.opt_state}
  return model, train | dict(state.side)
