"""Losses of probes.

Dimensions: N samples, C classes. Losses with several labels take any leading
axes, such as samples and segments; each entry along them is a row.
"""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(
  logits_NxC: jax.Array, label_N: jax.Array, mask_N: jax.Array | None = None
) -> jax.Array:
  """Mean of -log softmax(logits)_label over samples.

  Args:
    logits_NxC: scores of the classes.
    label_N: classes, integers.
    mask_N: True for samples that count; all by default.
  """
  loss_N = optax.softmax_cross_entropy_with_integer_labels(logits_NxC, label_N)
  return _mean(loss_N, mask_N)


def binary_cross_entropy(
  logits: jax.Array, label: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
  """Binary cross-entropy, averaged over rows and classes.

  Args:
    logits: (..., C).
    label: (..., C), 0 or 1.
    mask: (...), True for rows that count; all by default.
  """
  label = label.astype(logits.dtype)
  return _mean(optax.sigmoid_binary_cross_entropy(logits, label).mean(-1), mask)


def explog(
  logits: jax.Array,
  label: jax.Array,
  alpha_C: jax.Array,
  mask: jax.Array | None = None,
) -> jax.Array:
  """-mean over rows of sum_c y_c log softmax(z)_c exp(-alpha_c).

  ExpLogLoss of the released scripts. The weights alpha are learned; a larger
  alpha always lowers the loss, so that the term fades a little in training.

  Args:
    logits: z, (..., C).
    label: y, (..., C), 0 or 1.
    alpha_C: learned weights.
    mask: (...), True for rows that count; all by default.
  """
  log_p = jax.nn.log_softmax(logits)
  label = label.astype(logits.dtype)
  return _mean(-(label * log_p * jnp.exp(-alpha_C)).sum(-1), mask)


def _mean(x, mask):
  if mask is None:
    return x.mean()
  mask = mask.astype(x.dtype)
  return (x * mask).sum() / jnp.maximum(mask.sum(), 1)
