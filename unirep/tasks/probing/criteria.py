"""Training criteria of probes.

Dimensions: N samples, C classes; the leading axes of multi-label losses, like
samples and segments, are all rows.
"""

import jax
import jax.numpy as jnp
import optax


def cross_entropy(
  logits_NxC: jax.Array, label_N: jax.Array, mask_N: jax.Array | None = None
) -> jax.Array:
  """Mean of -log softmax(logits)_label over the samples in `mask_N`."""
  loss_N = optax.softmax_cross_entropy_with_integer_labels(logits_NxC, label_N)
  return _mean(loss_N, mask_N)


def binary_cross_entropy(
  logits: jax.Array, label: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
  """Mean over rows and classes of the cross-entropy of each class alone.

  Args:
    logits: (..., C).
    label: (..., C), 0 or 1.
    mask: (...), the rows that count.
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

  ExpLogLoss of the published scripts. Its weights are learned, and since
  only a rising alpha lowers the loss, it turns itself down a little.

  Args:
    logits: z, (..., C).
    label: y, (..., C), 0 or 1.
    alpha_C: learned.
    mask: (...), the rows that count.
  """
  log_p = jax.nn.log_softmax(logits)
  label = label.astype(logits.dtype)
  return _mean(-(label * log_p * jnp.exp(-alpha_C)).sum(-1), mask)


def _mean(x, mask):
  if mask is None:
    return x.mean()
  mask = mask.astype(x.dtype)
  return (x * mask).sum() / jnp.maximum(mask.sum(), 1)
