"""One codebook for all modalities, moved by averages instead of gradients.

After MM-EMA (multi-modal exponential moving average) of "Achieving Cross Modal
Generalization with Multimodal Unified Representation" (NeurIPS 2023), with one
assignment for all that is said at one place: so the modalities come to share
codes. `quantizer.mm_ema` has the published form. State is a `Codebook`, all
else is a pure function.

A code of zeros is asleep: nothing is assigned to it. How many codes are awake
is a result of training (see `quantizer.growth`), and K only an upper bound.

Dimensions: B batch rows (this device's), K codes, D code width. Inputs and
indices are mappings from modality; `modalities` fixes their order.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unirep.parallel import collectives

FAR = 1e30  # squared distance of what is asleep: finite, and never the least


class Codebook(NamedTuple):
  """Codes with the running counts and sums they are the ratio of.

  Attributes:
    code_KxD: the codes.
    count_K: running number of rows assigned to each code.
    sum_KxD: running sum of those rows; codes are sum / count.
    age: modality -> (K,) steps since it last chose each code.
    tenure_K: steps since the code was last placed somewhere else.
  """

  code_KxD: jax.Array
  count_K: jax.Array
  sum_KxD: jax.Array
  age: Mapping[str, jax.Array]
  tenure_K: jax.Array


class Rows(NamedTuple):
  """What modalities say at the same places, clips or time steps of clips.

  Attributes:
    x: modality -> rows (B, D) before quantization.
    distance: modality -> (B, K), see `distances`.
    idx: modality -> (B,) the codes that the update gives them.
    weight_B: what a place counts; 0 for padding.
    present: modality -> (B,) bool, False where it is missing and its row means
      nothing; absent where it never is.
  """

  x: Mapping[str, jax.Array]
  distance: Mapping[str, jax.Array]
  idx: Mapping[str, jax.Array]
  weight_B: jax.Array
  present: Mapping[str, jax.Array] = {}

  def weight(self, *modalities: str) -> jax.Array:
    """What the places count at which all of `modalities` are there: (B,)."""
    weight_B = self.weight_B
    for m in modalities:
      weight_B = only(self.present.get(m), weight_B)
    return weight_B

  def stack(self, values: Mapping[str, jax.Array]) -> jax.Array:
    """Of every modality (B, ...) -> (M, B, ...), zeros where it is missing."""
    return jnp.stack([only(self.present.get(m), x) for m, x in values.items()])

  def modalities(self) -> Any:
    """How many are there: M, or (B,) where some are missing."""
    if not self.present:
      return len(self.x)
    one_B = jnp.ones_like(self.weight_B)
    return self.stack(dict.fromkeys(self.x, one_B)).sum(0)


def only(present_B: jax.Array | None, x: jax.Array) -> jax.Array:
  """Zeros in the rows of x (B, ...) that are missing; x if none is."""
  if present_B is None:
    return x
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
    count: initial count of every code. With 0 and sums equal to the codes, as
      released, a code that the first step misses explodes and then vanishes.
    age: initial age.
  """
  code_KxD = jax.random.uniform(key, (size, dim), float, -bound, bound)
  return Codebook(
    code_KxD=code_KxD,
    count_K=jnp.full((size,), count, code_KxD.dtype),
    sum_KxD=code_KxD * (count if count else 1.0),
    age={m: jnp.full((size,), age, code_KxD.dtype) for m in modalities},
    tenure_K=jnp.full((size,), FAR, code_KxD.dtype),
  )


def asleep(
  key: jax.Array, size: int, dim: int, modalities: Sequence[str]
) -> Codebook:
  """As `init`, with all codes asleep: `unirep.quantizer.growth` places them."""
  return init(key, size, dim, modalities, bound=0.0, count=0.0)


def awake(code_KxD: jax.Array) -> jax.Array:
  """Which codes can be chosen: (K,) bool."""
  return (code_KxD != 0).any(-1)


