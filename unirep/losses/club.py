"""CLUB: an upper bound on mutual information, from a fitted q(y | x).

Cheng et al. 2020, "CLUB: A Contrastive Log-ratio Upper Bound of Mutual
Information" (the sampled form). With a network q that is fitted to p(y | x),

    I(x; y) <= mean_i log q(y_i | x_i) - log q(y_j | x_i),  j a random row.

Two small networks predict the mean and the log-variance of y from x. In every
step they are first fitted to detached features, for several rounds; then the
encoders minimize the bound, with the networks held fixed.

Dimensions: B samples of this device, R rows of all devices and parts, T time, X
and Y widths of x and y.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from unirep.losses.base import Loss, LossInputs
from unirep.nn.blocks import Linear, draw
from unirep.parallel import collectives

Params = Mapping[str, Any]


class Pair(NamedTuple):
  """Features x and y between which one network measures information.

  Attributes:
    x: parts, each (B, T, X) or (B, X). Their rows are one long batch, the first
      part's rows first.
    y: parts, each (B, T, Y) or (B, Y).
    mask: parts, each bool and of the shape (B, T), (B, 1) or (B,). A row that
      is False neither counts nor serves as a negative.
  """

  x: tuple[jax.Array, ...]
  y: tuple[jax.Array, ...]
  mask: tuple[jax.Array, ...]


def whole(x: tuple[jax.Array, ...], y: tuple[jax.Array, ...]) -> Pair:
  """A `Pair` of which every row counts."""
  return Pair(x, y, tuple(jnp.ones_like(rows[..., 0], bool) for rows in y))


class Gaussian(nn.Module):
  """q(y | x) = N(mean(x), exp(log_variance(x))), log-variance in (-1, 1).

  (..., X) -> mean and log-variance, (..., Y) each.
  """

  width: int
  hidden: int = 128

  @nn.compact
  def __call__(self, x):
    mean = self._mlp(x, "mean")
    return mean, jnp.tanh(self._mlp(x, "log_variance"))

  def _mlp(self, x, name):
    for i, width in enumerate([self.hidden] * 3 + [self.width]):
      x = Linear(width, name=f"{name}{i}")(x if i == 0 else nn.relu(x))
    return x


def apply(params: Params, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean and log-variance of y given x, shapes (..., Y)."""
  # The parameters know the sizes, so that callers need no description.
  width = params["mean3"]["bias"].shape[0]
  hidden = params["mean0"]["bias"].shape[0]
  net: Any = Gaussian(width, hidden)
  return net.apply({"params": params}, x)


def init(
  key: jax.Array, pairs: Mapping[str, Pair], hidden: int = 128
) -> dict[str, Params]:
  """Draws one network for each pair, of the widths of its features."""
  nets = {}
  for name, pair in pairs.items():
    net = Gaussian(pair.y[0].shape[-1], hidden)
    x = jnp.zeros((1, pair.x[0].shape[-1]))
    nets[name] = net.init(key, x)["params"]
  return draw(key, nets)


def log_likelihood(
  params: Params, pair: Pair, *, axis_name: str | None = None
) -> jax.Array:
  """The mean over rows of log q(y | x), without the constant Y/2 log(2 pi).

  It stays below Y/2, since the log-variance is above -1.
  """
  x, y = jnp.concatenate(pair.x), jnp.concatenate(pair.y)
  mean, log_variance = apply(params, x)
  row = -((mean - y) ** 2) / jnp.exp(log_variance) - log_variance
  row = row.sum(-1) / 2
  mask = jnp.concatenate(pair.mask)
  return collectives.masked_mean(row, mask, axis_name)


