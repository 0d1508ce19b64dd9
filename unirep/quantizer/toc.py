"""TOC: chooses the dimensions of a codebook to keep, without training.

Training-free Optimization of the Codebook, the second half of FCID. It scores
the dimensions of a codebook and makes masks of them. All functions but
`indices`, `choose` and `check_keep` are pure and work under `jax.jit` and
`jax.vmap`. 16-bit codes are computed in float32; with x64 on, float64 stays.
Masks are bools, or numbers with 0 for False. Invalid input raises ValueError.

Dimensions: K codes, D code width, N vectors, S sizes of a sweep. With (p, r) =
`top_share`, keep // (p + r) * p dimensions of highest and keep // (p + r) * r
of lowest importance are kept.
"""

import functools
from typing import Any, SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

MODES = ("slice", "requantize")


def importance(
  code_KxD: Any,
  similarity_weight: float = 0.7,
  variance_weight: float = 0.3,
  live_K: Any = None,
  centered: bool = False,
) -> jax.Array:
  """Scores each dimension, high where codes differ and their mean is small.

  -similarity_weight * sim_d + variance_weight * var_d, where sim_d is the mean
  of E_id * E_jd over pairs of codes i != j and var_d the unbiased variance over
  codes. With m_d the mean over codes, sim_d = m_d^2 - var_d / K. Returns (D,).

  Args:
    code_KxD: the codes E.
    similarity_weight: 0.7 in all published scripts.
    variance_weight: 0.3 in one published script, 0 in the other three.
    live_K: True for the codes that count; the others are left out of both
      averages. With fewer than two, all scores are 0.
    centered: subtracts each dimension's mean over codes first. That mean enters
      no distance between codes, and yet can decide the plain score alone.
      sim_d is then -var_d / K, so this is a ranking by variance, the same for
      all weights.
  """
  code_KxD = _codes(code_KxD)
  live_K = _mask("live codes", live_K, code_KxD.shape[:1], True)
  count = live_K.sum().astype(code_KxD.dtype)
  total = jnp.maximum(count, 2)  # no 0 / 0 where the result is not used
  mean_D = jnp.where(live_K[:, None], code_KxD, 0).sum(0) / total
  # Deviations from the mean keep the digits that sums of squares lose.
  apart_KxD = jnp.where(live_K[:, None], code_KxD - mean_D, 0)
  var_D = (apart_KxD**2).sum(0) / (total - 1)
  sim_D = -var_D / total if centered else mean_D**2 - var_D / total
  score_D = variance_weight * var_D - similarity_weight * sim_D
  return jnp.where(count < 2, 0, score_D)


def dead(
  code_KxD: Any, live_K: Any = None, tolerance: float = 0.01
) -> jax.Array:
  """Marks the dimensions that are nearly zero in every code: (D,) bool.

  Codes that are averages of ReLU outputs are not negative, so the similarity
  of a dead dimension is the lowest there is and TOC without variance keeps it.

  Args:
    code_KxD: the codes.
    live_K: True for the codes that count.
    tolerance: the largest magnitude in a dead dimension, in units of the root
      mean square of the codes.
  """
  code_KxD = _codes(code_KxD)
  live_K = _mask("live codes", live_K, code_KxD.shape[:1], True)
  size_KxD = jnp.where(live_K[:, None], jnp.abs(code_KxD), 0)
  square = (size_KxD**2).mean(-1).sum() / jnp.maximum(live_K.sum(), 1)
  return size_KxD.max(0) <= tolerance * jnp.sqrt(square)


def rank(importance_D: Any, dead_D: Any = None) -> jax.Array:
  """Orders the dimensions, best first and the dead last: (D,) int32.

  Args:
    importance_D: importance; on a tie the lower index goes first.
    dead_D: dimensions to put last, in the order of importance.
  """
  importance_D = _scores(importance_D)
  dead_D = _mask("dead dimensions", dead_D, importance_D.shape, False)
  return jnp.lexsort((-importance_D, dead_D)).astype(jnp.int32)


