"""EfficientNet-Lite0.

Dimensions: N images, H/W rows and columns, 3 colours.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from unirep.extract.networks.layers import Depthwise, conv


class Stage(NamedTuple):
  """Blocks in a row; the first one has the stride."""

  repeats: int
  size: int
  stride: int
  expand: int
  width: int


STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)


class Seen(NamedTuple):
  """A grid (N, 7, 7, 320) and a vector (N, 1280)."""

  grid: jax.Array
  vector: jax.Array


class EfficientNet(nn.Module):
  """Images (N, 224, 224, 3) in 0..255; batch norms are folded."""

  @nn.compact
  def __call__(self, image_NxHxWx3) -> Seen:
    x = (image_NxHxWx3.astype(jnp.float32) - 127) / 128
    x = nn.relu6(conv(32, 3, "_conv_stem", 2)(x))
    strides = [
      (stage, stage.stride if i == 0 else 1)
      for stage in STAGES
      for i in range(stage.repeats)
    ]
    for i, (stage, stride) in enumerate(strides):
      before, name = x, f"_blocks.{i}."
      if stage.expand > 1:
        width = stage.expand * x.shape[-1]
        x = nn.relu6(conv(width, 1, f"{name}_expand_conv")(x))
      x = Depthwise(stage.size, stride, name=f"{name}_depthwise_conv")(x)
      x = conv(stage.width, 1, f"{name}_project_conv")(nn.relu6(x))
      if x.shape == before.shape:
        x = x + before
    head = nn.relu6(conv(1280, 1, "_conv_head")(x))
    return Seen(x, head.mean((1, 2)))
