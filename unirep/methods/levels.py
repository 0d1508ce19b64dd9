"""Levels: the places where modalities should choose one code, and whether so.

Dimensions: B batch rows of this device, T time, R rows (B, or B * T), D code
width, K codes.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from unirep.parallel import collectives
from unirep.quantizer import codebook

Arrays = Mapping[str, jax.Array]

RECENT = 50  # steps in which a code counts as newly placed


def clips(
  x: Arrays,
  code_KxD: jax.Array,
  nearest: Callable = codebook.nearest_jointly,
  present: Arrays | None = None,
) -> codebook.Rows:
  """Whole samples: modality -> (B, D). See `View` for `present`."""
  weight_B = jnp.ones_like(next(iter(x.values()))[:, 0])
  return _rows(x, weight_B, code_KxD, nearest, present or {})


def steps(
  x: Arrays,
  mask: Arrays,
  code_KxD: jax.Array,
  nearest: Callable = codebook.nearest_jointly,
  present: Arrays | None = None,
) -> codebook.Rows:
  """Time steps: modality -> (B, T, D). Those of a sample weigh one together.

  Args:
    x: rows of modalities that share a time axis.
    mask: modality -> (B, T), False at padding; absent where nothing is.
    code_KxD: the codes before their update.
    nearest: squared distances -> the codes that are assigned, of each modality.
    present: modality -> (B,), see `View`.
  """
  B, T, _ = next(iter(x.values())).shape
  weight_B = jnp.ones_like(next(iter(x.values()))[:, 0, 0])
  weight_BxT = jnp.repeat(weight_B[:, None] / T, T, 1)
  for m in x:
    if m in mask:
      weight_BxT *= mask[m]
  flat = {m: rows.reshape(B * T, -1) for m, rows in x.items()}
  every = {m: jnp.repeat(there_B, T) for m, there_B in (present or {}).items()}
  return _rows(flat, weight_BxT.reshape(-1), code_KxD, nearest, every)


def _rows(x, weight_R, code_KxD, nearest, present):
  present = {m: there_R for m, there_R in present.items() if m in x}
  distance = {m: codebook.distances(code_KxD, rows) for m, rows in x.items()}
  # What is missing has no say in what code all take.
  said = {m: codebook.only(present.get(m), d) for m, d in distance.items()}
  idx = nearest(jax.lax.stop_gradient(said))
  return codebook.Rows(x, distance, idx, weight_R, present)


def health(
  order: Sequence[str],
  book: codebook.Codebook,
  levels: Mapping[str, codebook.Rows],
  axis_name: str | None,
) -> dict[str, jax.Array]:
  """Usage of this batch, running perplexity, agreement between modalities.

  Usage is that of the first level. Every modality chooses by itself, whatever
  code the update assigned. Codes that were placed in this step are no part of
  the perplexity: nobody has chosen them.
  """
  size = book.count_K.shape[0]
  own = {
    name: codebook.nearest_each(rows.distance) for name, rows in levels.items()
  }
  first = next(iter(levels))
  present = levels[first].present
  hits = {
    m: collectives.psum(
      codebook.usage(own[first][m], size, present.get(m)), axis_name
    )
    for m in order
  }
  known_K = jnp.where(book.tenure_K > 0, jnp.maximum(book.count_K, 0), 0)
  share_K = known_K / jnp.maximum(known_K.sum(), 1e-9)
  entropy = -jnp.where(share_K > 0, share_K * jnp.log(share_K), 0).sum()
  hits_MxK = jnp.stack([*hits.values()])
  awake_K = codebook.awake(book.code_KxD)
  metrics = {
    "codebook/perplexity": jnp.exp(entropy),
    "codebook/awake": awake_K.mean(),
    "codebook/placed": (book.tenure_K < RECENT).mean(),
    "codebook/used": (hits_MxK.sum(0) > 0).mean(),
    "codebook/used_by_all": (hits_MxK > 0).all(0).mean(),
    "codebook/idle": jnp.where(awake_K, codebook.idle(book), 0).max(),
  }
  for m, hit_K in hits.items():
    metrics[f"codebook/used/{m}"] = (hit_K > 0).mean()
  for name, rows in levels.items():
    idx = own[name]
    for m, n in itertools.combinations([m for m in order if m in idx], 2):
      same_R = (idx[m] == idx[n]).astype(rows.weight_B.dtype)
      metrics[f"agreement/{name}/{m}-{n}"] = collectives.masked_mean(
        same_R, rows.weight(m, n), axis_name
      )
  return metrics
