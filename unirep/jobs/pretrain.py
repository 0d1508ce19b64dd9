"""Pretraining: trains, or goes on training, and evaluates."""

import math
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging
from jax.sharding import Mesh
from rich.console import Console

from unirep.config.build import Config
from unirep.data import pipeline
from unirep.inference.tokenizer import Tokenizer
from unirep.jobs import encoding, evaluation, preparation
from unirep.jobs import preparation as starts
from unirep.jobs import workdir as workdirs
from unirep.jobs.preparation import Job
from unirep.parallel import mesh as meshes
from unirep.reports import pictures, tables
from unirep.runtime import atomic, lockstep
from unirep.runtime.errors import InputError
from unirep.train import log, loop, resident, restoring, saving, step, tracking
from unirep.train import state as states
from unirep.train.state import TrainState


def run(
  config: Config, workdir: pathlib.Path, console: Console
) -> dict[str, Any]:
  """Trains, or goes on training, and evaluates.

  Writes checkpoints, `metrics.jsonl`, TensorBoard files, `summary.json`,
  `report.png` and `report.pdf` into `workdir`. A work directory that holds a
  checkpoint is resumed.

  Args:
    config: as `configs/pretrain.py` gives it.
    workdir: made if needed.
    console: where to print.

  Returns:
    The summary; of several processes, only the first one's has evaluated.

  Raises:
    InputError: for anything that the user can mend.
    LostProcessError: if another process of the run is gone.
    SaveError: if a checkpoint can't be written, and `checkpoints_required`.
    NonFiniteError: if a metric is no longer finite; the state is in
      `workdir/nonfinite`.
  """
  with lockstep.together():
    job = preparation.prepare(config)
    workdirs.check(workdir, job.settings)
  with lockstep.together():
    if jax.process_index() == 0:
      workdirs.claim(workdir, job.settings)
  text = preparation.describe(job, config.batch_size)
  console.print(text, soft_wrap=True)
  manager = saving.open_manager(workdir / workdirs.CHECKPOINTS)
  state, how = start(job, config, manager)
  began_at, began = int(state.step), time.perf_counter()
  if how:
    console.print(f"{workdir}: {how}", soft_wrap=True)
  feed = _feed(config, job, console, config.steps - began_at)
  with tracking.run(config.wandb, workdir, job.settings) as tracker:
    to = open_log(workdir, config.steps, began_at, console, job, tracker)
    with to:
      state = train(config, job, state, feed, to, manager, workdir)
    summary = {
      "steps": int(state.step),
      "seconds": round(time.perf_counter() - began, 2),
      "steps_this_session": int(state.step) - began_at,
      "config": job.settings,
    }
    params, code_KxD = meshes.fetch(
      job.mesh, (state.params, state.codebook.code_KxD)
    )
    tokenizer = Tokenizer(job.network, params, code_KxD, job.settings)
    found = finish(config, job, tokenizer, summary, workdir, console)
    if tracker is not None:
      tracker.summary.update(log.leaves(found))
  lockstep.wait("evaluated", encoding.DAY)
  return summary | found


def start(job: Job, config: Config, manager: Any) -> tuple[TrainState, str]:
  """The newest checkpoint's state and place in the data, or a first state.

  Returns:
    The state, and where it is from if it is no fresh one.

  Raises:
    InputError: if there are checkpoints, but none can be read, or the newest is
      from behind the last step.
  """
  root = pathlib.Path(str(manager.directory))
  restored = restoring.restore(manager, job.shapes, job.sharding)
  _check_room(root, 0 if restored is None else int(restored[0].step), config)
  if restored is not None:
    state, place, theirs = restored
    where = root.parent
    with lockstep.together():
      if jax.process_index() == 0:
        workdirs.compare(f"the checkpoint in {where}", theirs, job.settings)
    if int(state.step) > config.steps:
      raise InputError(
        f"{where} is after step {int(state.step)} already; "
        f"steps={config.steps} must not lie before it"
      )
    job.batches.set_state(place)
    return state, f"resuming after step {int(state.step)}"
  state = starts.fresh(job.init, config.seed, job.sharding)
  if not config.init_from:
    return state, ""
  path = pathlib.Path(config.init_from)
  state, anew = starts.from_run(state, path, job.sharding)
  without = f", which lacks {', '.join(anew)}" if anew else ""
  return state, f"starts from {path}{without}"


