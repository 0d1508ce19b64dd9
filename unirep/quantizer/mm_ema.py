"""MM-EMA as released: every modality is assigned its own nearest code.

The multi-modal exponential moving average of "Achieving Cross Modal
Generalization with Multimodal Unified Representation" (NeurIPS 2023), in the
form of FCID's released code with all its quirks. It does not know of missing
modalities or padding.

Dimensions: B vectors on this device, K codes, D code width. Vectors and indices
are mappings from modality; `modalities` fixes their order.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from unirep.parallel import collectives
from unirep.quantizer.codebook import Assignment, Codebook, awake, idle, usage


def update(
  codebook: Codebook,
  assignments: Sequence[Assignment],
  key: jax.Array,
  progress: jax.Array,
  *,
  modalities: Sequence[str],
  ema: Mapping[str, Any],
  restart: Mapping[str, Any],
  spread: float = 0.0,
  axis_name: str | None = None,
) -> Codebook:
  """One step: averages, then ages, then restarts of dead codes.

  Args:
    codebook: state before the step.
    assignments: the first one counts; others are ignored.
    key: PRNG key of the restart, equal on every device.
    progress: not used; the signature is that of `growth.update`.
    modalities: the order of the updates. (JAX sorts the keys of mappings.)
    ema: keywords of `ema_update`.
    restart: keywords of `restart_from_codes`.
    spread: half width of the noise added to a restarted code, beside the
      offset.
    axis_name: the device axis over which vectors are spread.
  """
  del progress
  x, idx = assignments[0].x, assignments[0].idx
  codebook = ema_update(
    codebook, x, idx, modalities, **ema, axis_name=axis_name
  )
  codebook = grow_older(codebook, idx, axis_name=axis_name)
  uniform_K = jax.random.uniform(key, codebook.count_K.shape)
  options = dict(restart)
  if spread:
    # Without noise, copies of one parent are equal, and all hits go to the one
    # of the lowest index.
    shape = codebook.code_KxD.shape
    noise_KxD = jax.random.uniform(jax.random.fold_in(key, 1), shape, float, -1)
    options["offset"] = options["offset"] + spread * noise_KxD
  return restart_from_codes(codebook, uniform_K, **options)


def ema_update(
  codebook: Codebook,
  x: Mapping[str, jax.Array],
  idx: Mapping[str, jax.Array],
  modalities: Sequence[str],
  *,
  decay: float = 0.99,
  own_weight: float = 0.5,
  epsilon: float = 1e-5,
  axis_name: str | None = None,
) -> Codebook:
  """Moves the codes towards the vectors assigned to them, as released.

  The vector of modality m pulls its code with `own_weight`; the vectors of the
  other modalities at the same clip or step share the rest. Counts and sums
  decay once per modality, in order, and the stored counts are smoothed each
  time.

  Args:
    codebook: state before the step.
    x: modality -> (B, D) vectors before quantization.
    idx: modality -> (B,) codes assigned before the update.
    modalities: the order of the modalities.
    decay: share of the old count and sum that is kept.
    own_weight: weight of the assigned modality's own vector.
    epsilon: Laplace smoothing of the counts.
    axis_name: the device axis over which counts and sums are added up.

  Returns:
    The codebook with new codes, counts and sums; ages are left alone.
  """
  size = codebook.count_K.shape[0]
  code_KxD, count_K, sum_KxD = codebook[:3]
  for m in modalities:
    onehot_BxK = jax.nn.one_hot(idx[m], size, dtype=code_KxD.dtype)
    mix_BxD = _mix(x, m, modalities, own_weight).astype(onehot_BxK.dtype)
    pull_KxD = jnp.matmul(onehot_BxK.T, mix_BxD, precision="highest")
    hit_K = collectives.psum(onehot_BxK.sum(0), axis_name)
    pull_KxD = collectives.psum(pull_KxD, axis_name)
    count_K = decay * count_K + (1 - decay) * hit_K
    sum_KxD = decay * sum_KxD + (1 - decay) * pull_KxD
    total = count_K.sum()
    # Smoothed counts replace the stored ones, as released, so that the
    # smoothing adds up over steps.
    count_K = (count_K + epsilon) / (total + size * epsilon) * total
    code_KxD = sum_KxD / count_K[:, None]
  # A sum that has decayed to 0 leaves a code at the origin, and as released
  # vectors may choose it. Exact zeros would mean that the code is asleep, so
  # the smallest number stands for them.
  tiny = jnp.finfo(code_KxD.dtype).tiny
  vanished_Kx1 = ~awake(code_KxD)[:, None]
  code_KxD = jnp.where(vanished_Kx1, tiny, code_KxD)
  return codebook._replace(code_KxD=code_KxD, count_K=count_K, sum_KxD=sum_KxD)


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
  """Adds one to every age; the age of a code with a hit becomes 0."""
  age = {}
  for m, old_K in codebook.age.items():
    hit_K = collectives.psum(usage(idx[m], old_K.shape[0]), axis_name)
    age[m] = jnp.where(hit_K > 0, 0, old_K + 1).astype(old_K.dtype)
  return codebook._replace(age=age, tenure_K=codebook.tenure_K + 1)


def restart_from_codes(
  codebook: Codebook,
  uniform_K: jax.Array,
  *,
  limit: float = 300.0,
  active: float = 100.0,
  offset: float | jax.Array = -1 / 1024,
) -> Codebook:
  """Overwrites dead codes with shifted copies of active ones, as released.

  Counts and sums stay, so that the next `ema_update` undoes the restart of a
  code without hits.

  Args:
    codebook: state after `grow_older`.
    uniform_K: draws from [0, 1), which pick the parents.
    limit: a code idle for more steps is dead.
    active: a code idle for fewer steps may be a parent.
    offset: added to copies: a constant, or (K, D).
  """
  idle_K = idle(codebook)
  dead_K = idle_K > limit
  # Below 0 is the initial age, of a code that no step has counted yet.
  active_K = (idle_K >= 0) & (idle_K < active)
  position_K = (uniform_K * active_K.sum()).astype(jnp.int32)
  parents_K = jnp.argsort(~active_K, stable=True)  # active ones first, in order
  copy_KxD = codebook.code_KxD[parents_K[position_K]] + offset
  restart_K = dead_K & active_K.any()
  return codebook._replace(
    code_KxD=jnp.where(restart_K[:, None], copy_KxD, codebook.code_KxD),
    age={m: jnp.where(dead_K, 0, age) for m, age in codebook.age.items()},
    tenure_K=jnp.where(restart_K, 0, codebook.tenure_K),
  )
