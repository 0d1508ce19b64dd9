"""Encoders: from raw features to tokens and specific features.

Dimensions: B samples, T time, H/W grid, F raw feature width, D code width, S
width of a modality's specific features. An `nn.Module` is only a description;
its `init(key, sample)` and `apply({"params": p}, x)` are pure.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from unirep.nn.blocks import (
  Conv,
  Dtype,
  LayerNorm,
  Linear,
  ResidualBlock,
  TransformerLayer,
)
from unirep.runtime.errors import pick


class GridPool(nn.Module):
  """Squeeze-and-excitation over channels, then a pool over the grid.

  (B, T, H, W, F) -> (B, T, F).

  Hu et al. 2018, "Squeeze-and-Excitation Networks".

  Attributes:
    how: one of `POOLS`. "sum" adds up the H*W positions: H*W * mean *
      (1 + gate). The released attention computes the same, since its softmax
      runs over an axis of length 1. "attention" is the intended softmax over
      positions, times H*W, so that both have the same magnitude.
    reduction: F over the width of the gate's hidden layer.
    dtype: computation type.
  """

  how: str = "sum"
  reduction: int = 8
  dtype: Dtype = None

  @nn.compact
  def __call__(self, x_BxTxHxWxF):
    F = x_BxTxHxWxF.shape[-1]
    bias_free = {"use_bias": False, "dtype": self.dtype}
    mean = x_BxTxHxWxF.mean((2, 3))
    gate = nn.relu(Linear(max(F // self.reduction, 1), **bias_free)(mean))
    gate = 1 + nn.sigmoid(Linear(F, **bias_free)(gate))
    return pick(POOLS, "pool", self.how)(x_BxTxHxWxF, mean, gate, self.dtype)


def _sum(x_BxTxHxWxF, mean, gate, dtype):
  del dtype
  _, _, H, W, _ = x_BxTxHxWxF.shape
  return H * W * mean * gate


def _attend(x_BxTxHxWxF, mean, gate, dtype):
  B, T, H, W, F = x_BxTxHxWxF.shape
  x = (x_BxTxHxWxF * gate[:, :, None, None]).reshape(B, T, H * W, F)
  query = nn.relu(Linear(F // 2, dtype=dtype, name="query")(mean))
  key = nn.relu(Linear(F // 2, dtype=dtype, name="key")(x))
  score = Linear(1, dtype=dtype, name="score")(key * query[:, :, None])
  # A softmax in 16 bits would not add up to 1.
  score = jnp.tanh(score).astype(jnp.promote_types(x.dtype, jnp.float32))
  weight = jax.nn.softmax(score, axis=2).astype(x.dtype)
  return H * W * (weight * x).sum(2)


POOLS = {"sum": _sum, "attention": _attend}


class Tokens(nn.Module):
  """The general encoder: (B, T, ...) raw features -> (B, T, D) tokens.

  Attributes:
    pool: layer that makes a vector of each time step's features; None if they
      are a vector already.
    attends: whether a transformer attends over time; False encodes step by
      step.
    dim: width D.
    heads: attention heads.
    hidden: width of the feed-forward layers.
    layers: depth of the transformer.
    rate: dropout.
    dtype: computation type.
  """

  pool: nn.Module | None = None
  attends: bool = True
  dim: int = 256
  heads: int = 4
  hidden: int = 1024
  layers: int = 1
  rate: float = 0.1
  dtype: Dtype = None

  @nn.compact
  def __call__(self, x, mask_BxT=None, keys_B=None):
    if self.pool is not None:
      x = self.pool(x)
    x = Linear(self.dim, dtype=self.dtype, name="embed")(x)
    if not self.attends:
      y = Linear(self.hidden, dtype=self.dtype, name="linear1")(x)
      y = Linear(self.dim, dtype=self.dtype, name="linear2")(nn.relu(y))
      return LayerNorm(self.dtype, name="norm")(x + y)
    for i in range(self.layers):
      layer = TransformerLayer(
        self.heads, self.hidden, self.rate, self.dtype, name=f"layer{i}"
      )
      # Otherwise all layers would drop the same entries.
      if i and keys_B is not None:
        keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, i)
      x = layer(x, mask_BxT, keys_B)
    return x


class GridSpecific(nn.Module):
  """Specific encoder of grids: (B, T, H, W, F) -> (B, T, H-4, W-4, S).

  The second result, (B, T, F), is a projection of the grid's mean over
  positions; CLUB takes it instead of the grid.
  """

  width: int
  dtype: Dtype = None

  @nn.compact
  def __call__(self, x_BxTxHxWxF):
    F, dtype = x_BxTxHxWxF.shape[-1], self.dtype
    y = nn.relu(
      Conv(self.width // 2, 3, dtype=dtype, name="conv0")(x_BxTxHxWxF)
    )
    y = nn.relu(Conv(self.width, 3, dtype=dtype, name="conv1")(y))
    y = Conv(self.width, 1, dtype=dtype, name="conv2")(y)
    y = ResidualBlock(dtype, name="residual")(y)
    z = Linear(self.width // 2, dtype=dtype, name="linear1")(y.mean((2, 3)))
    return y, Linear(F, dtype=dtype, name="linear2")(nn.relu(z))


class LinearSpecific(nn.Module):
  """Specific encoder of vectors, relu(Linear(x)): (B, T, F) -> (B, T, S).

  The result comes twice, because `GridSpecific` has two.
  """

  width: int
  dtype: Dtype = None

  @nn.compact
  def __call__(self, x_BxTxF):
    y = nn.relu(Linear(self.width, dtype=self.dtype, name="linear")(x_BxTxF))
    return y, y


class Head(nn.Module):
  """relu(Linear(x)), from coarse to general or specific features: (..., D)."""

  width: int
  dtype: Dtype = None

  @nn.compact
  def __call__(self, x):
    return nn.relu(Linear(self.width, dtype=self.dtype, name="linear")(x))


def mean_over_time(x_BxTxD: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
  """Mean over the time steps that are not padding: (B, T, D) -> (B, D)."""
  if mask_BxT is None:
    return x_BxTxD.mean(1)
  weight = mask_BxT[:, :, None].astype(x_BxTxD.dtype)
  return (x_BxTxD * weight).sum(1) / jnp.maximum(weight.sum(1), 1)
