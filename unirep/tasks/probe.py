"""Cross-modal transfer: trained on one modality's codes, tested on another's.

The encoders are frozen and every sample is a sequence of codes, so that a probe
sees indices and the codebook, nothing else. The head is the field's clip probe:
Linear, maximum over time, Linear.

Dimensions: N samples, T time, K codes, D code width, C classes, S modalities.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

Params = dict[str, dict[str, jax.Array]]


def init(key: jax.Array, dim: int, classes: int) -> Params:
  """Two linear layers, drawn from U(±1/sqrt(dim))."""
  keys = jax.random.split(key, 4)

  def draw(key, shape):
    return jax.random.uniform(key, shape, float, -1, 1) / jnp.sqrt(dim)

  return {
    "hidden": {"kernel": draw(keys[0], (dim, dim)), "bias": draw(keys[1], dim)},
    "classes": {
      "kernel": draw(keys[2], (dim, classes)),
      "bias": draw(keys[3], classes),
    },
  }


def apply(params: Params, x_NxTxD: jax.Array) -> jax.Array:
  """Scores of the classes: (N, C)."""
  return _classify(params, _hidden(params, x_NxTxD))


def apply_to_codes(
  params: Params, code_KxD: jax.Array, idx_NxT: jax.Array
) -> jax.Array:
  """`apply` to code_KxD[idx_NxT]; the first layer sees each code once."""
  return _classify(params, _hidden(params, code_KxD)[idx_NxT])


def _hidden(params, x):
  return x @ params["hidden"]["kernel"] + params["hidden"]["bias"]


def _classify(params, y_NxTxD):
  classes = params["classes"]
  return y_NxTxD.max(1) @ classes["kernel"] + classes["bias"]


def unit_variance(code_KxD: jax.Array, idx: jax.Array) -> jax.Array:
  """The codes on one scale, by the mean and spread of those in `idx`."""
  used = code_KxD[idx.reshape(-1)]
  scale = jnp.sqrt(used.var(0).mean())
  return (code_KxD - used.mean(0)) / jnp.maximum(scale, 1e-6)


def fit(
  key: jax.Array,
  code_KxD: jax.Array,
  idx_NxT: jax.Array,
  label_N: jax.Array,
  *,
  classes: int,
  steps: int,
  batch_size: int,
  learning_rate: float,
) -> Params:
  """Trains a probe by Adam on minibatches drawn with replacement."""
  optimizer = optax.adam(learning_rate)
  params = init(jax.random.fold_in(key, 0), code_KxD.shape[1], classes)

  def step(carry, key):
    params, opt_state = carry
    pick = jax.random.randint(key, (batch_size,), 0, label_N.shape[0])

    def loss_fn(params):
      logits = apply_to_codes(params, code_KxD, idx_NxT[pick])
      return optax.softmax_cross_entropy_with_integer_labels(
        logits, label_N[pick]
      ).mean()

    updates, opt_state = optimizer.update(jax.grad(loss_fn)(params), opt_state)
    return (optax.apply_updates(params, updates), opt_state), None

  keys = jax.random.split(jax.random.fold_in(key, 1), steps)
  start: Any = (params, optimizer.init(params))
  fitted: Any
  fitted, _ = jax.lax.scan(step, start, keys)
  return fitted[0]


def accuracy(
  params: Params, code_KxD: jax.Array, idx_NxT: jax.Array, label_N: jax.Array
) -> jax.Array:
  """Share of samples whose highest score is their class."""
  scores_NxC = apply_to_codes(params, code_KxD, idx_NxT)
  return (scores_NxC.argmax(-1) == label_N).mean()


def transfer(
  key: jax.Array,
  code_KxD: np.ndarray | jax.Array,
  train_idx: Mapping[str, np.ndarray],
  train_label_N: np.ndarray,
  test_idx: Mapping[str, np.ndarray],
  test_label_N: np.ndarray,
  *,
  seeds: int = 1,
  **options: Any,
) -> dict[str, dict[str, float]]:
  """Every ordered pair of modalities: train on the first, test on the second.

  Args:
    key: PRNG key.
    code_KxD: the codebook.
    train_idx: modality -> (N, T) codes of the training samples.
    train_label_N: their classes.
    test_idx: modality -> (M, T) codes of held-out samples.
    test_label_N: their classes.
    seeds: probes of each modality; scores are means over them.
    **options: of `fit`.

  Returns:
    "source->target" -> `accuracy` on the target, `ceiling` (a probe trained and
    tested on the target itself) and `chance` (the most frequent class).
  """
  names = list(train_idx)
  classes = int(max(train_label_N.max(), test_label_N.max())) + 1
  chance = np.bincount(test_label_N).max() / test_label_N.size
  train_SxNxT, test_SxMxT = _stack(train_idx), _stack(test_idx)
  labels = jnp.asarray(train_label_N), jnp.asarray(test_label_N)
  code_KxD = unit_variance(jnp.asarray(code_KxD), train_SxNxT)
  keys_RxS = jax.random.split(key, (seeds, len(names)))

  @jax.jit
  def run(
    key_S, code_KxD, train_SxNxT, test_SxMxT, train_label_N, test_label_N
  ):
    params = jax.vmap(
      lambda key, idx: fit(
        key, code_KxD, idx, train_label_N, classes=classes, **options
      )
    )(key_S, train_SxNxT)
    over_targets = jax.vmap(accuracy, (None, None, 0, None))
    over_both = jax.vmap(over_targets, (0, None, None, None))
    return over_both(params, code_KxD, test_SxMxT, test_label_N)

  score_SxS = np.mean(
    [
      jax.device_get(run(key_S, code_KxD, train_SxNxT, test_SxMxT, *labels))
      for key_S in keys_RxS
    ],
    0,
  )
  score = {
    (m, n): float(score_SxS[i, j])
    for i, m in enumerate(names)
    for j, n in enumerate(names)
  }
  return {
    f"{m}->{n}": {
      "accuracy": score[m, n],
      "ceiling": score[n, n],
      "chance": float(chance),
    }
    for m, n in score
    if m != n
  }


def _stack(idx: Mapping[str, np.ndarray]) -> jax.Array:
  """All modalities with equal T; the probe's maximum ignores repetitions."""
  time = max(rows.shape[1] for rows in idx.values())
  return jnp.stack(
    [
      np.concatenate(
        [rows, np.repeat(rows[:, -1:], time - rows.shape[1], 1)], 1
      )
      for rows in idx.values()
    ]
  )
