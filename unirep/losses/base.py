"""The argument and the result of a loss.

Dimensions: B samples of this device, T time, D code width, K codes, R rows (B,
or B * T).
"""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unirep.losses import contrast as contrasts
from unirep.parallel import collectives

Arrays = Mapping[str, jax.Array]
Params = Mapping[str, Any]


class Outputs(NamedTuple):
  """The outputs of a network, as mappings from modality.

  Fields that a method's network does not make are empty. In FCID the first five
  and `general_steps` hold the fine-aligned modalities, the others hold all.

  Attributes:
    tokens: (B, T, D), one for each time step.
    specific: (B, T, S) or (B, T, h, w, S), modality-specific features.
    summary: (B, T, Y), specific features in the form that CLUB takes.
    fine_reconstruction: decoded features, of the shape of their target.
    fine_target: targets of the decoders of specific features.
    coarse: (B, D), targets of the coarse decoders.
    general: (B, D) or (B, T, D), vectors before quantization.
    general_steps: (B, T, D), the same of single steps, if training needs them.
    coarse_specific: (B, D), the modality-specific part of a clip.
    idx: (B,) or (B, T), the nearest code of each general vector.
    code: those codes, without a gradient.
    coarse_reconstruction: (B, D), decoded coarse features.
  """

  tokens: Arrays
  specific: Arrays
  summary: Arrays
  fine_reconstruction: Arrays
  fine_target: Arrays
  coarse: Arrays
  general: Arrays
  general_steps: Arrays
  coarse_specific: Arrays
  idx: Arrays
  code: Arrays
  coarse_reconstruction: Arrays


class Draws(NamedTuple):
  """The random choices of one step that pair samples or pick time steps.

  They are equal on every device and index the global batch.

  Attributes:
    start: scalar, the last token of the CPC context.
    permutation: CLUB pair -> for each row, the row of its negative.
    codebook: PRNG key of the codebook's update.
  """

  start: jax.Array
  permutation: Arrays
  codebook: jax.Array


class LossInputs(NamedTuple):
  """The argument of every loss.

  Attributes:
    order: names of all modalities.
    fine: names of those that share a time axis.
    outputs: of the network, for the samples of this device.
    mask: modality -> (B, T), False at padding; without an entry for a modality
      without padding. A missing modality is not padding.
    present: modality -> (B,), for every modality, False where the sample lacks
      it. Its rows are then arbitrary and must not matter, see `together`.
    assignments: granularity ("clip", "step") -> vectors with their distances
      and assigned codes, `codebook.Assignment`.
    pairs: name -> features that CLUB separates, `club.Pair`.
    networks: networks that belong to losses: "cpc" (trained), "club" (fitted).
    draws: the step's random choices.
    groups: modality -> (B,) integers, equal where features are equal, for
      modalities that are not fine-aligned; see `fingerprint`.
    distribution: (squared distances (R, K), D) -> probabilities of codes.
    contrast: how rows are compared across devices, of `losses.contrast`.
    rows: how CLUB's negatives come from other devices, see `club.estimate`.
    axis_name: the device axis over which the batch is spread.
  """

  order: tuple[str, ...]
  fine: tuple[str, ...]
  outputs: Outputs
  mask: Arrays
  present: Arrays
  assignments: Mapping[str, Any]
  pairs: Mapping[str, Any]
  networks: Mapping[str, Params]
  draws: Draws
  groups: Arrays
  distribution: Callable
  contrast: Callable = contrasts.dense
  rows: Callable = collectives.gathered_rows
  axis_name: str | None = None


def filled(present: Arrays | None, x: Arrays) -> dict[str, jax.Array]:
  """A mask for each modality of x (B, ...): that of `present`, or ones.

  No other function asks whether a modality can be missing. On one device XLA
  folds nearly all masks of ones, since they are constant, and the step costs
  the same. Across devices they travel with the rows that they belong to.
  """
  present = present or {}
  # Made like x, because under `shard_map` a plain constant is known to be equal
  # on all devices, and can't take the place of a mask that differs.
  ones = {m: jnp.ones_like(y, bool, shape=y.shape[:1]) for m, y in x.items()}
  return {m: present.get(m, one_B) for m, one_B in ones.items()}


def together(
  present: Arrays, modalities: Iterable[str], valid_B: jax.Array | None = None
) -> jax.Array:
  """Samples (B,) bool that have all of `modalities`.

  Args:
    present: see `LossInputs`.
    modalities: at least one name.
    valid_B: False for samples to leave out anyway; None for none.
  """
  masks = [present[m] for m in modalities]
  if valid_B is not None:
    masks.append(valid_B)
  return functools.reduce(operator.and_, masks)


def counted(mask_BxT: jax.Array | None, present_B: jax.Array) -> jax.Array:
  """Steps of one modality that count: (B, T), or (B, 1) without padding."""
  present_Bx1 = present_B[:, None]
  return present_Bx1 if mask_BxT is None else mask_BxT & present_Bx1


def context(inputs: LossInputs) -> jax.Array:
  """The last token of the CPC context: a scalar, or (B,) if steps are padded.

  In a shorter sample the context ends at the same share of its own length. So
  each sample takes part in every training step, if it has a token to predict.
  """
  start = inputs.draws.start
  lengths = [inputs.mask[m].sum(1) for m in inputs.fine if m in inputs.mask]
  # One index for all samples is a slice; one for each is a gather, whose
  # gradient is a scatter: slower, so only padded batches take it.
  if not lengths:
    return start
  T = inputs.mask[next(m for m in inputs.fine if m in inputs.mask)].shape[1]
  length_B = jnp.stack(lengths).min(0)
  # start is 1 .. T - 2; of a sample of length L it becomes 1 .. L - 2.
  return 1 + (start - 1) * jnp.maximum(length_B - 2, 0) // max(T - 2, 1)


def at(x_BxTxD: jax.Array, step: jax.Array) -> jax.Array:
  """The time step `step`, a scalar or (B,), of each sample: (B, ...)."""
  if not jnp.ndim(step):
    return x_BxTxD[:, step]
  step_Bx1 = step.reshape(-1, *[1] * (x_BxTxD.ndim - 1))
  return jnp.take_along_axis(x_BxTxD, step_Bx1, 1)[:, 0]


def fingerprint(x: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
  """Hashes features (B, T, ...) to (B,) int32: equal features, equal hashes.

  Two different features share a hash with probability 2**-32.

  Args:
    x: features.
    mask_BxT: False at padding, which counts as zeros.
  """
  if mask_BxT is not None:
    x = jnp.where(mask_BxT.reshape(*mask_BxT.shape, *[1] * (x.ndim - 2)), x, 0)
  bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)
  # Odd factors, which have an inverse modulo 2**32: no change of a single
  # number gets lost. The key is constant, so that hashes agree across devices.
  factors = jax.random.bits(jax.random.key(0), x.shape[1:], jnp.uint32) | 1
  factors = jax.lax.bitcast_convert_type(factors, jnp.int32)
  return (bits * factors).sum(tuple(range(1, x.ndim)), dtype=jnp.int32)


class Loss(NamedTuple):
  """The result of a loss function.

  Attributes:
    parts: name -> scalar of the global batch; their sum is the loss.
    metrics: full name -> further scalars for the log.
    scale: a factor of the loss at this step, beside its weight. It gets no
      gradient, and the parts are logged without it.
  """

  parts: Mapping[str, jax.Array]
  metrics: Mapping[str, jax.Array] = {}
  scale: jax.Array | float = 1.0
