"""Decoders: from codes and specific features to raw features.

Dimensions: B samples, T time, H/W grid, D code width, S specific width, F raw
feature width. The code comes first in every concatenation.
"""

import flax.linen as nn
import jax.numpy as jnp

from unirep.nn.blocks import Conv, Dtype, Linear, ResidualBlock


class GridDecoder(nn.Module):
  """Decodes grids: (B, T, D) and (B, T, H-4, W-4, S) -> (B, T, H, W, F)."""

  width: int
  dtype: Dtype = None

  @nn.compact
  def __call__(self, code_BxTxD, specific_BxTxHxWxS):
    S, dtype = specific_BxTxHxWxS.shape[-1], self.dtype
    code = Linear(code_BxTxD.shape[-1], dtype=dtype, name="linear")(code_BxTxD)
    grow = {"transposed": True, "dtype": dtype}
    # The code goes to every position of the grid, without being copied there.
    specific = specific_BxTxHxWxS.astype(code.dtype)
    x = Conv(S // 2, 3, name="conv0", **grow)(specific, code)
    x = ResidualBlock(dtype, name="residual")(x)
    x = nn.relu(Conv(self.width, 3, name="conv1", **grow)(x))
    return Conv(self.width, 1, transposed=True, dtype=dtype, name="conv2")(x)


class LinearDecoder(nn.Module):
  """Linear([Linear(code), specific]) over the last axis."""

  width: int
  dtype: Dtype = None

  @nn.compact
  def __call__(self, code, specific):
    width = specific.shape[-1]  # both halves of the concatenation are as wide
    x = Linear(width, dtype=self.dtype, name="embed")(code)
    x = jnp.concatenate([x, specific.astype(x.dtype)], -1)
    return Linear(self.width, dtype=self.dtype, name="out")(x)
