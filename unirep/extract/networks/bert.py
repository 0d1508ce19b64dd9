"""BERT: a transformer over word pieces.

Dimensions: N texts, L pieces, D width, H heads, E width of a head.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

POSITIONS, SEGMENTS = 512, 2
EPSILON = 1e-12


class Bert(nn.Module):
  """Pieces (N, L) and which of them there are to the last layer, (N, L, D).

  Attributes:
    vocabulary: how many pieces there are.
    width: D.
    layers: of attention and perceptron.
    heads: of attention.
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
