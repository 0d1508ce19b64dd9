"""YAMNet: depthwise convolutions on log-mel patches.

Dimensions: N patches, F frames, M bands.
"""

from typing import NamedTuple

import flax.linen as nn
import jax

from unirep.extract.networks.layers import Depthwise, conv

BLOCKS = (  # stride, width
  *((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512)),
  *((1, 512),) * 5,
  *((2, 1024), (1, 1024)),
)
CLASSES = 521


class Heard(NamedTuple):
  """An embedding (N, 1024) and scores of classes (N, 521) in 0..1."""

  embedding: jax.Array
  scores: jax.Array


class YamNet(nn.Module):
  """Patches (N, 96, 64) to what is heard in them; batch norms are folded."""

  @nn.compact
  def __call__(self, mel_NxFxM) -> Heard:
    x = nn.relu(conv(32, 3, "stem", 2)(mel_NxFxM[..., None]))
    for i, (stride, width) in enumerate(BLOCKS):
      x = nn.relu(Depthwise(3, stride, name=f"depthwise{i}")(x))
      x = nn.relu(conv(width, 1, f"pointwise{i}")(x))
    embedding = x.mean((1, 2))
    logits = nn.Dense(CLASSES, name="classifier")(embedding)
    return Heard(embedding, nn.sigmoid(logits))
