"""One codebook for all modalities, moved by averages instead of gradients.

It follows MM-EMA (multi-modal exponential moving average) of "Achieving Cross
Modal Generalization with Multimodal Unified Representation" (NeurIPS 2023),
with one change: at each clip or step all modalities are assigned one code, so
that they come to share codes. The published form is in `quantizer.mm_ema`. The
state is a `Codebook`; all functions are pure.

A code of zeros is asleep (dead): no vector is assigned to it. Training decides
how many codes are awake, see `quantizer.growth`; K is only an upper bound.

Dimensions: B vectors on this device, K codes, D code width, M modalities.
Vectors and indices are mappings from modality; `modalities` fixes their order.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unirep.parallel import collectives

# Squared distance to a code that is asleep: finite, because inf - inf is NaN
# in a softmax, and larger than any distance between vectors.
FAR = 1e30


class Codebook(NamedTuple):
  """Codes, and the running counts and sums that they are made of.

  Attributes:
    code_KxD: the codes.
    count_K: running number of vectors assigned to each code.
    sum_KxD: running sum of those vectors; codes are sum / count.
    age: modality -> (K,) steps since it last chose each code.
    tenure_K: steps since the code was last placed somewhere else.
  """

  code_KxD: jax.Array
  count_K: jax.Array
  sum_KxD: jax.Array
  age: Mapping[str, jax.Array]
  tenure_K: jax.Array


class Assignment(NamedTuple):
  """All vectors of one granularity (clips, or steps) and their codes.

  Row b of every modality is of the same clip or step.

  Attributes:
    x: modality -> (B, D) vectors before quantization.
    distance: modality -> (B, K), see `distances`.
    idx: modality -> (B,) the assigned codes, by which the codebook is updated.
    weight_B: weight of each clip or step; 0 for padding.
    present: modality -> (B,) bool, False where the modality is missing. Its
      vector is then arbitrary and must not matter.
  """

  x: Mapping[str, jax.Array]
  distance: Mapping[str, jax.Array]
  idx: Mapping[str, jax.Array]
  weight_B: jax.Array
  present: Mapping[str, jax.Array]

  def weight(self, *modalities: str) -> jax.Array:
    """Weights (B,), 0 where one of `modalities` is missing."""
    weight_B = self.weight_B
    for m in modalities:
      weight_B = only(self.present[m], weight_B)
    return weight_B

  def stack(self, values: Mapping[str, jax.Array]) -> jax.Array:
    """Modality -> (B, ...) as one (M, B, ...), zeros where one is missing."""
    return jnp.stack([only(self.present[m], x) for m, x in values.items()])

  def modalities(self) -> jax.Array:
    """Number of modalities that are present: (B,), of the weights' type."""
    one_B = jnp.ones_like(self.weight_B)
    return self.stack(dict.fromkeys(self.x, one_B)).sum(0)


def only(present_B: jax.Array, x: jax.Array) -> jax.Array:
  """Returns x (B, ...) with zeros in the rows where `present_B` is False."""
  return jnp.where(present_B.reshape(-1, *[1] * (x.ndim - 1)), x, 0)


def init(
  key: jax.Array,
  size: int,
  dim: int,
  modalities: Sequence[str],
  *,
  bound: float = 1 / 400,
  count: float = 0.0,
  age: float = -1.0,
) -> Codebook:
  """Draws `size` codes of width `dim` from U(-bound, bound).

  Args:
    key: PRNG key.
    size: number of codes K.
    dim: code width D.
    modalities: names of the modalities that share the codebook.
    bound: half width of the initial distribution.
    count: initial count of every code. With count 0 and sums equal to the
      codes, as released, a code that the first step misses explodes and then
      vanishes.
    age: initial age.
  """
  code_KxD = jax.random.uniform(key, (size, dim), float, -bound, bound)
  return Codebook(
    code_KxD=code_KxD,
    count_K=jnp.full((size,), count, code_KxD.dtype),
    sum_KxD=code_KxD * (count if count else 1.0),
    age={m: jnp.full((size,), age, code_KxD.dtype) for m in modalities},
    # No code was placed lately, so that `health` counts none as new.
    tenure_K=jnp.full((size,), FAR, code_KxD.dtype),
  )


def asleep(
  key: jax.Array, size: int, dim: int, modalities: Sequence[str]
) -> Codebook:
  """As `init`, with all codes asleep: `unirep.quantizer.growth` wakes them."""
  return init(key, size, dim, modalities, bound=0.0, count=0.0)


def awake(code_KxD: jax.Array) -> jax.Array:
  """Whether each code is awake: (K,) bool."""
  return (code_KxD != 0).any(-1)


def on_sphere(x: jax.Array, floor: float = 1e-6) -> jax.Array:
  """Scales vectors (..., D) to a root mean square of 1; zeros stay zeros.

  The squared distance of two such vectors, over 2 D, is 1 minus their cosine.
  So the codebook, contrastive losses and matching all measure the cosine.
  """
  square = (x**2).mean(-1, keepdims=True)
  # The root of a clamped value: at x = 0 its slope is 0, not infinite.
  return x / jnp.sqrt(jnp.maximum(square, floor**2))


