"""VGG: convolutions of 3x3 and maxima of 2x2.

Dimensions: N images or patches, H/W rows and columns, 3 colours, F frames, M
bands.
"""

import flax.linen as nn
import jax.numpy as jnp

from unirep.extract.networks.layers import conv

VGG19 = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
VGGISH = ((64,), (128,), (256,) * 2, (512,) * 2)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


def features(x, stages):
  """Stages of convolutions, halved after each; names count torch's layers."""
  layer = 0
  for stage in stages:
    for width in stage:
      x = nn.relu(conv(width, 3, f"features.{layer}")(x))
      layer += 2  # the convolution and its rectifier
    x = nn.max_pool(x, (2, 2), (2, 2))
    layer += 1
  return x


class Vgg19(nn.Module):
  """Images (N, H, W, 3) in 0..255 to the last pool, (N, H/32, W/32, 512)."""

  @nn.compact
  def __call__(self, image_NxHxWx3):
    x = image_NxHxWx3.astype(jnp.float32) / 255
    return features((x - jnp.array(MEAN)) / jnp.array(DEVIATION), VGG19)


class Vggish(nn.Module):
  """Log-mel patches (N, 96, 64) to rectified embeddings (N, 128).

  Attributes:
    hidden: width of the two layers before the last.
  """

  hidden: int = 4096

  @nn.compact
  def __call__(self, mel_NxFxM):
    x = features(mel_NxFxM[..., None], VGGISH)
    x = x.reshape(len(x), -1)  # rows, columns, channels: as in the original
    for i, width in enumerate((self.hidden, self.hidden, 128)):
      x = nn.relu(nn.Dense(width, name=f"embeddings.{2 * i}")(x))
    return x
