"""Rectified flow: a model that generates a modality from codes.

Straight lines lead from noise (time 0) to data (time 1). A network learns their
mean velocity at each point and time, given the codes of the steps. It is
trained on the codes of the modality that it generates; codes of any other
modality can take their place when it samples. Source: "Flow Straight and Fast",
ICLR 2023; "Classifier-Free Diffusion Guidance", 2022.

Dimensions: N samples, B samples of a batch, T time, H/W/C a raw step, X width
of a raw step, K codes, D code width.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unirep.tasks.generation.networks import Velocity

CHUNK = 50  # training steps of one call, after which progress is reported
ROWS = 256  # samples generated at a time


class Options(NamedTuple):
  """Options of training.

  Attributes:
    steps: number of training steps.
    batch_size: samples of a batch.
    learning_rate: highest learning rate of Adam; it rises for 100 steps and
      then falls to 0.
    width: width of the network, see `Velocity`.
    blocks: number of its blocks.
    reach: steps that a block sees.
    drop: share of samples that are trained without codes, for guidance.
    decay: of the exponential moving average (EMA) of the parameters.
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
    network: see `Velocity`.
    params: EMA of its parameters.
    code_KxD: conditions of the codes, see `conditions`; (K + 1, D).
    center: mean of the training steps, (H, W, C).
    spread: standard deviation from that mean, a number.
  """

  network: Velocity
  params: Any
  code_KxD: jax.Array
  center: np.ndarray
  spread: float


def conditions(code_KxD: Any, keep_D: Any = None) -> np.ndarray:
  """Conditions (K + 1, D): scaled codes, and zeros in the last row.

  Codes are scaled to a mean square of 1. The last row stands for no code, so
  that index -1 selects it.

  Args:
    code_KxD: the codebook.
    keep_D: True for the dimensions to keep; None for all.
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
  """Trains a flow to generate samples from their own codes.

  Args:
    key: PRNG key of initial parameters, batches and noise.
    x_NxTxHxWxC: raw training samples.
    idx_NxT: their codes, -1 for none.
    code_KxD: conditions (K + 1, D), see `conditions`.
    options: see `Options`.
    progress: called with the number of steps done and the loss.
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
  average = jax.tree.map(jnp.copy, params)
  state = params, average, optimizer.init(params)
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
  """The state after some training steps, and their mean loss."""
  optimizer = _optimizer(options)

  def train_step(state, step):
    params, average, moments = state
    keys = jax.random.split(jax.random.fold_in(key, step), 4)
    row_B = jax.random.randint(
      keys[0], (options.batch_size,), 0, len(data["idx"])
    )
    x_BxTxX, idx_BxT = data["x"][row_B], data["idx"][row_B]
    drop_B = jax.random.bernoulli(keys[1], options.drop, row_B.shape)
    idx_BxT = jnp.where(drop_B[:, None], -1, idx_BxT)
    noise = jax.random.normal(keys[2], x_BxTxX.shape)
    # Times near 1/2, where the velocity is hardest to tell, are drawn most.
    time_B = jax.nn.sigmoid(jax.random.normal(keys[3], row_B.shape))
    point = _between(noise, x_BxTxX, time_B)

    def loss(params):
      velocity = network.apply(params, point, time_B, data["code"][idx_BxT])
      return ((velocity - (x_BxTxX - noise)) ** 2).mean()

    value, gradient = jax.value_and_grad(loss)(params)
    update, moments = optimizer.update(gradient, moments, params)
    params = optax.apply_updates(params, update)
    decay = jnp.minimum(options.decay, (1 + step) / (10 + step))
    average = optax.incremental_update(params, average, 1 - decay)
    return (params, average, moments), value

  state, loss_S = jax.lax.scan(train_step, state, step_S)
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
  """Generates samples (N, T, H, W, C) from codes.

  Args:
    flow: a trained model.
    key: PRNG key of the noise. The noise of a sample depends on its number
      alone, not on the other samples.
    idx_NxT: codes of any modality, -1 for none.
    guidance: weight of the codes, see "Classifier-Free Diffusion Guidance"; 1
      is no guidance, more exaggerates the effect of the codes.
    steps: Euler steps from noise to data; each runs the network twice, with
      codes and without.
  """
  parts = []
  for first in range(0, len(idx_NxT), ROWS):
    rows = idx_NxT[first : first + ROWS]
    full = np.pad(rows, [(0, ROWS - len(rows)), (0, 0)], constant_values=-1)
    number = jnp.arange(first, first + ROWS)
    part = _sample(
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
    parts.append(np.asarray(part)[: len(rows)])
  x_NxTxX = np.concatenate(parts)
  shape = *x_NxTxX.shape[:2], *flow.center.shape
  return x_NxTxX.reshape(shape) * flow.spread + flow.center


@functools.partial(jax.jit, static_argnums=(0, 1, 8))
def _sample(
  network, steps, params, code_KxD, key, number_B, idx_BxT, guidance, width
):
  """Integrates the velocity from time 0 to 1 by Euler's method."""
  keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, number_B)
  shape = idx_BxT.shape[1], width
  x_BxTxX = jax.vmap(lambda k: jax.random.normal(k, shape))(keys_B)
  both = jnp.concatenate([idx_BxT, jnp.full_like(idx_BxT, -1)])
  condition = code_KxD[both]

  def euler_step(x, time):
    time_B = jnp.full(len(both), time)
    velocity = network.apply(params, jnp.tile(x, (2, 1, 1)), time_B, condition)
    with_codes, without = jnp.split(velocity, 2)
    return x + (without + guidance * (with_codes - without)) / steps, None

  return jax.lax.scan(euler_step, x_BxTxX, jnp.arange(steps) / steps)[0]
