"""Published networks as Flax modules, and the function that runs them.

Dimensions: N samples; H/W rows and columns of images of 3 colours; F frames and
M bands of log-mel patches; C channels. In BERT: L word pieces, D width, H
heads, E width of a head.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

POSITIONS, SEGMENTS = 512, 2  # of BERT
EPSILON = 1e-12  # of BERT's layer norms
VGG19 = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
VGGISH = ((64,), (128,), (256,) * 2, (512,) * 2)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
YAMNET = (  # stride and width of each block
  (1, 64),
  (2, 128),
  (1, 128),
  (2, 256),
  (1, 256),
  (2, 512),
  *((1, 512),) * 5,
  (2, 1024),
  (1, 1024),
)
CLASSES = 521  # of AudioSet, in YAMNet


def run(
  apply: Callable[..., Any], params: Any, most: int
) -> Callable[..., np.ndarray]:
  """A function that applies a network to arrays of N >= 1 samples, in batches.

  Batches have up to `most` samples. To compile few programs, a batch is padded
  to 1, 2, 4, 8, 12, ... samples.

  Args:
    apply: (params, *arrays) -> array.
    params: parameters of the network.
    most: a multiple of 4.
  """
  params = jax.device_put(params)
  compiled = jax.jit(apply)

  def call(*arrays):
    parts = []
    for i in range(0, len(arrays[0]), most):
      some = [x[i : i + most] for x in arrays]
      count = len(some[0])
      size = count if count < 3 else -(-count // 4) * 4
      # Padded with the last sample: zeros may be no valid input.
      some = [x[np.minimum(np.arange(size), count - 1)] for x in some]
      # Accelerators would round to 10 bits or fewer.
      with jax.default_matmul_precision("highest"):
        parts.append((compiled(params, *some), count))
    return np.concatenate([np.asarray(x)[:count] for x, count in parts])

  return call


class Depthwise(nn.Module):
  """A convolution of each channel by itself, (N, H, W, C), padded to "SAME".

  Attributes:
    size: rows and columns of the kernel.
    stride: of both axes.
  """

  size: int
  stride: int = 1

  @nn.compact
  def __call__(self, x_NxHxWxC):
    n, s, width = self.size, self.stride, x_NxHxWxC.shape[-1]
    kernel = self.param("kernel", nn.initializers.zeros, (n, n, 1, width))
    bias = self.param("bias", nn.initializers.zeros, (width,))
    rows, columns = ((size - 1) // s + 1 for size in x_NxHxWxC.shape[1:3])
    pads = [
      (total // 2, total - total // 2)
      for count, size in zip((rows, columns), x_NxHxWxC.shape[1:3], strict=True)
      for total in [max(0, (count - 1) * s + n - size)]
    ]
    x = jnp.pad(x_NxHxWxC, ((0, 0), *pads, (0, 0)))
    # A sum of shifted images, which XLA fuses to one loop. Its grouped
    # convolution takes 2 to 20 times as long on a CPU.
    return bias + sum(
      x[:, i : i + (rows - 1) * s + 1 : s, j : j + (columns - 1) * s + 1 : s]
      * kernel[i, j, 0]
      for i in range(n)
      for j in range(n)
    )


def conv(width: int, size: int, name: str, stride: int = 1) -> nn.Module:
  """A convolution with a bias, padded as TensorFlow pads "SAME"."""
  return nn.Conv(width, (size, size), stride, padding="SAME", name=name)


class Stage(NamedTuple):
  """Blocks in a row; only the first has the stride."""

  repeats: int
  size: int
  stride: int
  expand: int
  width: int


EFFICIENTNET = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)


class Seen(NamedTuple):
  """EfficientNet's outputs: a grid (N, 7, 7, 320) and a vector (N, 1280)."""

  grid: jax.Array
  vector: jax.Array


