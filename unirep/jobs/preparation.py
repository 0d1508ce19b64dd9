"""Preparation of a pretraining run: everything that a configuration stands for.

`prepare` reads the configuration, once, and refuses all that can be refused;
nothing is written here.
"""

import functools
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from unirep.configuration import build
from unirep.configuration.build import Config
from unirep.data import identity, pipeline, sources
from unirep.data.datasets import extracted
from unirep.data.sample import PRESENT, Batch, Source
from unirep.jobs import checks
from unirep.jobs.workdir import IDENTITY
from unirep.methods.network import Network
from unirep.parallel import mesh as meshes
from unirep.parallel import trees
from unirep.runtime.errors import InputError
from unirep.train import reading, resident
from unirep.train import state as states
from unirep.train.state import Training, TrainState

EVEN = 8  # small batches are a multiple of it: machines have 1, 2, 4, 8 devices


class Saving(NamedTuple):
  """When checkpoints are written.

  Attributes:
    every: steps from one to the next, and no sooner than after ...
    seconds: ... that time.
    kept: the newest ones that stay.
    required: whether a run ends where one can't be written.
  """

  every: int
  seconds: float
  kept: int
  required: bool


class Job(NamedTuple):
  """A pretraining run on the devices at hand, bound.

  Attributes:
    settings: the configuration as JSON values.
    network: the network, which is frozen in the end.
    training: the method and the optimizer.
    train: samples to learn from.
    test: held-out samples.
    sample: a batch of one; it gives only shapes.
    asked: the batch size that was asked for.
    batch_size: of all processes; smaller where the data are few.
    batches: this process's share of the stream of batches.
    resident: whether all samples lie in the memory of the devices.
    mesh: the devices.
    init: key -> first state.
    shapes: of the state.
    sharding: where each leaf of the state lives.
    seed: of all draws.
    steps: number of the last step.
    log_every: steps between two logged ones.
    saving: when checkpoints are written.
    init_from: the run that gives the first weights, or "".
    wandb: a project of Weights & Biases, or "".
    passes: how often a training sample is encoded for probes, with dropout.
    samples: training samples that are encoded in the end; 0 for all.
    probe: seeds, steps, batch_size and learning_rate of the probes.
  """

  settings: dict[str, Any]
  network: Network
  training: Training
  train: Source
  test: Source
  sample: Batch
  asked: int
  batch_size: int
  batches: pipeline.BatchIterator
  resident: bool
  mesh: Mesh
  init: Callable[[jax.Array], TrainState]
  shapes: TrainState
  sharding: TrainState
  seed: int
  steps: int
  log_every: int
  saving: Saving
  init_from: str
  wandb: str
  passes: int
  samples: int
  probe: Mapping[str, Any]


