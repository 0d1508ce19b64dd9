"""CLUB: an upper bound on mutual information, from a fitted q(y | x).

Cheng et al. 2020, "CLUB: A Contrastive Log-ratio Upper Bound of Mutual
Information" (the sampled form). Two small networks predict the mean and the
log-variance of y from x. They are fitted on detached features, several rounds a
step, and the bound that they give is then minimized by the encoders.

Dimensions: B rows of this device, R rows of all devices and parts, T time, Y
width of y.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from unirep.losses.base import Loss, View
from unirep.nn.blocks import Linear, draw
from unirep.parallel import collectives

Params = Mapping[str, Any]


class Pair(NamedTuple):
  """What one network relates: x explains y.

  Attributes:
    x: parts, each (B, T, X) or (B, X); their rows count as one long batch, the
      first part's rows first.
    y: parts, each (B, T, Y) or (B, Y).
    mask: parts, each (B, T) or (B,) bool, False for what does not count and is
      nobody's negative, or None where all does.
  """

  x: tuple[jax.Array, ...]
  y: tuple[jax.Array, ...]
  mask: tuple[jax.Array, ...] | None = None


def relate(x: tuple, y: tuple, mask: tuple) -> Pair:
  """A `Pair` of parts, whose mask is None where all of a part counts."""
  if all(part is None for part in mask):
    return Pair(x, y)
  whole = [jnp.ones_like(rows[..., 0], bool) for rows in y]
  filled = [w if m is None else m for m, w in zip(mask, whole, strict=True)]
  return Pair(x, y, tuple(filled))


class Gaussian(nn.Module):
  """q(y | x) = N(mean(x), exp(log_variance(x))), log-variance in (-1, 1)."""

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
  width = params["mean3"]["bias"].shape[0]
  hidden = params["mean0"]["bias"].shape[0]
  net: Any = Gaussian(width, hidden)
  return net.apply({"params": params}, x)


def init(
  key: jax.Array, pairs: Mapping[str, Pair], hidden: int = 128
) -> dict[str, Params]:
  """One network a pair, sized by its features."""
  nets = {}
  for name, pair in pairs.items():
    net = Gaussian(pair.y[0].shape[-1], hidden)
    x = jnp.zeros((1, pair.x[0].shape[-1]))
    nets[name] = net.init(key, x)["params"]
  return draw(key, nets)


def log_likelihood(
  params: Params, pair: Pair, *, axis_name: str | None = None
) -> jax.Array:
  """Mean over rows of log q(y | x), without the constant Y/2 log(2 pi).

  Never above Y/2, since the log-variance stays above -1.
  """
  x, y = jnp.concatenate(pair.x), jnp.concatenate(pair.y)
  mean, log_variance = apply(params, x)
  row = -((mean - y) ** 2) / jnp.exp(log_variance) - log_variance
  row = row.sum(-1) / 2
  mask = jnp.ones(()) if pair.mask is None else jnp.concatenate(pair.mask)
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

  Returns:
    Parameters, optimizer state, and for each network the (rounds,)
    log-likelihoods before each of its updates.
  """
  pairs = jax.lax.stop_gradient(pairs)

  def loss_fn(params):
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
  """The bound: how much better x explains its own y than another row's.

  Args:
    params: the fitted network; it gets no gradient.
    pair: features; both sides get the gradient.
    permutation_R: for each row of the long batch, the row whose y is its
      negative.
    per_step: averages log q over rows, time steps and the Y features, so that
      the bound is in nats per feature and T = 1 is no special case. False
      computes what the released code does: the variance is averaged over axis
      1 before use, and for inputs without a time axis that axis holds features
      and the sum runs over the batch.
    bounded: no reward for a bound below zero, which mutual information can't
      be: an encoder that fools its network would otherwise be paid without end.
    rows: how negatives come from other devices, `collectives.gathered_rows` or
      `collectives.rotated_rows`.
    axis_name: the device axis over which rows are spread.
  """
  params = jax.lax.stop_gradient(params)
  x, y = jnp.concatenate(pair.x), jnp.concatenate(pair.y)
  index_R = permutation_R[_places(pair, axis_name)]
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
  gap = ((mean - other) ** 2 - (mean - y) ** 2) / (2 * jnp.exp(log_variance))
  weight = jnp.ones(())
  if pair.mask is not None:
    weight = jnp.concatenate(pair.mask)
    weight = weight & rows(jnp.stack(pair.mask), index_R, axis_name)
  bound = collectives.masked_mean(gap.mean(-1), weight, axis_name)
  return jnp.maximum(bound, 0) if bounded else bound


def _places(pair, axis_name):
  """Where this device's rows stand in the long batch of all devices."""
  mine_B = collectives.local_rows(pair.y[0].shape[0], axis_name)
  batch = collectives.global_rows(mine_B.shape[0], axis_name)
  parts = range(len(pair.y))
  return jnp.concatenate([mine_B + i * batch for i in parts])


def derangement(key: jax.Array, rows: int) -> jax.Array:
  """A random permutation (rows,) that leaves no row in its place."""
  cycle_R = jax.random.permutation(key, rows)
  return jnp.zeros_like(cycle_R).at[cycle_R].set(jnp.roll(cycle_R, -1))


PERMUTATIONS = {
  "derangement": derangement,
  "permutation": jax.random.permutation,  # may pair a sample with itself
}


def pairs(view: View, **keywords) -> Loss:
  """The bound for every pair, see `estimate`."""
  return Loss(
    {
      name: estimate(
        view.networks["club"][name],
        pair,
        view.draws.permutation[name],
        rows=view.rows,
        axis_name=view.axis_name,
        **keywords,
      )
      for name, pair in view.pairs.items()
    }
  )