def select(
  importance_D: Any,
  keep: Any,
  top_share: tuple[int, int] = (1, 0),
  dead_D: Any = None,
) -> jax.Array:
  """Marks the dimensions to keep: (D,) bool.

  As released, `keep` is rounded down to a multiple of p + r; `check_keep` fails
  instead. The lowest are taken from the end of `rank`, so that a tie there goes
  to the higher index.

  Args:
    importance_D: importance.
    keep: how many dimensions, 1 to D; an int or a traced integer.
    top_share: parts (p, r) of highest and of lowest importance; static.
    dead_D: dimensions that are kept only after all others.
  """
  importance_D = _scores(importance_D)
  _check_range(keep, importance_D.size)
  ranks = _ranks(importance_D, dead_D)
  return _kept(*ranks, jnp.asarray(keep), _share(top_share))


def sweep(
  importance_D: Any,
  keep_S: Any,
  top_share: tuple[int, int] = (1, 0),
  dead_D: Any = None,
) -> jax.Array:
  """As `select`, for S sizes at once, compiled once: (S, D) bool."""
  importance_D = _scores(importance_D)
  if np.ndim(keep_S) != 1:
    raise ValueError(f"sizes must be (S,), not {np.shape(keep_S)}")
  _check_range(keep_S, importance_D.size)
  dead_D = _mask("dead dimensions", dead_D, importance_D.shape, False)
  return _sweep(importance_D, jnp.asarray(keep_S), dead_D, _share(top_share))


@functools.partial(jax.jit, static_argnums=3)
def _sweep(importance_D, keep_S, dead_D, share):
  ranks = _ranks(importance_D, dead_D)
  return jax.vmap(lambda keep: _kept(*ranks, keep, share))(keep_S)


def _ranks(importance_D, dead_D):
  """The position of each dimension in `rank`, and how many are not dead."""
  # The argsort of a permutation is its inverse.
  dead_D = _mask("dead dimensions", dead_D, importance_D.shape, False)
  return jnp.argsort(rank(importance_D, dead_D)), (~dead_D).sum()


def _kept(rank_D, living, keep, share):
  p, r = share
  base = keep // (p + r)
  # The dead come last in rank; the lowest are those just before them.
  pool = jnp.maximum(living, base * (p + r))
  return (rank_D < base * p) | ((rank_D >= pool - base * r) & (rank_D < pool))


def indices(
  importance_D: Any,
  keep: SupportsIndex,
  top_share: tuple[int, int] = (1, 0),
  dead_D: Any = None,
) -> np.ndarray:
  """Indices that `select` marks, highest down, then lowest up, as released."""
  _check_range(keep, np.size(importance_D))
  p, r = _share(top_share)
  base = int(keep) // (p + r)
  order_D = np.asarray(rank(importance_D, dead_D))
  # `_kept` on the host, with the order that a mask does not have.
  living = order_D.size - int(np.count_nonzero(0 if dead_D is None else dead_D))
  pool = max(living, base * (p + r))
  lowest = order_D[pool - base * r : pool][::-1]
  return np.concatenate([order_D[: base * p], lowest])


def slice_dims(x: Any, mask_D: Any) -> jax.Array:
  """Zeroes the dimensions of (..., D) vectors that are not kept."""
  x = jnp.asarray(x)
  return jnp.where(_mask("kept dimensions", mask_D, x.shape[-1:], True), x, 0)


def requantize(code_KxD: Any, x_NxD: Any, mask_D: Any) -> jax.Array:
  """Finds the nearest code in the kept dimensions alone: (N,) int32.

  Args:
    code_KxD: the codes; on a tie the lower index is nearer.
    x_NxD: vectors before quantization; any leading axes.
    mask_D: the dimensions to keep, or None for all.
  """
  code_KxD, x_NxD = _codes(code_KxD), jnp.asarray(x_NxD)
  if x_NxD.shape[-1:] != code_KxD.shape[1:]:
    raise ValueError(f"rows {x_NxD.shape} do not fit codes {code_KxD.shape}")
  code_KxD = slice_dims(code_KxD, mask_D)
  x_NxD = slice_dims(x_NxD.astype(code_KxD.dtype), mask_D)
  # As `codebook.distances`, which this module does not import, so that it can
  # be used by itself.
  product_NxK = jnp.matmul(x_NxD, code_KxD.T, precision="highest")
  norm_K = (code_KxD**2).sum(-1)
  norm_Nx1 = (x_NxD**2).sum(-1, keepdims=True)
  distance_NxK = jnp.maximum(norm_K + norm_Nx1 - 2 * product_NxK, 0)
  return jnp.argmin(distance_NxK, -1).astype(jnp.int32)


