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

from unirep.data import pipeline
from unirep.inference.tokenizer import Tokenizer
from unirep.jobs import encoding, evaluation, preparation
from unirep.jobs import workdir as workdirs
from unirep.jobs.preparation import Job
from unirep.parallel import mesh as meshes
from unirep.reports import pictures, tables
from unirep.runtime import atomic, lockstep
from unirep.runtime.errors import InputError
from unirep.train import log, loop, resident, restoring, saving, step, tracking
from unirep.train import state as states
from unirep.train.state import TrainState

prepare = preparation.prepare


def run(job: Job, workdir: pathlib.Path, console: Console) -> dict[str, Any]:
  """Trains, or goes on training, and evaluates.

  Writes checkpoints, `metrics.jsonl`, TensorBoard files, `summary.json`,
  `report.png` and `report.pdf` into `workdir`. A work directory that holds a
  checkpoint is resumed.

  Args:
    job: from `prepare`.
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
    workdirs.check(workdir, job.settings)
  with lockstep.together():
    if jax.process_index() == 0:
      workdirs.claim(workdir, job.settings)
  console.print(preparation.describe(job), soft_wrap=True)
  manager = saving.open_manager(workdir / workdirs.CHECKPOINTS)
  state, origin = start(job, manager)
  began_at, began = int(state.step), time.perf_counter()
  if origin:
    console.print(f"{workdir}: {origin}", soft_wrap=True)
  feed = _feed(job, console, job.steps - began_at)
  with tracking.run(job.wandb, workdir, job.settings) as tracker:
    with open_log(workdir, began_at, console, job, tracker) as run_log:
      state = train(job, state, feed, run_log, manager, workdir)
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
    results = finish(job, tokenizer, summary, workdir, console)
    if tracker is not None:
      tracker.summary.update(log.leaves(results))
  lockstep.wait("evaluated", encoding.DAY)
  return summary | results


def start(job: Job, manager: Any) -> tuple[TrainState, str]:
  """The newest checkpoint's state and place in the data, or a first state.

  Returns:
    The state, and where it is from if it is no fresh one.

  Raises:
    InputError: if there are checkpoints, but none can be read, or the newest is
      from behind the last step.
  """
  root = pathlib.Path(str(manager.directory))
  restored = restoring.restore(manager, job.shapes, job.sharding)
  _check_places(root, 0 if restored is None else int(restored[0].step), job)
  if restored is not None:
    state, place, theirs = restored
    where = root.parent
    with lockstep.together():
      if jax.process_index() == 0:
        workdirs.compare(f"the checkpoint in {where}", theirs, job.settings)
    if int(state.step) > job.steps:
      raise InputError(
        f"{where} is after step {int(state.step)} already; "
        f"steps={job.steps} must not lie before it"
      )
    job.batches.set_state(place)
    return state, f"resuming after step {int(state.step)}"
  state = preparation.fresh(job.init, job.seed, job.sharding)
  if not job.init_from:
    return state, ""
  path = pathlib.Path(job.init_from)
  state, anew = preparation.from_run(state, path, job.sharding)
  without = f", which lacks {', '.join(anew)}" if anew else ""
  return state, f"starts from {path}{without}"


def _check_places(root: pathlib.Path, first: int, job: Job) -> None:
  """Raises InputError for a foreign folder where a checkpoint will be."""
  due = [job.steps, *range(0, job.steps, job.saving.every)]
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
  start: int,
  console: Console,
  job: Job,
  tracker: Any,
) -> log.Log | log.Silent:
  """Of several processes, one keeps the log."""
  if jax.process_index():
    return log.Silent()
  return log.Log(workdir, job.steps, start, console, job.settings, tracker)


def train(
  job: Job,
  state: TrainState,
  feed: Iterator[Any],
  run_log: log.Log | log.Silent,
  manager: ocp.CheckpointManager,
  workdir: pathlib.Path,
) -> TrainState:
  """The training loop, with checkpoints."""

  def failed(error: saving.SaveError) -> None:
    if job.saving.required:
      raise error
    logging.warning("%s; training goes on", error)

  saver = saving.Saver(manager, failed, job.saving.kept)
  last_save = time.monotonic()

  def save(state: TrainState, last: bool) -> bool:
    nonlocal last_save
    waited = time.monotonic() - last_save
    if not last and not lockstep.same(waited >= job.saving.seconds):
      return False
    last_save = time.monotonic()
    workdirs.hold_on(workdir)
    if bad := states.nonfinite(state):
      raise loop.NonFiniteError(int(state.step), bad, math.nan, state)
    saver.save(state, job.settings, job.batches.get_state())
    return saver.wait() if last else True

  program = step.build(
    job.training,
    job.mesh,
    sharding=job.sharding if job.mesh.shape[meshes.MODEL] > 1 else None,
  )
  run_args = jax.device_put(
    states.run_args(job.seed, job.steps), meshes.replicated(job.mesh)
  )
  try:
    with lockstep.watched():
      return loop.run(
        lambda state, batch: program(state, batch, run_args),
        state,
        feed,
        steps=job.steps,
        log=run_log,
        log_every=job.log_every,
        save=save,
        save_every=job.saving.every,
      )
  except loop.NonFiniteError as error:
    broken = saving.open_manager(workdir / workdirs.NONFINITE)
    kept = saving.Saver(broken, lambda full: logging.warning("%s", full), 1)
    kept.save(error.state, job.settings, job.batches.get_state())
    kept.wait()
    raise
  finally:
    job.batches.close()


def _feed(job: Job, console: Console, steps: int) -> Iterator[Any]:
  """Batches on the devices, from the host or from their own memory."""
  if not job.resident:
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
  job: Job,
  tokenizer: Tokenizer,
  summary: dict[str, Any],
  workdir: pathlib.Path,
  console: Console,
) -> dict[str, Any]:
  """Evaluates, prints and draws; returns the results, a part of the summary.

  All processes encode, and the first one does the rest.
  """
  options = evaluation.Options(job.seed, job.passes, job.samples, job.probe)
  with lockstep.watched():
    codes = evaluation.encode(
      options, tokenizer, job.train, job.test, workdir / workdirs.CODES
    )
  if jax.process_index() > 0:
    return {}
  measured = evaluation.evaluate(options, tokenizer.codebook, codes)
  summary = summary | measured.results
  console.print(tables.summary(summary))
  pictures.picture(
    workdir / workdirs.REPORT,
    log.read(workdir / log.METRICS),
    measured.usage,
    measured.by_class,
  )
  atomic.write_json(workdir / workdirs.SUMMARY, summary)
  written = f"{workdirs.SUMMARY} and {workdirs.REPORT}"
  console.print(f"{written} are in {workdir}", soft_wrap=True)
  return measured.results


def on_devices(batches: pipeline.BatchIterator, mesh: Mesh) -> Iterator[Any]:
  """All but labels as arrays over the mesh."""
  for batch in batches:
    inputs = {part: x for part, x in batch.items() if part != "labels"}
    yield meshes.put_batch(mesh, inputs)