def fit(
  params: Mapping[str, Params],
  opt_state: optax.OptState,
  pairs: Mapping[str, Pair],
  optimizer: optax.GradientTransformation,
  *,
  rounds: int,
  axis_name: str | None = None,
) -> tuple[Mapping[str, Params], optax.OptState, dict[str, jax.Array]]:
  """Fits every network to the same features, `rounds` times.

  Args:
    params: pair -> parameters.
    opt_state: of all of them.
    pairs: pair -> features, which get no gradient.
    optimizer: of the networks.
    rounds: updates.
    axis_name: the device axis over which samples are spread.

  Returns:
    Parameters, optimizer state, and for each network the (rounds,)
    log-likelihoods before each of its updates.
  """
  # The fit is a part of the step, inside the differentiated loss: without the
  # stop, the encoders would get a gradient through every round of it.
  pairs = jax.lax.stop_gradient(pairs)

  def loss_fn(params):
    # One sum for all networks: each has parameters of its own, so that their
    # gradients do not mix, and one program updates all of them.
    gain = {
      name: log_likelihood(params[name], pair, axis_name=axis_name)
      for name, pair in pairs.items()
    }
    return -sum(gain.values()), gain

  def one_round(carry, _):
    params, opt_state = carry
    grads, gain = jax.grad(loss_fn, has_aux=True)(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), gain

  # A scan compiles one round, however many there are.
  start: Any = (params, opt_state)
  fitted: Any
  fitted, gains = jax.lax.scan(one_round, start, length=rounds)
  return *fitted, gains


def estimate(
  params: Params,
  pair: Pair,
  permutation_R: jax.Array,
  *,
  per_step: bool = True,
  bounded: bool = True,
  rows: Callable[..., jax.Array] = collectives.gathered_rows,
  axis_name: str | None = None,
) -> jax.Array:
  """The bound: how much better x predicts its own y than another row's y.

  Args:
    params: the fitted network; it gets no gradient.
    pair: features; x and y both get a gradient.
    permutation_R: for each row of the long batch, the row whose y is its
      negative.
    per_step: averages log q over rows, time steps and the Y features, so that
      the bound is in nats per feature and T = 1 is no special case. False is
      the released code: it averages the variance over axis 1 first (features,
      if there is no time axis), then sums over the batch if there is no time
      axis, and ignores the mask.
    bounded: clamps the bound at 0, below which mutual information can't be.
      Otherwise an encoder that misleads its network lowers the loss without
      end.
    rows: how negatives come from other devices, `collectives.gathered_rows` or
      `collectives.rotated_rows`.
    axis_name: the device axis over which rows are spread.
  """
  params = jax.lax.stop_gradient(params)
  x, y = jnp.concatenate(pair.x), jnp.concatenate(pair.y)
  index_R = permutation_R[_own_rows(pair, axis_name)]
  other = rows(jnp.stack(pair.y), index_R, axis_name)
  mean, log_variance = apply(params, x)
  if not per_step:
    precision = jnp.exp(-log_variance.mean(1))
    own = -((mean - y) ** 2).mean(1) * precision
    gap = (own + ((mean - other) ** 2).mean(1) * precision) / 2
    if y.ndim == 2:
      return collectives.psum(gap.sum(), axis_name)
    count = collectives.global_rows(y.shape[0], axis_name)
    return collectives.psum(gap.sum(), axis_name) / count
  # Of log q(y | x) - log q(other | x) the log-variances cancel.
  gap = ((mean - other) ** 2 - (mean - y) ** 2) / (2 * jnp.exp(log_variance))
  # A gap counts if both of its rows do.
  weight = jnp.concatenate(pair.mask)
  weight &= rows(jnp.stack(pair.mask), index_R, axis_name)
  bound = collectives.masked_mean(gap.mean(-1), weight, axis_name)
  return jnp.maximum(bound, 0) if bounded else bound


def _own_rows(pair, axis_name):
  """Numbers of this device's rows in the long batch of all devices."""
  mine_B = collectives.local_rows(pair.y[0].shape[0], axis_name)
  batch = collectives.global_rows(mine_B.shape[0], axis_name)
  parts = range(len(pair.y))
  return jnp.concatenate([mine_B + i * batch for i in parts])


def derangement(key: jax.Array, rows: int) -> jax.Array:
  """A random permutation (rows,) that maps no row to itself."""
  # Each row goes to its successor in one random cycle through all rows.
  cycle_R = jax.random.permutation(key, rows)
  return jnp.zeros_like(cycle_R).at[cycle_R].set(jnp.roll(cycle_R, -1))


PERMUTATIONS = {
  "derangement": derangement,
  # As released; it may pair a sample with itself.
  "permutation": jax.random.permutation,
}


def pairs(inputs: LossInputs, **keywords) -> Loss:
  """The bound of every pair, see `estimate`."""
  return Loss(
    {
      name: estimate(
        inputs.networks["club"][name],
        pair,
        inputs.draws.permutation[name],
        rows=inputs.rows,
        axis_name=inputs.axis_name,
        **keywords,
      )
      for name, pair in inputs.pairs.items()
    }
  )