def apply(
  code_KxD: Any, x_NxD: Any, mask_D: Any, mode: str = "slice"
) -> jax.Array:
  """Quantizes vectors and keeps the marked dimensions of their codes.

  Args:
    code_KxD: the codes.
    x_NxD: vectors before quantization; any leading axes.
    mask_D: the dimensions to keep.
    mode: `slice` finds the nearest code in all dimensions, as the released
      scripts do; `requantize` in the kept ones only, as the paper argues.

  Returns:
    (N, D) codes, zero in the other dimensions.
  """
  if mode not in MODES:
    raise ValueError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
  code_KxD = _codes(code_KxD)
  search_D = None if mode == "slice" else mask_D
  return slice_dims(code_KxD[requantize(code_KxD, x_NxD, search_D)], mask_D)


def choose(
  code_KxD: Any,
  live_K: Any = None,
  share: float = 0.95,
  importance_D: Any = None,
  dead_D: Any = None,
) -> int:
  """Proposes how many dimensions to keep, from the codebook alone.

  The least number of dimensions, best first, that hold `share` of the squared
  distances between codes, summed over pairs. That is the same share of the
  summed variance. It sees no labels, so it can't know the needs of a task. Runs
  on the host.

  Args:
    code_KxD: the codes.
    live_K: True for the codes that count.
    share: in (0, 1].
    importance_D: as for `select`; by default `importance`.
    dead_D: as for `select`.
  """
  if not 0 < share <= 1:
    raise ValueError(f"share must be above 0 and at most 1, not {share}")
  if importance_D is None:
    importance_D = importance(code_KxD, live_K=live_K)
  code_KxD = _codes(code_KxD)
  live_K = _mask("live codes", live_K, code_KxD.shape[:1], True)
  code_KxD = np.asarray(code_KxD, np.float64)[np.asarray(live_K)]
  if not (code_KxD != code_KxD[:1]).any():
    raise ValueError("no dimension tells the codes apart: they are all equal")
  held_D = np.cumsum(code_KxD.var(0)[np.asarray(rank(importance_D, dead_D))])
  return int(np.searchsorted(held_D, share * held_D[-1])) + 1


def check_keep(
  keep: SupportsIndex, dims: int, top_share: tuple[int, int] = (1, 0)
) -> None:
  """Raises ValueError unless `select` would keep exactly `keep` of `dims`."""
  _check_range(keep, dims)
  p, r = _share(top_share)
  if int(keep) % (p + r):
    raise ValueError(f"keep must be a multiple of {p} + {r}, not {keep}")


def _check_range(keep, dims):
  if isinstance(keep, Tracer):  # its value is not known yet
    return
  keep_S = np.asarray(keep)
  whole = keep_S.dtype.kind in "iu"
  if not whole or (keep_S < 1).any() or (keep_S > dims).any():
    raise ValueError(f"keep must be whole and from 1 to {dims}, not {keep}")


def _share(top_share):
  p, r = top_share
  # type(), because True is an int.
  if {type(p), type(r)} != {int} or min(p, r) < 0 or p + r < 1:
    raise ValueError(f"top_share must be counts, one above 0, not {top_share}")
  return p, r


def _codes(code_KxD):
  code_KxD = jnp.asarray(code_KxD)
  if code_KxD.ndim != 2 or code_KxD.shape[0] < 2:
    raise ValueError(f"codes must be (2 or more, D), not {code_KxD.shape}")
  return code_KxD.astype(jnp.promote_types(code_KxD.dtype, jnp.float32))


def _scores(importance_D):
  importance_D = jnp.asarray(importance_D)
  if importance_D.ndim != 1:
    raise ValueError(f"importance must be (D,), not {importance_D.shape}")
  return importance_D.astype(jnp.promote_types(importance_D.dtype, jnp.float32))


def _mask(what, mask, shape, default):
  if mask is None:
    return jnp.full(shape, default)
  if np.shape(mask) != shape:
    raise ValueError(f"{what} must have shape {shape}, not {np.shape(mask)}")
  return jnp.asarray(mask) != 0