class EfficientNet(nn.Module):
  """EfficientNet-Lite0, of images (N, 224, 224, 3) in 0..255.

  Batch norms are folded into convolutions.
  """

  @nn.compact
  def __call__(self, image_NxHxWx3) -> Seen:
    x = (image_NxHxWx3.astype(jnp.float32) - 127) / 128
    x = nn.relu6(conv(32, 3, "_conv_stem", 2)(x))
    strides = [
      (stage, stage.stride if i == 0 else 1)
      for stage in EFFICIENTNET
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


def _vgg(x, stages):
  """Stages of convolutions and a max pool; names count torch's layers."""
  layer = 0
  for stage in stages:
    for width in stage:
      x = nn.relu(conv(width, 3, f"features.{layer}")(x))
      layer += 2  # the convolution and its rectifier
    x = nn.max_pool(x, (2, 2), (2, 2))
    layer += 1
  return x


class Vgg19(nn.Module):
  """VGG-19: images (N, H, W, 3) in 0..255 to its last pool.

  The output is (N, H/32, W/32, 512).
  """

  @nn.compact
  def __call__(self, image_NxHxWx3):
    x = image_NxHxWx3.astype(jnp.float32) / 255
    return _vgg((x - jnp.array(MEAN)) / jnp.array(DEVIATION), VGG19)


class Vggish(nn.Module):
  """VGGish: log-mel patches (N, 96, 64) to rectified embeddings (N, 128).

  Attributes:
    hidden: width of the two layers before the last.
  """

  hidden: int = 4096

  @nn.compact
  def __call__(self, mel_NxFxM):
    x = _vgg(mel_NxFxM[..., None], VGGISH)
    x = x.reshape(len(x), -1)  # rows, columns, channels: as in the original
    for i, width in enumerate((self.hidden, self.hidden, 128)):
      x = nn.relu(nn.Dense(width, name=f"embeddings.{2 * i}")(x))
    return x


class Heard(NamedTuple):
  """YAMNet's outputs: embedding (N, 1024), scores (N, 521) in 0..1."""

  embedding: jax.Array
  scores: jax.Array


class YamNet(nn.Module):
  """YAMNet, of log-mel patches (N, 96, 64).

  Batch norms are folded into convolutions.
  """

  @nn.compact
  def __call__(self, mel_NxFxM) -> Heard:
    x = nn.relu(conv(32, 3, "stem", 2)(mel_NxFxM[..., None]))
    for i, (stride, width) in enumerate(YAMNET):
      x = nn.relu(Depthwise(3, stride, name=f"depthwise{i}")(x))
      x = nn.relu(conv(width, 1, f"pointwise{i}")(x))
    embedding = x.mean((1, 2))
    logits = nn.Dense(CLASSES, name="classifier")(embedding)
    return Heard(embedding, nn.sigmoid(logits))


class Bert(nn.Module):
  """BERT: word pieces (N, L) and their mask (N, L) to the last layer (N, L, D).

  Attributes:
    vocabulary: number of pieces.
    width: D.
    layers: number of layers.
    heads: of attention, in each layer.
  """

  vocabulary: int
  width: int
  layers: int
  heads: int

  @nn.compact
  def __call__(self, piece_NxL, there_NxL):
    def embed(count, name):
      return nn.Embed(count, self.width, name=f"embeddings.{name}_embeddings")

    x = embed(self.vocabulary, "word")(piece_NxL)
    x += embed(POSITIONS, "position")(jnp.arange(piece_NxL.shape[1]))
    x += embed(SEGMENTS, "token_type")(jnp.zeros((), int))
    x = _norm("embeddings.LayerNorm")(x)
    for i in range(self.layers):
      x = self._layer(x, there_NxL, f"encoder.layer.{i}")
    return x

  def _layer(self, x_NxLxD, there_NxL, name):
    def dense(width, part):
      return nn.Dense(width, name=f"{name}.{part}.dense")

    y = self._attend(x_NxLxD, there_NxL, f"{name}.attention.self")
    y = dense(self.width, "attention.output")(y)
    x = _norm(f"{name}.attention.output.LayerNorm")(x_NxLxD + y)
    y = nn.gelu(dense(4 * self.width, "intermediate")(x), approximate=False)
    y = dense(self.width, "output")(y)
    return _norm(f"{name}.output.LayerNorm")(x + y)

  def _attend(self, x_NxLxD, there_NxL, name):
    def heads(part):
      y = nn.Dense(self.width, name=f"{name}.{part}")(x_NxLxD)
      return y.reshape(*y.shape[:2], self.heads, -1)

    query_NxLxHxE, key_NxLxHxE, value_NxLxHxE = map(
      heads, ("query", "key", "value")
    )
    scale = (self.width / self.heads) ** -0.5
    score = jnp.einsum("nqhe,nkhe->nhqk", query_NxLxHxE, key_NxLxHxE) * scale
    score = jnp.where(there_NxL[:, None, None], score, -jnp.inf)
    y = jnp.einsum("nhqk,nkhe->nqhe", jax.nn.softmax(score), value_NxLxHxE)
    return y.reshape(x_NxLxD.shape)


def _norm(name):
  return nn.LayerNorm(EPSILON, use_fast_variance=False, name=name)
