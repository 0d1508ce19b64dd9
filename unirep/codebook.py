"""One codebook for all modalities, moved by averages instead of gradients.

MM-EMA (multi-modal exponential moving average) of "Achieving Cross Modal
Generalization with Multimodal Unified Representation" (NeurIPS 2023) in the
form that FCID runs. State is a `Codebook`, everything else is a pure function.

Dimensions: B batch rows (this device's), K codes, D code width. Inputs and
indices are mappings from modality; `modalities` fixes their order.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from unirep import collectives


class Codebook(NamedTuple):
  """Codes with the running counts and sums they are the ratio of.

  Attributes:
    code_KxD: the codes.
    count_K: running number of rows assigned to each code.
    sum_KxD: running sum of those rows; codes are sum / count.
    age: modality -> (K,) steps since it last chose each code.
  """

  code_KxD: jax.Array
  count_K: jax.Array
  sum_KxD: jax.Array
  age: Mapping[str, jax.Array]


class RestartDraw(NamedTuple):
  """The randomness of one restart, equal on every device.

  Attributes:
    uniform_K: draws from [0, 1).
    rank_R: a permutation of the R = M * B_global rows of all modalities.
    noise_KxD: standard normal draws.
  """

  uniform_K: jax.Array
  rank_R: jax.Array
  noise_KxD: jax.Array


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
    age: initial age. Start above the limit of `restart_from_rows` and codes
      that the first step misses begin as samples of the data.
  """
  code_KxD = jax.random.uniform(key, (size, dim), float, -bound, bound)
  return Codebook(
    code_KxD=code_KxD,
    count_K=jnp.full((size,), count, code_KxD.dtype),
    sum_KxD=code_KxD * (count if count else 1.0),
    age={m: jnp.full((size,), age, code_KxD.dtype) for m in modalities},
  )


def distances(code_KxD: jax.Array, x_BxD: jax.Array) -> jax.Array:
  """Squared Euclidean distances (B, K), never below zero."""
  x_BxD = x_BxD.astype(code_KxD.dtype)
  product_BxK = jnp.matmul(x_BxD, code_KxD.T, precision="highest")
  norm_K = (code_KxD**2).sum(-1)
  norm_Bx1 = (x_BxD**2).sum(-1, keepdims=True)
  return jnp.maximum(norm_K + norm_Bx1 - 2 * product_BxK, 0)


def assign(code_KxD: jax.Array, x_BxD: jax.Array) -> jax.Array:
  """Index of the nearest code, the lowest one on a tie: (B,) int32."""
  distance_BxK = distances(code_KxD, jax.lax.stop_gradient(x_BxD))
  return jnp.argmin(distance_BxK, -1).astype(jnp.int32)


def straight_through(x_BxD: jax.Array, q_BxD: jax.Array) -> jax.Array:
  """The code in the forward pass, the identity in the backward pass."""
  return x_BxD + jax.lax.stop_gradient(q_BxD - x_BxD)


