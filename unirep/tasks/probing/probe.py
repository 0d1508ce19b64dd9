"""Probes: small heads on frozen codes, many of them trained in one program.

A probe sees only indices and the codebook. Its first layer is therefore
computed once for each code and looked up by index. TOC keeps some dimensions of
the codes; a mask that zeroes the others trains exactly like a probe on the kept
ones, so that probes of every width run side by side under `jax.vmap`.

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
  """Codes of N samples in one modality, and their labels.

  Attributes:
    idx_NxT: indices of codes.
    label: labels as the task's loss and score take them: an array, or a tree of
      arrays, with a leading N.
  """

  idx_NxT: Any
  label: Any


class Task(NamedTuple):
  """A prediction task of a probe.

  Attributes:
    head: (params, code_KxD, idx_NxT) -> logits: `clip` or `segment`.
    loss: (params, logits, label) -> scalar.
    score: (logits, label) -> named scalars in [0, 1].
    primary: name of the score that chooses between evaluations.
    outputs: number of logits, C.
    weighted: whether the loss has a learned weight `alpha` for each output.
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
  """Initial parameters: two linear layers, and `alpha` if the loss has it.

  Args:
    key: PRNG key.
    dim: code width D; the first layer is D x D.
    outputs: C.
    keep_D: True for the dimensions that are used; all by default. Weights of
      the others are zero and stay zero. Weights are drawn uniformly within
      1 / sqrt(number of dimensions kept).
    weighted: adds `alpha` (C,), 0.1 for every output.
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
  """Logits (N, C) of the clip probe: Linear, maximum over time, Linear."""
  y_KxD = _linear(params["hidden"], code_KxD)
  return _linear(params["outputs"], y_KxD[idx_NxT].max(1))


def segment(
  params: Params, code_KxD: jax.Array, idx_NxT: jax.Array
) -> jax.Array:
  """Logits (N, T, C) of the segment probe: Linear, Linear at each step."""
  y_KxD = _linear(params["hidden"], code_KxD)
  return _linear(params["outputs"], y_KxD)[idx_NxT]


def logits(
  task: Task, params: Params, code_KxD: jax.Array, idx_NxT: jax.Array
) -> jax.Array:
  """Logits of all samples, `SCORED` at a time to bound memory."""
  if len(idx_NxT) <= SCORED:
    return task.head(params, code_KxD, idx_NxT)

  def of_sample(idx_T):
    return task.head(params, code_KxD, idx_T[None])[0]

  return jax.lax.map(of_sample, idx_NxT, batch_size=SCORED)


def _linear(layer, x):
  return x @ layer["kernel"] + layer["bias"]


@functools.cache  # an optimizer is a static argument: equal ones must be one
def optimizer(
  learning_rate: float,
  *,
  halve_at: Sequence[int] = (),
  max_norm: float | None = None,
  clip_alpha: bool = True,
) -> optax.GradientTransformation:
  """Adam, with gradients clipped separately for the layers and for `alpha`.

  Args:
    learning_rate: of the layers and of `alpha`.
    halve_at: steps at which the learning rate halves.
    max_norm: largest gradient norm of the layers, 0.5 in the released scripts;
      None does not clip.
    clip_alpha: whether the gradient of `alpha` is clipped as well.
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
  """Clips the norm as PyTorch does, which adds 1e-6 to it."""

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
  """One update: parameters, optimizer state, and the loss before the update."""

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
    keep_D: True for the dimensions that the probe sees.
    train: training samples.
    tests: name -> samples to score the probe on, `evaluations` times.
    task: see `Task`.
    optimizer: see `optimizer`.
    steps: number of updates, a multiple of `evaluations`.
    evaluations: E, evenly spaced, the last one after the last update.
    batch_size: samples of a minibatch.

  Returns:
    The parameters and, for every name in `tests`, score name -> (E,).
  """
  code_KxD = code_KxD * keep_D
  draw_key, batch_key = jax.random.split(key)
  params = init(
    draw_key,
    code_KxD.shape[1],
    task.outputs,
    keep_D=keep_D,
    weighted=task.weighted,
  )
  size = train.idx_NxT.shape[0]

  def step(carry, key):
    params, opt_state = carry
    pick_B = jax.random.randint(key, (batch_size,), 0, size)
    batch = jax.tree.map(lambda x: x[pick_B], train)
    params, opt_state, _ = train_step(
      params, opt_state, code_KxD, batch, task=task, optimizer=optimizer
    )
    return (params, opt_state), None

  def until_evaluation(carry, keys):
    carry, _ = jax.lax.scan(step, carry, keys)
    scores = {
      name: task.score(logits(task, carry[0], code_KxD, x.idx_NxT), x.label)
      for name, x in tests.items()
    }
    return carry, scores

  keys = jax.random.split(batch_key, (evaluations, steps // evaluations))
  start: Any = (params, optimizer.init(params))
  carry: Any
  carry, history = jax.lax.scan(until_evaluation, start, keys)
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
  """Trains a probe for each mask, source and seed in one program.

  Args:
    key_R: PRNG keys, one for each seed.
    code_KxD: the codebook.
    keep_MxD: masks of the dimensions that probes see.
    train: training samples stacked over sources, leaves (S, N, ...).
    tests: name -> samples stacked over sources, leaves (S, N, ...); the probe
      of source s is scored on entry s.
    chunk: probes trained side by side. None takes all on an accelerator and
      `CPU_CHUNK` on a CPU, which is limited by its cache.
    **options: task, optimizer, steps, evaluations and batch_size of `fit`.

  Returns:
    For every name in `tests`, score name -> (M, S, R, E).
  """
  shape = keep_MxD.shape[0], train.idx_NxT.shape[0], key_R.shape[0]

  def history_of(indices):
    m, s, r = indices
    train_s, tests_s = jax.tree.map(lambda x: x[s], (train, tests))
    return fit(key_R[r], code_KxD, keep_MxD[m], train_s, tests_s, **options)[1]

  indices = tuple(x.reshape(-1) for x in jnp.indices(shape))
  probes = indices[0].size
  if chunk is None:
    chunk = CPU_CHUNK if jax.default_backend() == "cpu" else probes
  history = jax.lax.map(history_of, indices, batch_size=min(chunk, probes))
  return jax.tree.map(lambda x: x.reshape(*shape, -1), history)