def prepare(config: Config) -> Job:
  """Builds everything that may be refused, before anything is written.

  Raises:
    InputError: for anything that the user can mend.
  """
  checks.check_pretrain(config)
  mesh = meshes.make(config.batch_size, model=config.mesh.model)
  train, test = sources.pair(config.data, config.modalities, config.fine)
  network, training = build.network(config), build.training(config)
  checks.check_splits(network, train, test)
  shards = mesh.shape[meshes.AXIS]
  batch_size = fitting(config.batch_size, len(train), shards)
  sample = pipeline.stack([train[0]])
  if PRESENT in sample:
    checks.check_missing(config)
  is_resident = config.data.device_resident
  batches = pipeline.batches(
    resident.Numbers(len(train)) if is_resident else train,
    batch_size=batch_size,
    seed=config.seed,
    num_workers=0 if is_resident else config.workers,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  init = functools.partial(states.init, training, batch=sample)
  shapes = jax.eval_shape(init, jax.random.key(config.seed))
  _check_room(shapes, sample, batch_size // shards, mesh)
  settings, made = build.as_json(config), extracted.made(config.data)
  if made:
    settings["extraction"] = made  # for `Tokenizer.encode_files`
  sides = {"train": train, "test": test}
  settings[IDENTITY] = {name: identity.of(x) for name, x in sides.items()}
  probe = dict(config.probe)
  return Job(
    settings=settings,
    network=network,
    training=training,
    train=train,
    test=test,
    sample=sample,
    asked=config.batch_size,
    batch_size=batch_size,
    batches=batches,
    resident=is_resident,
    mesh=mesh,
    init=init,
    shapes=shapes,
    sharding=meshes.state_sharding(mesh, shapes, params=config.mesh.params),
    seed=config.seed,
    steps=config.steps,
    log_every=config.log_every,
    saving=Saving(
      every=config.checkpoint_every,
      seconds=config.checkpoint_seconds,
      kept=config.checkpoints_kept,
      required=config.checkpoints_required,
    ),
    init_from=config.init_from,
    wandb=config.wandb,
    passes=probe.pop("passes"),
    samples=probe.pop("samples"),
    probe=probe,
  )


def _check_room(
  shapes: TrainState, sample: Batch, batch_size: int, mesh: Mesh
) -> None:
  """Raises InputError for a state and a batch that no device could hold."""
  model = mesh.shape[meshes.MODEL]
  state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
  batch = batch_size * sum(x.nbytes for x in sample["features"].values())
  gib = [f"{x / 2**30:,.1f} GiB" for x in (state // model, batch)]
  trees.check_room(
    f"a state of {gib[0]} and a batch of {gib[1]}",
    state // model + batch,
    mesh.local_devices,
    "make model, codebook.size or batch_size smaller",
  )


def fitting(asked: int, size: int, shards: int) -> int:
  """The batch size: `asked`, or less where there are fewer samples.

  It is a multiple of `EVEN` if there are that many samples, so that 1, 2, 4 or
  8 devices train alike.

  Args:
    asked: a multiple of `shards`.
    size: of the data.
    shards: devices that share a batch.

  Raises:
    InputError: for fewer samples than devices.
  """
  if size < shards:
    raise InputError(
      f"{size} samples to learn from are too few for {shards} devices"
    )
  if size >= asked:
    return asked
  even = math.lcm(EVEN, shards)
  return size // even * even or size // shards * shards


def describe(job: Job) -> str:
  """One paragraph on the run: modalities, shapes, devices, batch size."""
  network, features, devices = job.network, job.sample["features"], job.mesh
  shapes = ", ".join(f"{m} {features[m].shape[1:]}" for m in network.order)
  kind = devices.devices.flat[0].device_kind
  text = f"{shapes} on {devices.size} {kind} device(s)"
  text += (
    f"\n{len(job.train):,} samples to learn from, {len(job.test):,} held out"
  )
  if note := getattr(job.test, "note", ""):
    text += f"; {note}"
  if len(network.fine) > 1 and not network.aligns_in_time(features):
    text += (
      f"\n{' and '.join(network.fine)} have fewer than 3 time steps: InfoNCE "
      "aligns them in the place of CPC"
    )
  if job.batch_size < job.asked:
    text += f"\na batch has {job.batch_size} samples instead of {job.asked}"
    if job.batch_size % EVEN == 0:
      text += ", and 1, 2, 4 or 8 devices shall do the same training"
  return text


def fresh(
  init: Callable[[jax.Array], TrainState], seed: int, sharding: TrainState
) -> TrainState:
  """A first state with random weights."""
  return jax.jit(init, out_shardings=sharding)(jax.random.key(seed))


def from_run(
  state: TrainState, path: pathlib.Path, sharding: TrainState
) -> tuple[TrainState, list[str]]:
  """A fresh state with the weights and codes of another run.

  Weights go by their names, so that modalities may have been added or left
  out, and data may be others; the optimizer, the step and the method's own
  state start anew.

  Args:
    state: as `fresh` gives it.
    path: the other run's work directory.
    sharding: where each array of the state lives.

  Returns:
    The state, and the parts of the network that the other run lacks.

  Raises:
    InputError: if no checkpoint is there, or weights or codes have other
      shapes, or none has a name that fits.
  """
  params, codebook, _ = reading.read_model(path, build.shapes)
  theirs = trees.named(params)
  missing, found = [], 0

  def take(keys, leaf, where):
    nonlocal found
    name = jax.tree_util.keystr(keys, simple=True, separator="/")
    if name not in theirs:
      missing.append(name)
      return leaf
    found += 1
    return jax.device_put(_fits(path, name, theirs[name], leaf), where)

  params = jax.tree_util.tree_map_with_path(take, state.params, sharding.params)
  if not found:
    raise InputError(f"init_from={path}: no weights of it have a place here")
  own = state.codebook._asdict()
  places = sharding.codebook._asdict()
  for name in ("code_KxD", "count_K", "sum_KxD", "tenure_K"):
    code = _fits(path, f"codebook/{name}", codebook[name], own[name])
    own[name] = jax.device_put(code, places[name])
  state = state._replace(params=params, codebook=type(state.codebook)(**own))
  return state, sorted({"/".join(x.split("/")[:3]) for x in missing})


def _fits(path, name, theirs, ours):
  if theirs.shape != ours.shape:
    raise InputError(
      f"init_from={path}: {name} has shape {theirs.shape} there and "
      f"{ours.shape} here; give both runs one network and codebook.size"
    )
  return jnp.asarray(theirs, ours.dtype)
