"""A judge of what is generated: a classifier that is trained on real things.

Dimensions: U things (steps or whole samples), H/W rows and columns, C channels,
F features, B of a batch.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unirep.tasks.generation.networks import Classifier

BATCH, ROWS = 64, 1024
MOVED = 1  # rows and columns by which a thing is moved in training, at most
NOISE = 0.1  # in units of its deviation


class Judge(NamedTuple):
  """A trained classifier.

  Attributes:
    network: see there.
    params: its parameters.
    center: mean of a thing, (H, W, C).
    spread: deviation from it, a number.
  """

  network: Classifier
  params: Any
  center: np.ndarray
  spread: float


def train(
  key: jax.Array,
  x_UxHxWxC: np.ndarray,
  label_U: np.ndarray,
  *,
  steps: int = 2000,
  learning_rate: float = 2e-3,
) -> Judge:
  """Learns to name real things; it never sees a generated one.

  Args:
    key: of initial values, batches, moves and dropout.
    x_UxHxWxC: real things.
    label_U: their classes, from 0.
    steps: of training.
    learning_rate: of Adam, which goes down to 0.
  """
  center = x_UxHxWxC.mean(0)
  spread = max(float((x_UxHxWxC - center).std()), 1e-6)
  x = jnp.asarray((x_UxHxWxC - center) / spread)
  network = Classifier(int(label_U.max()) + 1)
  first_key, key = jax.random.split(key)
  params = network.init(first_key, x[:1])
  params = _train(
    network, steps, learning_rate, params, x, jnp.asarray(label_U), key
  )
  return Judge(network, params, center, spread)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _train(network, steps, learning_rate, params, x, label_U, key):
  optimizer = optax.adamw(
    optax.cosine_decay_schedule(learning_rate, steps), weight_decay=1e-3
  )

  def one(state, step):
    params, moments = state
    keys = jax.random.split(jax.random.fold_in(key, step), 4)
    row_B = jax.random.randint(keys[0], (BATCH,), 0, len(x))
    moved = jax.vmap(_move)(x[row_B], jax.random.split(keys[1], BATCH))
    moved += NOISE * jax.random.normal(keys[2], moved.shape)

    def loss(params):
      logits, _ = network.apply(params, moved, keys[3])
      return optax.softmax_cross_entropy_with_integer_labels(
        logits, label_U[row_B]
      ).mean()

    gradient = jax.grad(loss)(params)
    update, moments = optimizer.update(gradient, moments, params)
    return (optax.apply_updates(params, update), moments), None

  state = params, optimizer.init(params)
  return jax.lax.scan(one, state, jnp.arange(steps))[0][0]


def _move(x_HxWxC, key):
  """Moved by a row and a column at most; its edges are repeated."""
  by = jax.random.randint(key, (2,), 0, 2 * MOVED + 1)
  by = jnp.where(jnp.array(x_HxWxC.shape[:2]) > 1, by, MOVED)
  wide = jnp.pad(x_HxWxC, [(MOVED, MOVED)] * 2 + [(0, 0)], mode="edge")
  return jax.lax.dynamic_slice(wide, (*by, 0), x_HxWxC.shape)


def seen(judge: Judge, x_UxHxWxC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Classes (U,) and features (U, F) of things."""
  x = (x_UxHxWxC - judge.center) / judge.spread
  found = [
    _seen(judge.network, judge.params, x[first : first + ROWS])
    for first in range(0, len(x), ROWS)
  ]
  class_U, feature_UxF = (
    np.concatenate([np.asarray(part) for part in parts])
    for parts in zip(*found, strict=True)
  )
  return class_U, feature_UxF


@functools.partial(jax.jit, static_argnums=0)
def _seen(network, params, x):
  logits, feature = network.apply(params, x)
  return logits.argmax(-1), feature


def frechet(one_UxF: np.ndarray, other_VxF: np.ndarray) -> float:
  """The Fréchet distance of two sets of features, taken as normal.

  NaN for fewer than two of either, which have no covariance. Source: "GANs
  Trained by a Two Time-Scale Update Rule", NeurIPS 2017.
  """
  if min(len(one_UxF), len(other_VxF)) < 2:
    return float("nan")
  mean, covariance = zip(*map(_moments, (one_UxF, other_VxF)), strict=True)
  root = _root(covariance[0])
  # The trace of the root of a product is that of a symmetric one.
  both = np.sqrt(np.linalg.eigvalsh(root @ covariance[1] @ root).clip(0)).sum()
  apart = ((mean[0] - mean[1]) ** 2).sum()
  return max(float(apart + sum(c.trace() for c in covariance) - 2 * both), 0)


def _moments(x_UxF):
  x_UxF = np.asarray(x_UxF, np.float64)
  return x_UxF.mean(0), np.atleast_2d(np.cov(x_UxF, rowvar=False))


def _root(covariance):
  value, vector = np.linalg.eigh(covariance)
  return (vector * np.sqrt(value.clip(0))) @ vector.T


def diversity(x_UxX: np.ndarray, label_U: np.ndarray) -> float:
  """The mean distance of two things of a class, over classes of two or more."""
  found = []
  for label in np.unique(label_U):
    x = np.asarray(x_UxX[label_U == label], np.float64)
    if len(x) > 1:
      square = (x**2).sum(1)
      apart = square[:, None] + square - 2 * x @ x.T
      found.append(np.sqrt(apart.clip(0)).sum() / (len(x) * (len(x) - 1)))
  return float(np.mean(found)) if found else 0.0
