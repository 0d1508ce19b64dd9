"""Configuration in, results out: the only reader of a ConfigDict."""

import functools
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from rich.console import Console

from unirep import codebook, report
from unirep import workdir as workdir_lib
from unirep.data import arrays, contract, pipeline
from unirep.errors import InputError
from unirep.losses import club, cmcm, cpc, infonce, objective, reconstruction
from unirep.model import Modality, Model
from unirep.tasks import codes as codes_lib
from unirep.tasks import probe
from unirep.train import checkpoint, loop, optimizer
from unirep.train import log as log_lib
from unirep.train import mesh as mesh_lib
from unirep.train import state as state_lib
from unirep.train import step as step_lib
from unirep.train.state import Recipe, TrainState

Config = Any  # a ConfigDict, whose type stubs know no leaves

DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}
KINDS = ("grid", "sequence", "vector")
PERMUTE = {
  "derangement": club.derangement,
  "permutation": jax.random.permutation,
}
CHOICES = {  # leaf -> what it may be
  "dtype": tuple(DTYPES),
  "restart.source": ("rows", "codes"),
  "club.negatives": tuple(PERMUTE),
  "model.pool": ("sum", "attention"),
  "optimizer.decay": ("constant", "cosine"),
}
POSITIVE = (
  *("steps", "batch_size", "log_every", "checkpoint_every", "checkpoints_kept"),
  *("model.dim", "model.heads", "model.hidden", "model.layers"),
  *("cpc.width", "cpc.layers", "club.hidden", "codebook.size"),
  *("probe.steps", "probe.batch_size", "probe.passes", "probe.seeds"),
)


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
    The summary.

  Raises:
    InputError: for anything that the user can mend.
    NonFiniteError: if a metric is no longer finite; the state is in
      `workdir/nonfinite`.
  """
  console = console or Console()
  check(config)
  settings = as_json(config)
  mesh = mesh_lib.make(config.batch_size)
  train_source, test_source = build_sources(config)
  recipe = build_recipe(config)
  sample = pipeline.stack([train_source[0]])
  recipe.model.check(sample["features"])
  batches = pipeline.batches(
    train_source,
    batch_size=config.batch_size,
    seed=config.seed,
    num_workers=config.workers,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  workdir_lib.claim(workdir, settings)
  console.print(describe(recipe.model, sample, mesh), soft_wrap=True)

  manager = checkpoint.open_manager(
    workdir / workdir_lib.CHECKPOINTS, config.checkpoints_kept
  )
  everywhere = mesh_lib.replicated(mesh)
  init = functools.partial(state_lib.init, recipe, batch=sample)
  key = jax.random.key(config.seed)
  restored = checkpoint.restore(manager, jax.eval_shape(init, key), everywhere)
  if restored:
    state, position = restored
    batches.set_state(position)
    console.print(
      f"resuming {workdir} after step {int(state.step)}", soft_wrap=True
    )
  else:
    state = jax.jit(init, out_shardings=everywhere)(key)

  def save(state: TrainState) -> None:
    checkpoint.save(manager, state, settings, batches.get_state())

  start, began = int(state.step), time.perf_counter()
  with log_lib.Log(workdir, config.steps, start, console) as log:
    try:
      state = train(config, recipe, mesh, state, batches, log, save)
    except loop.NonFiniteError as error:
      broken = checkpoint.open_manager(workdir / workdir_lib.NONFINITE, 1)
      checkpoint.save(broken, error.state, settings, batches.get_state())
      raise
    finally:
      batches.close()
  seconds = time.perf_counter() - began
  summary = {
    "steps": int(state.step),
    "seconds": round(seconds, 2),
    "steps_this_session": int(state.step) - start,
    "config": settings,
    **evaluate(config, recipe, state, train_source, test_source, workdir),
  }
  workdir_lib.write_json(workdir / workdir_lib.SUMMARY, summary)
  console.print(report.table(summary))
  written = f"{workdir_lib.SUMMARY} and {workdir_lib.REPORT}"
  console.print(f"{written} are in {workdir}", soft_wrap=True)
  return summary


def train(
  config: Config,
  recipe: Recipe,
  mesh: Mesh,
  state: TrainState,
  batches: pipeline.BatchIterator,
  log: log_lib.Log,
  save: Callable[[TrainState], None],
) -> TrainState:
  """The loop, with its numbers from `config`."""
  return loop.run(
    step_lib.build(recipe, mesh, seed=config.seed),
    state,
    on_devices(batches, mesh),
    steps=config.steps,
    log=log,
    log_every=config.log_every,
    save=save,
    save_every=config.checkpoint_every,
  )


def evaluate(
  config: Config,
  recipe: Recipe,
  state: TrainState,
  train_source: contract.Source,
  test_source: contract.Source,
  workdir: pathlib.Path,
) -> dict[str, Any]:
  """Cross-modal transfer and code usage of a state; draws the report."""
  params, code_KxD = jax.device_get((state.params, state.codebook.code_KxD))
  encoder = codes_lib.Encoder(
    recipe.model, params, code_KxD, mask_padding=recipe.mask_padding
  )
  train, test = encoder(train_source), encoder(test_source)
  cross_modal = {}
  if "class" in train.labels:
    options = dict(config.probe)
    probe_key, dropout = jax.random.split(jax.random.key(config.seed))
    varied = encoder(
      train_source, dropout=dropout, passes=options.pop("passes")
    )
    cross_modal = probe.transfer(
      probe_key,
      code_KxD,
      varied.idx,
      varied.labels["class"],
      test.idx,
      test.labels["class"],
      **options,
    )
  size = code_KxD.shape[0]
  usage = {
    m: np.bincount(idx.reshape(-1), minlength=size)
    for m, idx in train.idx.items()
  }
  count_K = np.sum(list(usage.values()), 0)
  share_K = count_K[count_K > 0] / count_K.sum()
  used = int((count_K > 0).sum())
  report.picture(
    workdir / workdir_lib.REPORT, log_lib.read(workdir / log_lib.METRICS), usage
  )
  return {
    "cross_modal": cross_modal,
    "codebook": {
      "size": size,
      "usage": used,
      "dead": size - used,
      "perplexity": float(np.exp(-(share_K * np.log(share_K)).sum())),
      "usage_by_modality": {m: int((c > 0).sum()) for m, c in usage.items()},
    },
  }


def build_sources(config: Config) -> tuple[Any, Any]:
  """Training and held-out samples.

  Raises:
    InputError: if the data is missing or broken.
  """
  options = dict(config.data)
  kind = options.pop("source")
  if kind == "arrays":
    path, holdout = options["path"], options["holdout"]
    if not path:
      raise InputError("data.path is empty; name an .npz file of features")
    whole = arrays.load_npz(path, modalities=config.modalities)
    sources: Any = arrays.split(whole, holdout, config.seed)
  else:
    sizes = options.pop("train_size"), options.pop("test_size")
    # Imported here: each needs packages that the other does without.
    if kind == "digits":
      from unirep.data.digits import Digits as source
    else:
      from unirep.data.synthetic import SyntheticEvents as source
    sources = tuple(
      source(split=split, size=size, **options)
      for split, size in zip(("train", "test"), sizes, strict=True)
    )
  for source, split in zip(sources, ("train", "test"), strict=True):
    contract.check_source(source, f"data.source={kind}, {split} split")
  return sources


def on_devices(batches: pipeline.BatchIterator, mesh: Mesh) -> Iterator[Any]:
  """Features and lengths as arrays over the mesh; labels stay behind."""
  for batch in batches:
    inputs = {part: batch[part] for part in ("features", "lengths")}
    yield mesh_lib.put_batch(mesh, inputs)


def check(config: Config) -> None:
  """Raises InputError for values that no part below would explain."""
  order, fine = tuple(config.modalities), tuple(config.fine)
  if len(set(order)) < 2 or len(set(order)) < len(order):
    raise InputError(
      f"modalities={order}: a shared codebook needs two or more, each once"
    )
  for m in order:
    if "/" in m or m not in config.encoders:
      raise InputError(f"modalities: {m!r} has no entry encoders.{m}")
    if config.encoders[m].kind not in KINDS:
      raise InputError(
        f"encoders.{m}.kind={config.encoders[m].kind!r} is not one of {KINDS}"
      )
  if not set(fine) <= set(order) or len(fine) == 1:
    raise InputError(
      f"fine={fine} must be none, or two or more, of modalities={order}"
    )
  for key, choices in CHOICES.items():
    value = leaf(config, key)
    if value not in choices:
      raise InputError(f"{key}={value!r} is not one of {choices}")
  if config.model.dim % config.model.heads:
    raise InputError(
      f"model.dim={config.model.dim} is not divisible by "
      f"model.heads={config.model.heads}"
    )
  for key in POSITIVE:
    if leaf(config, key) < 1:
      raise InputError(f"{key}={leaf(config, key)} must be at least 1")
  for m in order:
    if config.encoders[m].specific < 2:
      raise InputError(f"encoders.{m}.specific must be at least 2")
  if not 0 <= config.dropout < 1:
    raise InputError(f"dropout={config.dropout} must lie in [0, 1)")


def leaf(config: Config, key: str) -> Any:
  """The value at a dotted key."""
  return functools.reduce(lambda part, name: part[name], key.split("."), config)


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


def as_json(config: Config) -> dict[str, Any]:
  """The configuration as plain JSON values."""
  return json.loads(config.to_json())


def build_model(config: Config) -> Model:
  """The network that `config` describes."""
  return Model(
    {
      m: Modality(
        kind=config.encoders[m].kind,
        fine=m in config.fine,
        specific=config.encoders[m].specific,
      )
      for m in config.modalities
    },
    dropout=config.dropout,
    dtype=DTYPES[config.dtype],
    **config.model,
  )


def build_recipe(config: Config) -> Recipe:
  """Model, losses and optimizers, with every keyword from `config`."""
  bind, loss = functools.partial, config.loss
  restart = dict(config.restart)
  restarts = {
    "rows": codebook.restart_from_rows,
    "codes": codebook.restart_from_codes,
  }
  rate = optimizer.schedule(
    config.optimizer.learning_rate,
    steps=config.steps,
    warmup=config.optimizer.warmup,
    decay=config.optimizer.decay,
  )
  return Recipe(
    model=build_model(config),
    terms=objective.Terms(
      fine_reconstruction=bind(
        reconstruction.reconstruction, **loss.fine_reconstruction
      ),
      coarse_reconstruction=bind(
        reconstruction.reconstruction, **loss.coarse_reconstruction
      ),
      commitment=bind(reconstruction.commitment, **loss.commitment),
      distribution=bind(cmcm.code_distribution, **loss.distribution),
      cmcm=bind(cmcm.cmcm, **loss.cmcm),
      club=bind(club.estimate, **loss.club),
      cpc=bind(cpc.cpc, **loss.cpc),
      infonce=bind(infonce.infonce, **loss.infonce),
    ),
    weights=objective.Weights(**config.weights),
    optimizer=optimizer.adam(
      rate,
      clip=config.optimizer.clip,
      per_module=config.optimizer.per_module,
      epsilon=config.optimizer.epsilon,
    ),
    club_optimizer=optax.adam(config.club.learning_rate),
    init_codebook=bind(codebook_from, **config.codebook),
    ema_update=bind(codebook.ema_update, **config.ema),
    restart=bind(restarts[restart.pop("source")], **restart),
    init_cpc=bind(cpc.init, **config.cpc),
    init_club=bind(club.init, hidden=config.club.hidden),
    permute=PERMUTE[config.club.negatives],
    club_rounds=config.club.rounds,
    mask_padding=config.mask_padding,
  )


def codebook_from(key, dim, modalities, *, size: int, **keywords: Any):
  """`codebook.init` with the model's arguments first."""
  return codebook.init(key, size, dim, modalities, **keywords)
