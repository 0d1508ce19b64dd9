"""Networks of generation: the velocity of a flow, and a classifier.

Dimensions: B samples, T time, X width of a raw step; in `Velocity` C is the
width of a condition and W the hidden width, in `Classifier` H/W are rows and
columns and C channels.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

FREQUENCIES = 32


class Velocity(nn.Module):
  """The velocity of a flow: (B, T, X), times (B,), (B, T, C) -> (B, T, X).

  Residual blocks, with a scale, a shift and a gate that depend on the time and
  on each step's condition. The initial output is 0.

  Attributes:
    width: hidden width.
    blocks: number of blocks.
    reach: number of neighboring steps that a block sees, odd; 1 processes each
      step by itself.
  """

  width: int = 256
  blocks: int = 3
  reach: int = 1

  @nn.compact
  def __call__(self, x_BxTxX, time_B, condition_BxTxC):
    W = self.width
    context = nn.Dense(W, name="time")(_waves(time_B))[:, None]
    context = nn.silu(context + nn.Dense(W, name="condition")(condition_BxTxC))
    h = nn.Dense(W, name="into")(x_BxTxX)
    for i in range(self.blocks):
      zeros = nn.initializers.zeros
      change = nn.Dense(3 * W, kernel_init=zeros, name=f"told{i}")(context)
      scale, shift, gate = jnp.split(change, 3, -1)
      y = nn.LayerNorm(use_bias=False, use_scale=False)(h) * (1 + scale) + shift
      y = nn.silu(nn.Dense(W, name=f"near{i}")(_around(y, 1, self.reach)))
      h += (1 + gate) * nn.Dense(W, name=f"out{i}")(y)
    h = nn.silu(nn.LayerNorm()(h))
    return nn.Dense(x_BxTxX.shape[-1], kernel_init=nn.initializers.zeros)(h)


def _around(x, axis, reach):
  """Neighbors along one axis, concatenated to the channels.

  A dense layer over them is a convolution. XLA's own convolution is slow on a
  CPU inside a loop.
  """
  if reach == 1:
    return x
  pad = [(0, 0)] * x.ndim
  pad[axis] = (reach // 2, reach // 2)
  wide, size = jnp.pad(x, pad), x.shape[axis]
  moved = [
    jax.lax.slice_in_dim(wide, i, i + size, axis=axis) for i in range(reach)
  ]
  return jnp.concatenate(moved, -1)


def _waves(time_B):
  """Cosines and sines of times in [0, 1], from low to high frequencies."""
  rate = jnp.exp(jnp.linspace(0, np.log(1000), FREQUENCIES))
  angle = time_B[:, None] * rate
  return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], -1)


class Classifier(nn.Module):
  """A classifier of pictures, or of series (W = 1), (B, H, W, C).

  Attributes:
    classes: number of classes.
    width: width of the features before the logits.
    rate: dropout rate.
  """

  classes: int
  width: int = 128
  rate: float = 0.3

  @nn.compact
  def __call__(self, x_BxHxWxC, key: jax.Array | None = None):
    """Logits (B, classes) and features (B, width); dropout only with `key`."""
    h = x_BxHxWxC
    for i, width in enumerate((32, 64)):
      for axis in (1, 2):
        h = _around(h, axis, 3) if h.shape[axis] > 1 else h
      h = nn.relu(nn.Dense(width, name=f"conv{i}")(h))
    pool = min(2, h.shape[1]), min(2, h.shape[2])
    h = nn.max_pool(h, pool, pool).reshape(len(h), -1)
    still = nn.Dropout(self.rate, deterministic=key is None)
    h = still(h, rng=key)
    feature = nn.relu(nn.Dense(self.width, name="feature")(h))
    return nn.Dense(self.classes, name="out")(feature), feature