def _check_room(root: pathlib.Path, first: int, config: Config) -> None:
  """Raises InputError for a folder where a checkpoint will have to be."""
  due = [config.steps, *range(0, config.steps, config.checkpoint_every)]
  with lockstep.together():
    if jax.process_index() == 0:
      for step in {*restoring.strangers(root)} & {*due}:
        if step > first:
          raise InputError(
            f"{root / str(step)} is no checkpoint, and is where one will be; "
            "move it away"
          )


def open_log(
  workdir: pathlib.Path,
  steps: int,
  start: int,
  console: Console,
  job: Job,
  tracker: Any,
) -> log.Log | log.Silent:
  """Of several processes, one keeps the log."""
  if jax.process_index():
    return log.Silent()
  return log.Log(workdir, steps, start, console, job.settings, tracker)


def train(
  config: Config,
  job: Job,
  state: TrainState,
  feed: Iterator[Any],
  to: log.Log | log.Silent,
  manager: ocp.CheckpointManager,
  workdir: pathlib.Path,
) -> TrainState:
  """The loop, with its numbers from `config`."""

  def failed(error: saving.SaveError) -> None:
    if config.checkpoints_required:
      raise error
    logging.warning("%s; training goes on", error)

  saver = saving.Saver(manager, failed, config.checkpoints_kept)
  since = [time.monotonic()]

  def save(state: TrainState, last: bool) -> bool:
    waited = time.monotonic() - since[0]
    if not last and not lockstep.same(waited >= config.checkpoint_seconds):
      return False
    since[0] = time.monotonic()
    workdirs.hold_on(workdir)
    if bad := states.nonfinite(state):
      raise loop.NonFiniteError(int(state.step), bad, math.nan, state)
    saver.save(state, job.settings, job.batches.get_state())
    return saver.wait() if last else True

  program = step.build(
    job.training,
    job.mesh,
    sharding=job.sharding if config.mesh.model > 1 else None,
  )
  run_args = jax.device_put(
    states.run_args(config.seed, config.steps), meshes.replicated(job.mesh)
  )
  try:
    with lockstep.watched():
      return loop.run(
        lambda state, batch: program(state, batch, run_args),
        state,
        feed,
        steps=config.steps,
        log=to,
        log_every=config.log_every,
        save=save,
        save_every=config.checkpoint_every,
      )
  except loop.NonFiniteError as error:
    broken = saving.open_manager(workdir / workdirs.NONFINITE)
    kept = saving.Saver(broken, lambda full: logging.warning("%s", full), 1)
    kept.save(error.state, job.settings, job.batches.get_state())
    kept.wait()
    raise
  finally:
    job.batches.close()


def _feed(
  config: Config, job: Job, console: Console, steps: int
) -> Iterator[Any]:
  """Batches on the devices, from the host or from their own memory."""
  if not config.data.device_resident:
    return on_devices(job.batches, job.mesh)
  if not steps:  # nothing is left to learn from them
    return iter(())
  began = time.perf_counter()
  with lockstep.together():
    data = resident.put(job.train, job.mesh)
  kept = sum(x.nbytes for x in jax.tree.leaves(data)) / 2**30
  console.print(
    f"{len(job.train):,} samples, {kept:.1f} GiB, are in the memory of the"
    f" devices after {time.perf_counter() - began:.0f} s",
    soft_wrap=True,
  )
  return resident.batches(job.batches, data, job.mesh)


def finish(
  config: Config,
  job: Job,
  tokenizer: Tokenizer,
  summary: dict[str, Any],
  workdir: pathlib.Path,
  console: Console,
) -> dict[str, Any]:
  """Evaluates, prints and draws; what that adds to the summary.

  All processes encode, and the first one does the rest.
  """
  with lockstep.watched():
    codes = evaluation.encode(
      config, tokenizer, job.train, job.test, workdir / workdirs.CODES
    )
  if jax.process_index() > 0:
    return {}
  found = evaluation.evaluate(config, tokenizer.codebook, codes)
  summary = summary | found.results
  console.print(tables.summary(summary))
  pictures.picture(
    workdir / workdirs.REPORT,
    log.read(workdir / log.METRICS),
    found.usage,
    found.by_class,
  )
  atomic.write_json(workdir / workdirs.SUMMARY, summary)
  written = f"{workdirs.SUMMARY} and {workdirs.REPORT}"
  console.print(f"{written} are in {workdir}", soft_wrap=True)
  return found.results


def on_devices(batches: pipeline.BatchIterator, mesh: Mesh) -> Iterator[Any]:
  """All but labels as arrays over the mesh."""
  for batch in batches:
    inputs = {part: x for part, x in batch.items() if part != "labels"}
    yield meshes.put_batch(mesh, inputs)
