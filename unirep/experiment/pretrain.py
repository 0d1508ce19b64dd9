"""Pretraining: trains, or goes on training, and evaluates."""

import functools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from absl import logging
from jax.sharding import Mesh
from rich.console import Console

from unirep import report
from unirep import workdir as workdir_lib
from unirep.data import contract, pipeline
from unirep.experiment import build, evaluation
from unirep.experiment.build import Config
from unirep.experiment.checks import check_pretrain
from unirep.model import Model
from unirep.tasks import codes as codes_lib
from unirep.train import checkpoint, cluster, loop
from unirep.train import log as log_lib
from unirep.train import mesh as mesh_lib
from unirep.train import state as state_lib
from unirep.train import step as step_lib
from unirep.train.state import Recipe, TrainState

EVALUATION_SECONDS = 3600  # for which the other processes wait for the first


def run(
  config: Config, workdir: pathlib.Path, console: Console | None = None
) -> dict[str, Any]:
  """Trains, or goes on training, and evaluates.

  Writes checkpoints, `metrics.jsonl`, TensorBoard files, `summary.json` and
  `report.png` into `workdir`. A work directory that holds a checkpoint is
  resumed.

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
  console = console or Console()
  with cluster.together():
    job = prepare(config)
    workdir_lib.check(workdir, job.settings)
  with cluster.together():
    if jax.process_index() == 0:
      workdir_lib.claim(workdir, job.settings)
  console.print(
    describe(job.recipe.model, job.sample, job.mesh), soft_wrap=True
  )
  manager = checkpoint.open_manager(
    workdir / workdir_lib.CHECKPOINTS, config.checkpoints_kept
  )
  state, resumed = start(job, config.seed, manager)
  if resumed:
    console.print(
      f"resuming {workdir} after step {int(state.step)}", soft_wrap=True
    )
  began_at, began = int(state.step), time.perf_counter()
  required = config.checkpoints_required

  def save(state: TrainState) -> bool:
    try:
      checkpoint.save(manager, state, job.settings, job.batches.get_state())
    except checkpoint.SaveError as error:
      if required:
        raise
      logging.warning("%s; training goes on", error)
      return False
    return True

  with open_log(workdir, config.steps, began_at, console) as log:
    try:
      with cluster.watched():
        state = train(config, job, state, log, save)
    except loop.NonFiniteError as error:
      broken = checkpoint.open_manager(workdir / workdir_lib.NONFINITE, 1)
      place = job.batches.get_state()
      try:
        checkpoint.save(broken, error.state, job.settings, place)
      except checkpoint.SaveError as full:
        logging.warning("%s", full)
      raise
    finally:
      job.batches.close()
  summary = {
    "steps": int(state.step),
    "seconds": round(time.perf_counter() - began, 2),
    "steps_this_session": int(state.step) - began_at,
    "config": job.settings,
  }
  params, code_KxD = mesh_lib.fetch(
    job.mesh, (state.params, state.codebook.code_KxD)
  )
  if jax.process_index() == 0:
    encode = codes_lib.Encoder(
      job.recipe.model, params, code_KxD, mask_padding=config.mask_padding
    )
    found = evaluation.evaluate(config, encode, code_KxD, job.train, job.test)
    summary |= found.results
    console.print(report.tables(summary))
    report.picture(
      workdir / workdir_lib.REPORT,
      log_lib.read(workdir / log_lib.METRICS),
      found.usage,
      found.by_class,
    )
    workdir_lib.write_json(workdir / workdir_lib.SUMMARY, summary)
    written = f"{workdir_lib.SUMMARY} and {workdir_lib.REPORT}"
    console.print(f"{written} are in {workdir}", soft_wrap=True)
  cluster.wait("evaluated", EVALUATION_SECONDS)
  return summary


class Job(NamedTuple):
  """What a configuration stands for, on the devices at hand.

  Attributes:
    settings: the configuration as JSON values.
    recipe: what to train and how.
    train: samples to learn from.
    test: held-out samples.
    sample: a batch of one; it gives only shapes.
    batches: this process's share of the stream of batches.
    mesh: the devices.
    init: key -> first state.
    shapes: of the state.
    sharding: where each leaf of the state lives.
  """

  settings: dict[str, Any]
  recipe: Recipe
  train: contract.Source
  test: contract.Source
  sample: contract.Batch
  batches: pipeline.BatchIterator
  mesh: Mesh
  init: Callable[[jax.Array], TrainState]
  shapes: TrainState
  sharding: TrainState


def prepare(config: Config) -> Job:
  """Builds everything that may be refused, before anything is written.

  Raises:
    InputError: for anything that the user can mend.
  """
  check_pretrain(config)
  mesh = mesh_lib.make(config.batch_size, model=config.mesh.model)
  train, test = build.sources(config)
  recipe = build.recipe(config)
  sample = pipeline.stack([train[0]])
  recipe.model.check(sample["features"])
  batches = pipeline.batches(
    train,
    batch_size=config.batch_size,
    seed=config.seed,
    num_workers=config.workers,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  init = functools.partial(state_lib.init, recipe, batch=sample)
  shapes = jax.eval_shape(init, jax.random.key(config.seed))
  return Job(
    settings=build.as_json(config),
    recipe=recipe,
    train=train,
    test=test,
    sample=sample,
    batches=batches,
    mesh=mesh,
    init=init,
    shapes=shapes,
    sharding=mesh_lib.state_sharding(mesh, shapes, params=config.mesh.params),
  )


def start(job: Job, seed: int, manager: Any) -> tuple[TrainState, bool]:
  """The newest checkpoint's state and place in the data, or a first state.

  Returns:
    The state, and whether it was restored.

  Raises:
    InputError: if there are checkpoints, but none can be read.
  """
  restored = checkpoint.restore(manager, job.shapes, job.sharding)
  if restored is None:
    init = jax.jit(job.init, out_shardings=job.sharding)
    return init(jax.random.key(seed)), False
  state, place = restored
  job.batches.set_state(place)
  return state, True


def open_log(
  workdir: pathlib.Path, steps: int, start: int, console: Console
) -> log_lib.Log | log_lib.Silent:
  """Of several processes, one keeps the log."""
  if jax.process_index():
    return log_lib.Silent()
  return log_lib.Log(workdir, steps, start, console)


def train(
  config: Config,
  job: Job,
  state: TrainState,
  log: log_lib.Log | log_lib.Silent,
  save: Callable[[TrainState], bool],
) -> TrainState:
  """The loop, with its numbers from `config`."""
  step = step_lib.build(
    job.recipe,
    job.mesh,
    seed=config.seed,
    sharding=job.sharding if config.mesh.model > 1 else None,
  )
  return loop.run(
    step,
    state,
    on_devices(job.batches, job.mesh),
    steps=config.steps,
    log=log,
    log_every=config.log_every,
    save=save,
    save_every=config.checkpoint_every,
  )


def on_devices(batches: pipeline.BatchIterator, mesh: Mesh) -> Iterator[Any]:
  """Features and lengths as arrays over the mesh; labels stay behind."""
  for batch in batches:
    inputs = {part: batch[part] for part in ("features", "lengths")}
    yield mesh_lib.put_batch(mesh, inputs)


def describe(model: Model, sample: contract.Batch, mesh: Mesh) -> str:
  """One paragraph on what is about to be trained, and where."""
  shapes = ", ".join(
    f"{m} {sample['features'][m].shape[1:]}" for m in model.order
  )
  text = f"{shapes} on {mesh.size} {mesh.devices.flat[0].device_kind} device(s)"
  features = {m: sample["features"][m] for m in model.order}
  if len(model.fine) > 1 and not state_lib.aligns_in_time(model, features):
    text += (
      f"\n{' and '.join(model.fine)} have fewer than 3 time steps: InfoNCE "
      "aligns them in the place of CPC"
    )
  return text