def on_sphere(x: jax.Array, floor: float = 1e-6) -> jax.Array:
  """Rows (..., D) scaled to a root mean square of 1; zeros stay zeros.

  Squared distances over 2 D are then 1 minus the cosine: codes, contrastive
  losses and the matching of codes measure with one ruler.
  """
  square = (x**2).mean(-1, keepdims=True)
  # The root of a clamped value: at x = 0 its slope is 0, not infinite.
  return x / jnp.sqrt(jnp.maximum(square, floor**2))


def distances(code_KxD: jax.Array, x_BxD: jax.Array) -> jax.Array:
  """Squared Euclidean distances (B, K), never below zero.

  `FAR` for codes that are asleep.
  """
  x_BxD = x_BxD.astype(code_KxD.dtype)
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
  """Every modality's row takes the code that is nearest to it, as released."""
  return {m: x.argmin(-1).astype(jnp.int32) for m, x in distance.items()}


def nearest_jointly(distance: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
  """All modalities take the code with the least sum of distances.

  On the sphere that is the code nearest to the mean of what they say.
  """
  total_BxK = sum(x for x in distance.values())
  idx_B = jnp.asarray(total_BxK).argmin(-1).astype(jnp.int32)
  return dict.fromkeys(distance, idx_B)


def straight_through(x_BxD: jax.Array, q_BxD: jax.Array) -> jax.Array:
  """The code in the forward pass, the identity in the backward pass."""
  return x_BxD + jax.lax.stop_gradient(q_BxD - x_BxD)


def joint_update(
  codebook: Codebook,
  levels: Sequence[Rows],
  *,
  decay: float = 0.99,
  axis_name: str | None = None,
) -> Codebook:
  """Moves each code to the direction of all that was assigned to it.

  One update for all modalities, whatever their order, and for clips and time
  steps. Where the modalities of a place have one code, that code is pulled to
  the mean of what they say. Codes stay on the sphere, see `on_sphere`.

  Args:
    codebook: state before the step.
    levels: rows with the codes assigned to them.
    decay: share of the old count and sum that is kept.
    axis_name: the device axis over which counts and sums are added up.

  Returns:
    The codebook with new codes, counts, sums and ages.
  """
  size, dtype = codebook.count_K.shape[0], codebook.code_KxD.dtype
  hits = {m: jnp.zeros_like(codebook.count_K) for m in codebook.age}
  pull_KxD = jnp.zeros_like(codebook.sum_KxD)
  for rows in levels:
    for m, x_BxD in rows.x.items():
      onehot_BxK = jax.nn.one_hot(rows.idx[m], size, dtype=dtype)
      onehot_BxK *= rows.weight(m)[:, None].astype(dtype)
      part_KxD = jnp.matmul(
        onehot_BxK.T, x_BxD.astype(dtype), precision="highest"
      )
      hits[m] += collectives.psum(onehot_BxK.sum(0), axis_name)
      pull_KxD += collectives.psum(part_KxD, axis_name)
  awake_K = awake(codebook.code_KxD)  # before the first placement none is
  hit_K = jnp.asarray(sum(hits.values()))
  count_K = decay * codebook.count_K + (1 - decay) * hit_K
  sum_KxD = decay * codebook.sum_KxD + (1 - decay) * pull_KxD
  # The direction of a sum that only decayed is the same, until it underflows.
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


def usage(
  idx: jax.Array, size: int, present: jax.Array | None = None
) -> jax.Array:
  """How often each code occurs in `idx` (any shape): (K,) int32.

  Args:
    idx: codes.
    size: K.
    present: of the shape of `idx`, False for what does not count.
  """
  if present is not None:
    idx = jnp.where(present, idx, size)  # beyond the end it is dropped
  return jnp.bincount(idx.reshape(-1), length=size).astype(jnp.int32)


def idle(codebook: Codebook) -> jax.Array:
  """Steps (K,) since a code was chosen by any modality."""
  return jnp.stack(list(codebook.age.values())).min(0)
