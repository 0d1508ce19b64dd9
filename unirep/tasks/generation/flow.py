"""Rectified flow: a model that makes a modality from codes.

Noise goes to data on straight lines, and a network learns the mean direction at
each place and time, given the codes of the steps. It sees the codes of the
modality that it makes; whose codes it is given later makes no difference to it.
Source: "Flow Straight and Fast", ICLR 2023; "Classifier-Free Diffusion
Guidance", 2022.

Dimensions: N samples, B of a batch, T time, X width of a step, K codes, D code
width.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unirep.tasks.generation.networks import Velocity

CHUNK = 50  # steps of a call: one program, and a look at the progress
ROWS = 256  # samples that are made at a time


class Options(NamedTuple):
  """How a flow is trained.

  Attributes:
    steps: of training.
    batch_size: samples.
    learning_rate: of Adam, after a warmup of 100 steps, then down to 0.
    width: of the network.
    blocks: likewise.
    reach: likewise, see `Velocity`.
    drop: share of samples whose codes are hidden, for guidance.
    decay: of the mean of parameters that is kept.
  """

  steps: int = 3000
  batch_size: int = 32
  learning_rate: float = 2e-3
  width: int = 256
  blocks: int = 3
  reach: int = 1
  drop: float = 0.1
  decay: float = 0.999


class Flow(NamedTuple):
  """A trained model.

  Attributes:
    network: see there.
    params: its parameters, their mean over the last steps.
    code_KxD: what codes are told as, with a row of zeros behind: no code.
    center: mean of a step, its shape (H, W, C).
    spread: deviation from it, a number.
  """

  network: Velocity
  params: Any
  code_KxD: jax.Array
  center: np.ndarray
  spread: float


def told(code_KxD: Any, keep_D: Any = None) -> np.ndarray:
  """Codes as conditions: in units of their deviation, and none at the end.

  Args:
    code_KxD: the codebook.
    keep_D: dimensions that count; all for None.
  """
  code_KxD = np.asarray(code_KxD)
  if keep_D is not None:
    code_KxD = code_KxD[:, np.asarray(keep_D)]
  scaled_KxD = code_KxD / max(float(np.sqrt((code_KxD**2).mean())), 1e-12)
  return np.concatenate([scaled_KxD, np.zeros_like(scaled_KxD[:1])])


def train(
  key: jax.Array,
  x_NxTxHxWxC: np.ndarray,
  idx_NxT: np.ndarray,
  code_KxD: np.ndarray,
  options: Options,
  progress: Callable[[int, float], None] = lambda *_: None,
) -> Flow:
  """Learns to make samples from their own codes.

  Args:
    key: of initial values, batches and noise.
    x_NxTxHxWxC: what is to be made.
    idx_NxT: its codes; -1 is none.
    code_KxD: see `told`.
    options: see `Options`.
    progress: is told a number of steps and the loss.
  """
  N, T = idx_NxT.shape
  center = x_NxTxHxWxC.mean((0, 1))
  spread = max(float((x_NxTxHxWxC - center).std()), 1e-6)
  data = {
    "x": jnp.asarray((x_NxTxHxWxC - center) / spread).reshape(N, T, -1),
    "idx": jnp.asarray(idx_NxT),
    "code": jnp.asarray(code_KxD),
  }
  network = Velocity(options.width, options.blocks, options.reach)
  optimizer = _optimizer(options)
  first_key, key = jax.random.split(key)
  params = network.init(
    first_key, data["x"][:1], jnp.zeros(1), data["code"][data["idx"][:1]]
  )
  kept = jax.tree.map(jnp.copy, params)
  state = params, kept, optimizer.init(params)
  for first in range(0, options.steps, CHUNK):
    step = jnp.arange(first, min(first + CHUNK, options.steps))
    state, loss = _chunk(network, options, state, data, key, step)
    progress(int(step[-1]) + 1, float(loss))
  return Flow(network, state[1], data["code"], center, spread)


def _optimizer(options: Options) -> optax.GradientTransformation:
  warmup = min(100, options.steps // 10)
  rate = optax.warmup_cosine_decay_schedule(
    0.0, options.learning_rate, warmup, max(options.steps, warmup + 1)
  )
  return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _chunk(network, options, state, data, key, step_S):
  """Steps of training, and their mean loss."""
  optimizer = _optimizer(options)

  def one(state, step):
    params, kept, moments = state
    keys = jax.random.split(jax.random.fold_in(key, step), 4)
    row_B = jax.random.randint(
      keys[0], (options.batch_size,), 0, len(data["idx"])
    )
    x_BxTxX, idx_BxT = data["x"][row_B], data["idx"][row_B]
    hidden_B = jax.random.bernoulli(keys[1], options.drop, row_B.shape)
    idx_BxT = jnp.where(hidden_B[:, None], -1, idx_BxT)
    noise = jax.random.normal(keys[2], x_BxTxX.shape)
    # The middle of the way is the hardest.
    time_B = jax.nn.sigmoid(jax.random.normal(keys[3], row_B.shape))
    at = _between(noise, x_BxTxX, time_B)

    def loss(params):
      found = network.apply(params, at, time_B, data["code"][idx_BxT])
      return ((found - (x_BxTxX - noise)) ** 2).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    update, moments = optimizer.update(gradient, moments, params)
    params = optax.apply_updates(params, update)
    decay = jnp.minimum(options.decay, (1 + step) / (10 + step))
    kept = optax.incremental_update(params, kept, 1 - decay)
    return (params, kept, moments), value

  state, loss_S = jax.lax.scan(one, state, step_S)
  return state, loss_S.mean()


def _between(noise, x, time_B):
  time = time_B.reshape(-1, *[1] * (x.ndim - 1))
  return (1 - time) * noise + time * x


def sample(
  flow: Flow,
  key: jax.Array,
  idx_NxT: np.ndarray,
  *,
  guidance: float = 1.5,
  steps: int = 32,
) -> np.ndarray:
  """Makes samples from codes: (N, T, H, W, C).

  Args:
    flow: a trained model.
    key: of the noise; each sample has its own, whatever is made beside it.
    idx_NxT: codes of any modality, -1 for none.
    guidance: 1 takes codes as they are, more exaggerates what they change.
    steps: from noise to data; each asks the network twice.
  """
  made = []
  for first in range(0, len(idx_NxT), ROWS):
    rows = idx_NxT[first : first + ROWS]
    full = np.pad(rows, [(0, ROWS - len(rows)), (0, 0)], constant_values=-1)
    number = jnp.arange(first, first + ROWS)
    found = _sample(
      flow.network,
      steps,
      flow.params,
      flow.code_KxD,
      key,
      number,
      full,
      guidance,
      flow.center.size,
    )
    made.append(np.asarray(found)[: len(rows)])
  x_NxTxX = np.concatenate(made)
  shape = *x_NxTxX.shape[:2], *flow.center.shape
  return x_NxTxX.reshape(shape) * flow.spread + flow.center


@functools.partial(jax.jit, static_argnums=(0, 1, 8))
def _sample(
  network, steps, params, code_KxD, key, number_B, idx_BxT, guidance, width
):
  """Euler's steps from time 0 to 1."""
  keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, number_B)
  shape = idx_BxT.shape[1], width
  x_BxTxX = jax.vmap(lambda k: jax.random.normal(k, shape))(keys_B)
  both = jnp.concatenate([idx_BxT, jnp.full_like(idx_BxT, -1)])
  condition = code_KxD[both]

  def move(x, time):
    time_B = jnp.full(len(both), time)
    found = network.apply(params, jnp.tile(x, (2, 1, 1)), time_B, condition)
    with_codes, without = jnp.split(found, 2)
    return x + (without + guidance * (with_codes - without)) / steps, None

  return jax.lax.scan(move, x_BxTxX, jnp.arange(steps) / steps)[0]