def ema_update(
  codebook: Codebook,
  x: Mapping[str, jax.Array],
  idx: Mapping[str, jax.Array],
  modalities: Sequence[str],
  *,
  decay: float = 0.99,
  own_weight: float = 0.5,
  joint: bool = True,
  epsilon: float = 1e-5,
  axis_name: str | None = None,
) -> Codebook:
  """Moves the codes towards the rows assigned to them.

  A row of modality m pulls its code with `own_weight`, the rows of the other
  modalities at the same position share the rest, so that one code becomes the
  mean of what the modalities say about the same thing.

  Args:
    codebook: state before the step.
    x: modality -> rows (B, D) before quantization.
    idx: modality -> (B,) codes assigned before the update.
    modalities: the order of the modalities.
    decay: share of the old count and sum that is kept.
    own_weight: weight of the assigned modality's own row.
    joint: one update for all modalities. False decays once per modality, in
      order, and smooths the stored counts each time, as released.
    epsilon: Laplace smoothing of the counts (only if not `joint`); a code whose
      count is below it stays where it is (only if `joint`).
    axis_name: the device axis over which counts and sums are added up.

  Returns:
    The codebook with new codes, counts and sums; ages are left alone.
  """
  size = codebook.count_K.shape[0]
  hits, pulls = {}, {}
  for m in modalities:
    onehot_BxK = jax.nn.one_hot(idx[m], size, dtype=codebook.code_KxD.dtype)
    mix_BxD = _mix(x, m, modalities, own_weight).astype(onehot_BxK.dtype)
    pull_KxD = jnp.matmul(onehot_BxK.T, mix_BxD, precision="highest")
    hits[m] = collectives.psum(onehot_BxK.sum(0), axis_name)
    pulls[m] = collectives.psum(pull_KxD, axis_name)
  rounds = [list(modalities)] if joint else [[m] for m in modalities]
  code_KxD, count_K, sum_KxD, age = codebook
  for members in rounds:
    hit_K = sum(hits[m] for m in members)
    pull_KxD = sum(pulls[m] for m in members)
    count_K = decay * count_K + (1 - decay) * hit_K
    sum_KxD = decay * sum_KxD + (1 - decay) * pull_KxD
    if joint:
      ratio_KxD = sum_KxD / jnp.maximum(count_K, epsilon)[:, None]
      code_KxD = jnp.where((count_K > epsilon)[:, None], ratio_KxD, code_KxD)
    else:
      total = count_K.sum()
      count_K = (count_K + epsilon) / (total + size * epsilon) * total
      code_KxD = sum_KxD / count_K[:, None]
  return Codebook(code_KxD, count_K, sum_KxD, age)


def _mix(x, own: str, modalities: Sequence[str], own_weight: float):
  others = [x[m] for m in modalities if m != own]
  if not others:
    return x[own]
  share = (1 - own_weight) / len(others)
  return own_weight * x[own] + share * sum(others)


def grow_older(
  codebook: Codebook,
  idx: Mapping[str, jax.Array],
  *,
  axis_name: str | None = None,
) -> Codebook:
  """Adds one to every age, then zeroes those of the codes just chosen."""
  age = {}
  for m, old_K in codebook.age.items():
    hit_K = collectives.psum(usage(idx[m], old_K.shape[0]), axis_name)
    age[m] = jnp.where(hit_K > 0, 0, old_K + 1).astype(old_K.dtype)
  return codebook._replace(age=age)


def usage(idx: jax.Array, size: int) -> jax.Array:
  """How often each code occurs in `idx` (any shape): (K,) int32."""
  return jnp.bincount(idx.reshape(-1), length=size).astype(jnp.int32)


def idle(codebook: Codebook, rule: str = "any") -> jax.Array:
  """Steps (K,) since a code was chosen by `any`, or by `each`, modality."""
  ages_MxK = jnp.stack(list(codebook.age.values()))
  return ages_MxK.min(0) if rule == "any" else ages_MxK.max(0)


def draw_restart(key: jax.Array, size: int, dim: int, rows: int) -> RestartDraw:
  """Draws for `size` codes of width `dim` and `rows` rows of all modalities."""
  keys = jax.random.split(key, 3)
  return RestartDraw(
    uniform_K=jax.random.uniform(keys[0], (size,)),
    rank_R=jax.random.permutation(keys[1], rows),
    noise_KxD=jax.random.normal(keys[2], (size, dim)),
  )


