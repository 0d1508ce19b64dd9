"""Probes: small heads on frozen codes, many of them trained in one program.

A probe sees indices and the codebook, nothing else, so its first layer is a
table with a row a code. TOC keeps a part of the code's dimensions: a mask
that zeroes the rest trains exactly like a probe on the kept ones alone, so that
probes of every width run side by side under `jax.vmap`.

Dimensions: N samples, T time, K codes, D code width, C outputs, B batch;
M masks, S sources (modalities trained on), R seeds, E evaluations.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

STATIC = ("task", "optimizer", "steps", "evaluations", "batch_size", "chunk")
CPU_CHUNK = 10  # measured by benchmarks/probe.py
SCORED = 1024  # samples scored at once

Params = dict[str, Any]
Scores = dict[str, jax.Array]


class Split(NamedTuple):
  """Codes of N samples in one modality, and what they should be called.

  Attributes:
    idx_NxT: codes.
    label: whatever the task's loss and score take, with a leading N.
  """

  idx_NxT: Any
  label: Any


class Task(NamedTuple):
  """What a probe predicts.

  Attributes:
    head: (params, code_KxD, idx_NxT) -> logits: `clip` or `segment`.
    loss: (params, logits, label) -> scalar.
    score: (logits, label) -> named scalars in [0, 1].
    primary: the score that chooses between evaluations.
    outputs: number of logits C.
    weighted: whether the loss learns a weight `alpha` for each output.
  """

  head: Callable
  loss: Callable
  score: Callable
  primary: str
  outputs: int
  weighted: bool = False


def init(
  key: jax.Array,
  dim: int,
  outputs: int,
  *,
  keep_D: jax.Array | None = None,
  weighted: bool = False,
) -> Params:
  """Draws two linear layers, and weights of outputs if the loss learns them.

  Args:
    key: PRNG key.
    dim: code width D; the first layer is D x D.
    outputs: C.
    keep_D: True for the dimensions that are used. All else starts, and then
      stays, at zero; the draws' bound is 1 / sqrt(number kept).
    weighted: adds `alpha`, 0.1 for every output.
  """
  keep_D = jnp.ones(dim, bool) if keep_D is None else jnp.asarray(keep_D)
  bound = 1 / jnp.sqrt(jnp.maximum(keep_D.sum(), 1).astype(float))
  keys = jax.random.split(key, 4)

  def draw(key, *shape):
    return jax.random.uniform(key, shape, bound.dtype, -1, 1) * bound

  params: Params = {
    "hidden": {
      "kernel": draw(keys[0], dim, dim) * keep_D[:, None] * keep_D,
      "bias": draw(keys[1], dim) * keep_D,
    },
    "outputs": {
      "kernel": draw(keys[2], dim, outputs) * keep_D[:, None],
      "bias": draw(keys[3], outputs),
    },
  }
  if weighted:
    params["alpha"] = jnp.full(outputs, 0.1, bound.dtype)
  return params


def clip(params: Params, code_KxD: jax.Array, idx_NxT: jax.Array) -> jax.Array:
  """The clip probe, (N, C): Linear, maximum over time, Linear."""
  y_KxD = _linear(params["hidden"], code_KxD)
  return _linear(params["outputs"], y_KxD[idx_NxT].max(1))


def segment(
  params: Params, code_KxD: jax.Array, idx_NxT: jax.Array
) -> jax.Array:
  """The segment probe, (N, T, C): Linear, Linear, for every time step."""
  y_KxD = _linear(params["hidden"], code_KxD)
  return _linear(params["outputs"], y_KxD)[idx_NxT]


def logits(
  task: Task, params: Params, code_KxD: jax.Array, idx_NxT: jax.Array
) -> jax.Array:
  """What the head says of all samples, some at a time: memory is bounded."""
  if len(idx_NxT) <= SCORED:
    return task.head(params, code_KxD, idx_NxT)

  def one(idx_T):
    return task.head(params, code_KxD, idx_T[None])[0]

  return jax.lax.map(one, idx_NxT, batch_size=SCORED)


def _linear(layer, x):
  return x @ layer["kernel"] + layer["bias"]


@functools.cache  # equal ones are one: programs compile once
def optimizer(
  learning_rate: float,
  *,
  halve_at: Sequence[int] = (),
  max_norm: float | None = None,
  clip_alpha: bool = True,
) -> optax.GradientTransformation:
  """Adam for the layers and, apart, for `alpha`.

  Args:
    learning_rate: of both.
    halve_at: steps at which it halves.
    max_norm: largest gradient norm of the layers, as released 0.5; None does
      not clip.
    clip_alpha: clips the gradient of `alpha` likewise.
  """
  halves = dict.fromkeys(halve_at, 0.5)
  rate = optax.piecewise_constant_schedule(learning_rate, halves)

  def chain(clipped):
    steps = [_clip(max_norm)] if clipped and max_norm else []
    return optax.chain(*steps, optax.adam(rate))

  def owner(params):
    return {name: "alpha" if name == "alpha" else "layers" for name in params}

  return optax.partition(
    {"layers": chain(True), "alpha": chain(clip_alpha)}, owner
  )


def _clip(max_norm: float) -> optax.GradientTransformation:
  """Clips the norm with the 1e-6 that PyTorch adds to it."""

  def update(updates, state, params=None):
    del params
    scale = jnp.minimum(1.0, max_norm / (optax.tree.norm(updates) + 1e-6))
    return jax.tree.map(lambda g: g * scale, updates), state

  return optax.GradientTransformation(optax.init_empty_state, update)


def train_step(
  params: Params,
  opt_state: optax.OptState,
  code_KxD: jax.Array,
  batch: Split,
  *,
  task: Task,
  optimizer: optax.GradientTransformation,
) -> tuple[Params, optax.OptState, jax.Array]:
  """One update; returns the loss before it."""

  def loss_fn(params):
    logits = task.head(params, code_KxD, batch.idx_NxT)
    return task.loss(params, logits, batch.label)

  loss, grads = jax.value_and_grad(loss_fn)(params)
  updates, opt_state = optimizer.update(grads, opt_state, params)
  stepped: Any = optax.apply_updates(params, updates)
  return stepped, opt_state, loss


def fit(
  key: jax.Array,
  code_KxD: jax.Array,
  keep_D: jax.Array,
  train: Split,
  tests: Mapping[str, Split],
  *,
  task: Task,
  optimizer: optax.GradientTransformation,
  steps: int,
  evaluations: int,
  batch_size: int,
) -> tuple[Params, dict[str, Scores]]:
  """Trains one probe on minibatches drawn with replacement.

  Args:
    key: PRNG key; equal keys draw equal minibatches.
    code_KxD: the codebook.
    keep_D: the dimensions that the probe sees.
    train: what it is trained on.
    tests: name -> what it is scored on, `evaluations` times.
    task: what it predicts.
    optimizer: see `optimizer`.
    steps: updates in all, a multiple of `evaluations`.
    evaluations: E, at equal distances, the last one at the end.
    batch_size: samples a step.

  Returns:
    The parameters and, for every name in `tests`, scores (E,).
  """
  code_KxD = code_KxD * keep_D
  draw_key, batch_key = jax.random.split(key)
  options: Any = {"keep_D": keep_D, "weighted": task.weighted}
  params = init(draw_key, code_KxD.shape[1], task.outputs, **options)
  size = train.idx_NxT.shape[0]

  def step(carry, key):
    params, opt_state = carry
    pick_B = jax.random.randint(key, (batch_size,), 0, size)
    batch = jax.tree.map(lambda x: x[pick_B], train)
    params, opt_state, _ = train_step(
      params, opt_state, code_KxD, batch, task=task, optimizer=optimizer
    )
    return (params, opt_state), None

  def stretch(carry, keys):
    carry, _ = jax.lax.scan(step, carry, keys)
    scores = {
      name: task.score(logits(task, carry[0], code_KxD, x.idx_NxT), x.label)
      for name, x in tests.items()
    }
    return carry, scores

  keys = jax.random.split(batch_key, (evaluations, steps // evaluations))
  start: Any = (params, optimizer.init(params))
  carry: Any
  carry, history = jax.lax.scan(stretch, start, keys)
  return carry[0], history


@functools.partial(jax.jit, static_argnames=STATIC)
def sweep(
  key_R: jax.Array,
  code_KxD: jax.Array,
  keep_MxD: jax.Array,
  train: Split,
  tests: Mapping[str, Split],
  *,
  chunk: int | None = None,
  **options: Any,
) -> dict[str, Scores]:
  """Every probe of a task at once: each mask on each source with each seed.

  Args:
    key_R: a PRNG key a seed.
    code_KxD: the codebook, one scale for all.
    keep_MxD: masks.
    train: splits stacked over sources, leaves (S, N, ...).
    tests: name -> splits stacked over sources, leaves (S, N, ...): what the
      probe of each source is scored on under that name.
    chunk: probes side by side; chunks follow each other. None takes all on an
      accelerator, and few on a CPU, whose cache is what limits them.
    **options: of `fit`.

  Returns:
    For every name in `tests`, scores (M, S, R, E).
  """
  shape = keep_MxD.shape[0], train.idx_NxT.shape[0], key_R.shape[0]

  def one(place):
    m, s, r = place
    of_source = jax.tree.map(lambda x: x[s], (train, tests))
    return fit(key_R[r], code_KxD, keep_MxD[m], *of_source, **options)[1]

  places = tuple(x.reshape(-1) for x in jnp.indices(shape))
  if chunk is None:
    cpu = jax.default_backend() == "cpu"
    chunk = CPU_CHUNK if cpu else places[0].size
  history = jax.lax.map(one, places, batch_size=min(chunk, places[0].size))
  return jax.tree.map(lambda x: x.reshape(*shape, -1), history)
