"""Assignment of codes to clips and steps, and metrics of the codes' health.

Dimensions: B samples of this device, T time, R clips or steps (B, or B * T), D
code width, K codes, M modalities.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from unirep.losses.base import filled
from unirep.parallel import collectives
from unirep.quantizer import codebook
from unirep.quantizer.codebook import Assignment

Arrays = Mapping[str, jax.Array]

RECENT = 50  # steps during which a code counts as newly placed


def clips(
  x: Arrays,
  code_KxD: jax.Array,
  nearest: Callable = codebook.nearest_jointly,
  present: Arrays | None = None,
) -> Assignment:
  """Assigns codes to clips, the vectors (B, D) of whole samples.

  Args:
    x: modality -> (B, D).
    code_KxD: the codes before their update.
    nearest: `codebook.nearest_jointly` or `codebook.nearest_each`.
    present: modality -> (B,), see `LossInputs`; None if none is missing.
  """
  weight_B = jnp.ones_like(next(iter(x.values()))[:, 0])
  return _assign(x, weight_B, code_KxD, nearest, filled(present, x))


def steps(
  x: Arrays,
  mask: Arrays,
  code_KxD: jax.Array,
  nearest: Callable = codebook.nearest_jointly,
  present: Arrays | None = None,
) -> Assignment:
  """Assigns codes to steps (B, T, D) of modalities that share a time axis.

  A step weighs 1 / T, so that the steps of a sample weigh as much as its clip;
  a step that is padding in any modality weighs 0.

  Args:
    x: modality -> (B, T, D).
    mask: modality -> (B, T), False at padding; without an entry for a modality
      without padding.
    code_KxD: the codes before their update.
    nearest: `codebook.nearest_jointly` or `codebook.nearest_each`.
    present: modality -> (B,), see `LossInputs`; None if none is missing.
  """
  B, T, _ = next(iter(x.values())).shape
  weight_B = jnp.ones_like(next(iter(x.values()))[:, 0, 0])
  weight_BxT = jnp.repeat(weight_B[:, None] / T, T, 1)
  for m in x:
    if m in mask:
      weight_BxT *= mask[m]
  flat = {m: x_BxTxD.reshape(B * T, -1) for m, x_BxTxD in x.items()}
  every = {m: jnp.repeat(x_B, T) for m, x_B in filled(present, x).items()}
  return _assign(flat, weight_BxT.reshape(-1), code_KxD, nearest, every)


def _assign(x, weight_R, code_KxD, nearest, present):
  distance = {m: codebook.distances(code_KxD, x_RxD) for m, x_RxD in x.items()}
  # A joint assignment adds up distances, so those of a missing modality are 0.
  # It gets the common code as well, but no update and no loss sees that.
  counted = {m: codebook.only(present[m], d) for m, d in distance.items()}
  idx = nearest(jax.lax.stop_gradient(counted))
  return Assignment(x, distance, idx, weight_R, present)


def health(
  order: Sequence[str],
  book: codebook.Codebook,
  assignments: Mapping[str, Assignment],
  axis_name: str | None,
) -> dict[str, jax.Array]:
  """Usage in this batch, running perplexity, agreement between modalities.

  Usage is counted on the first assignment. Usage and agreement take the nearest
  code of each modality alone, not the joint code. Codes that were placed in
  this step do not enter the perplexity: their count is not made of hits yet.

  Args:
    order: names of all modalities.
    book: the codebook after the step.
    assignments: granularity -> Assignment.
    axis_name: the device axis over which samples are spread.
  """
  size = book.count_K.shape[0]
  own = {
    name: codebook.nearest_each(assignment.distance)
    for name, assignment in assignments.items()
  }
  name, first = next(iter(assignments.items()))
  hits = {}
  for m in order:
    # An index past the last code is not counted.
    idx = jnp.where(first.present[m], own[name][m], size)
    hits[m] = collectives.psum(codebook.usage(idx, size), axis_name)
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
  for name, assignment in assignments.items():
    idx = own[name]
    for m, n in itertools.combinations([m for m in order if m in idx], 2):
      same_R = (idx[m] == idx[n]).astype(assignment.weight_B.dtype)
      metrics[f"agreement/{name}/{m}-{n}"] = collectives.masked_mean(
        same_R, assignment.weight(m, n), axis_name
      )
  return metrics