def restart_from_codes(
  codebook: Codebook,
  x: Mapping[str, jax.Array],
  draw: RestartDraw,
  modalities: Sequence[str],
  *,
  limit: float = 300.0,
  active: float = 100.0,
  offset: float = -1 / 1024,
  axis_name: str | None = None,
) -> Codebook:
  """Overwrites dead codes with shifted copies of active ones, as released.

  Counts and sums stay, so that the next `ema_update` undoes the restart of a
  code which no row has chosen by then.

  Args:
    codebook: state after `grow_older`.
    x: not used; the signature is that of `restart_from_rows`.
    draw: its `uniform_K` picks the parents.
    modalities: not used.
    limit: a code idle for more steps is dead.
    active: a code idle for fewer steps may be a parent.
    offset: constant added to every component of a copy.
    axis_name: not used, the state is equal on all devices.
  """
  del x, modalities, axis_name
  idle_K = idle(codebook)
  dead_K = idle_K > limit
  active_K = (idle_K >= 0) & (idle_K < active)
  position_K = (draw.uniform_K * active_K.sum()).astype(jnp.int32)
  parents_K = jnp.argsort(~active_K, stable=True)  # active ones first, in order
  copy_KxD = codebook.code_KxD[parents_K[position_K]] + offset
  restart_K = dead_K & active_K.any()
  return codebook._replace(
    code_KxD=jnp.where(restart_K[:, None], copy_KxD, codebook.code_KxD),
    age={m: jnp.where(dead_K, 0, age) for m, age in codebook.age.items()},
  )


def restart_from_rows(
  codebook: Codebook,
  x: Mapping[str, jax.Array],
  draw: RestartDraw,
  modalities: Sequence[str],
  *,
  limit: float = 30.0,
  rule: str = "each",
  count: float = 0.1,
  own_weight: float = 0.5,
  jitter: float = 0.01,
  axis_name: str | None = None,
) -> Codebook:
  """Moves dead codes onto live samples, with counts and sums to match.

  Args:
    codebook: state after `grow_older`.
    x: modality -> rows (B, D) of this device.
    draw: the j-th dead code takes row `rank_R[j % R]`, so no two share one in
      a step unless they outnumber the rows.
    modalities: the order of the modalities.
    limit: a code idle for more steps is dead.
    rule: a code lives while `any` modality chooses it, or only while `each` of
      them does, as the paper has it: a code of one modality alone is nothing
      that a head trained on another has seen.
    count: the restarted code's count; its sum becomes count * code. The
      smaller, the sooner the rows that choose it move it.
    own_weight: as in `ema_update`: a code starts where that would put it, at
      what all modalities say, and not at what one of them says.
    jitter: noise in units of the rows' root mean square.
    axis_name: the device axis over which rows are spread.
  """
  dead_K = idle(codebook, rule) > limit
  order_K = jnp.cumsum(dead_K) - 1
  pick_K = draw.rank_R[order_K % draw.rank_R.shape[0]]
  mixed = {m: _mix(x, m, modalities, own_weight) for m in modalities}
  row_KxD, scale = _fetch(mixed, pick_K, modalities, axis_name)
  dtype = codebook.code_KxD.dtype
  row_KxD = (row_KxD + jitter * scale * draw.noise_KxD).astype(dtype)
  fresh = dead_K[:, None]
  return Codebook(
    code_KxD=jnp.where(fresh, row_KxD, codebook.code_KxD),
    count_K=jnp.where(dead_K, count, codebook.count_K).astype(dtype),
    sum_KxD=jnp.where(fresh, count * row_KxD, codebook.sum_KxD),
    age={m: jnp.where(dead_K, 0, age) for m, age in codebook.age.items()},
  )


def _fetch(x, pick_K, modalities, axis_name):
  """Rows `pick_K` of the global (M * B) rows, and their root mean square."""
  x_MxBxD = jnp.stack([x[m] for m in modalities])
  M, B, _ = x_MxBxD.shape
  row_B = collectives.local_rows(B, axis_name)
  batch = collectives.global_rows(B, axis_name)
  mine_KxB = (pick_K % batch)[:, None] == row_B
  m_K = pick_K // batch
  onehot_KxMxB = jax.nn.one_hot(m_K, M)[:, :, None] * mine_KxB[:, None, :]
  row_KxD = jnp.einsum(
    "kmb,mbd->kd", onehot_KxMxB, x_MxBxD, precision="highest"
  )
  square = collectives.pmean((x_MxBxD**2).mean(), axis_name)
  return collectives.psum(row_KxD, axis_name), jnp.sqrt(square)
