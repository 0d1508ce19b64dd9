"""The judge of generated samples: a classifier trained on real ones.

It looks at units: steps with an event, or whole samples.

Dimensions: U units, H/W rows and columns, C channels, F features, B units of a
batch.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from unirep.tasks.generation.networks import Classifier

BATCH, ROWS = 64, 1024
MOVED = 1  # rows and columns by which a unit is moved in training, at most
NOISE = 0.1  # standard deviation of the noise added in training


class Judge(NamedTuple):
  """A trained classifier.

  Attributes:
    network: see `Classifier`.
    params: its parameters.
    center: mean of the training units, (H, W, C).
    spread: standard deviation from that mean, a number.
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
  """Trains a judge on real units; it never sees a generated one.

  Args:
    key: PRNG key of initial parameters, batches, augmentation and dropout.
    x_UxHxWxC: real units.
    label_U: their classes, from 0.
    steps: number of training steps.
    learning_rate: initial learning rate of AdamW; it falls to 0.
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

  def train_step(state, step):
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
  return jax.lax.scan(train_step, state, jnp.arange(steps))[0][0]


def _move(x_HxWxC, key):
  """The unit, moved by up to `MOVED` rows and columns, its edges repeated."""
  offset = jax.random.randint(key, (2,), 0, 2 * MOVED + 1)
  offset = jnp.where(jnp.array(x_HxWxC.shape[:2]) > 1, offset, MOVED)
  padded = jnp.pad(x_HxWxC, [(MOVED, MOVED)] * 2 + [(0, 0)], mode="edge")
  return jax.lax.dynamic_slice(padded, (*offset, 0), x_HxWxC.shape)


def classify(
  judge: Judge, x_UxHxWxC: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Predicted classes (U,) and features (U, F) of units."""
  x = (x_UxHxWxC - judge.center) / judge.spread
  parts = [
    _classify(judge.network, judge.params, x[first : first + ROWS])
    for first in range(0, len(x), ROWS)
  ]
  class_U = np.concatenate([np.asarray(label) for label, _ in parts])
  return class_U, np.concatenate([np.asarray(feature) for _, feature in parts])


@functools.partial(jax.jit, static_argnums=0)
def _classify(network, params, x):
  logits, feature = network.apply(params, x)
  return logits.argmax(-1), feature


def frechet(one_UxF: np.ndarray, other_VxF: np.ndarray) -> float:
  """The Fréchet distance between normal distributions fit to two sets.

  It is |m - n|^2 + tr(C + D - 2 (C D)^(1/2)) of the means m, n and covariances
  C, D, and NaN if a set has fewer than two members. Source: "GANs Trained by a
  Two Time-Scale Update Rule", NeurIPS 2017.

  Args:
    one_UxF: features.
    other_VxF: features.
  """
  if min(len(one_UxF), len(other_VxF)) < 2:
    return float("nan")
  mean, covariance = zip(*map(_moments, (one_UxF, other_VxF)), strict=True)
  root = _root(covariance[0])
  # (C D)^(1/2) has the trace of the root of C^(1/2) D C^(1/2), a symmetric one.
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
  """The mean distance between units of a class, averaged over classes.

  Classes with fewer than two units are left out; 0 if there is no other.

  Args:
    x_UxX: units, flat.
    label_U: their classes.
  """
  distances = []
  for label in np.unique(label_U):
    x = np.asarray(x_UxX[label_U == label], np.float64)
    if len(x) > 1:
      square = (x**2).sum(1)
      apart = square[:, None] + square - 2 * x @ x.T
      total = np.sqrt(apart.clip(0)).sum()
      distances.append(total / (len(x) * (len(x) - 1)))
  return float(np.mean(distances)) if distances else 0.0