def distances(code_KxD: jax.Array, x_BxD: jax.Array) -> jax.Array:
  """Squared Euclidean distances (B, K); `FAR` to codes that are asleep."""
  x_BxD = x_BxD.astype(code_KxD.dtype)
  # |x|^2 + |c|^2 - 2 x.c is one matrix product instead of (B, K, D) numbers.
  # It cancels where x is near c: hence full precision, and the clamp below.
  product_BxK = jnp.matmul(x_BxD, code_KxD.T, precision="highest")
  norm_K = (code_KxD**2).sum(-1)
  norm_Bx1 = (x_BxD**2).sum(-1, keepdims=True)
  distance_BxK = jnp.maximum(norm_K + norm_Bx1 - 2 * product_BxK, 0)
  return jnp.where(awake(code_KxD), distance_BxK, FAR)


def assign(code_KxD: jax.Array, x_BxD: jax.Array) -> jax.Array:
  """Index of the nearest code, the lowest one on a tie: (B,) int32."""
  distance_BxK = distances(code_KxD, jax.lax.stop_gradient(x_BxD))
  return jnp.argmin(distance_BxK, -1).astype(jnp.int32)


def nearest_each(distance: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
  """Assigns each vector its own nearest code, as released: m -> (B,) int32."""
  return {m: x.argmin(-1).astype(jnp.int32) for m, x in distance.items()}


def nearest_jointly(distance: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
  """Assigns all modalities the code with the least sum of distances.

  On the sphere that is the code nearest to the mean of their vectors.
  """
  total_BxK = sum(x for x in distance.values())
  idx_B = jnp.asarray(total_BxK).argmin(-1).astype(jnp.int32)
  return dict.fromkeys(distance, idx_B)


def straight_through(x_BxD: jax.Array, q_BxD: jax.Array) -> jax.Array:
  """Returns the codes q, with the gradient of x (straight-through).

  Van den Oord et al. 2017, "Neural Discrete Representation Learning".
  """
  # The forward value is q; the difference is constant, so d/dx is the identity.
  return x_BxD + jax.lax.stop_gradient(q_BxD - x_BxD)


def joint_update(
  codebook: Codebook,
  assignments: Sequence[Assignment],
  *,
  decay: float = 0.99,
  axis_name: str | None = None,
) -> Codebook:
  """Moves each code to the direction of the vectors assigned to it.

  One update for all modalities, whatever their order, and for clips and steps.
  Where the modalities of a clip or step share a code, it is pulled to the mean
  of their vectors. Codes stay on the sphere, see `on_sphere`. With hits n_k and
  the sum s_k of the vectors assigned to code k in this step,

      N_k <- decay N_k + (1 - decay) n_k,  S_k <- decay S_k + (1 - decay) s_k,

  and the code is S_k on the sphere.

  Args:
    codebook: state before the step.
    assignments: vectors of clips, and maybe of steps, with their codes.
    decay: share of the old count and sum that is kept.
    axis_name: the device axis over which counts and sums are added up.

  Returns:
    The codebook with new codes, counts, sums and ages.
  """
  size, dtype = codebook.count_K.shape[0], codebook.code_KxD.dtype
  hits = {m: jnp.zeros_like(codebook.count_K) for m in codebook.age}
  pull_KxD = jnp.zeros_like(codebook.sum_KxD)
  for assignment in assignments:
    for m, x_BxD in assignment.x.items():
      # Sums by code as a matrix product, which accelerators do faster than a
      # scatter, and in an order that does not change from run to run.
      onehot_BxK = jax.nn.one_hot(assignment.idx[m], size, dtype=dtype)
      onehot_BxK *= assignment.weight(m)[:, None].astype(dtype)
      part_KxD = jnp.matmul(
        onehot_BxK.T, x_BxD.astype(dtype), precision="highest"
      )
      hits[m] += collectives.psum(onehot_BxK.sum(0), axis_name)
      pull_KxD += collectives.psum(part_KxD, axis_name)
  # Before the first placement all codes are asleep, and a vector may still
  # have been assigned one of them, all being equally far: such hits are dropped
  # below.
  awake_K = awake(codebook.code_KxD)
  hit_K = jnp.asarray(sum(hits.values()))
  count_K = decay * codebook.count_K + (1 - decay) * hit_K
  sum_KxD = decay * codebook.sum_KxD + (1 - decay) * pull_KxD
  # Without a hit the sum only decays: its direction is the same in theory, but
  # it underflows in time, and the code would be lost.
  moved_K = awake_K & (hit_K > 0)
  return Codebook(
    code_KxD=jnp.where(moved_K[:, None], on_sphere(sum_KxD), codebook.code_KxD),
    count_K=jnp.where(awake_K, count_K, 0),
    sum_KxD=jnp.where(awake_K[:, None], sum_KxD, 0),
    age={
      m: jnp.where(hits[m] > 0, 0, old_K + 1).astype(old_K.dtype)
      for m, old_K in codebook.age.items()
    },
    tenure_K=codebook.tenure_K + 1,
  )


def usage(idx: jax.Array, size: int) -> jax.Array:
  """Number of hits of each of `size` codes: (...) indices -> (K,) int32.

  An index of `size` or more is counted nowhere.
  """
  return jnp.bincount(idx.reshape(-1), length=size).astype(jnp.int32)


def idle(codebook: Codebook) -> jax.Array:
  """Steps (K,) since a code was chosen by any modality."""
  return jnp.stack(list(codebook.age.values())).min(0)
