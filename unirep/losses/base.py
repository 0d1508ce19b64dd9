"""The argument and the result of a loss.

Dimensions: B batch rows of this device, T time, D code width, K codes, R rows
of one level (B, or B * T).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unirep.losses import contrast as contrasts
from unirep.parallel import collectives

Arrays = Mapping[str, jax.Array]
Params = Mapping[str, Any]


class Outputs(NamedTuple):
  """What a network computes, as mappings from modality.

  A method leaves empty what it has not. In FCID the first five and
  `general_steps` hold the fine-aligned modalities, the others all of them.
  """

  tokens: Arrays  # (B, T, D) one a time step
  specific: Arrays  # (B, T, S) or (B, T, h, w, S)
  summary: Arrays  # (B, T, Y) specific features as CLUB sees them
  fine_reconstruction: Arrays  # of the shape of its target
  fine_target: Arrays  # what the decoders of specific features restore
  coarse: Arrays  # (B, D) what the coarse decoders restore
  general: Arrays  # (B, D) or (B, T, D) what is quantized
  general_steps: Arrays  # (B, T, D) the same of single steps, if they matter
  coarse_specific: Arrays  # (B, D) what general leaves out
  idx: Arrays  # (B,) or (B, T) chosen codes
  code: Arrays  # those codes, without a gradient
  coarse_reconstruction: Arrays  # (B, D)


class Draws(NamedTuple):
  """The random choices of one step that pair samples or pick time steps.

  They are equal on every device and index the global batch.

  Attributes:
    start: scalar, the last token of the CPC context.
    permutation: CLUB pair -> for each row, the row of its negative.
    codebook: PRNG key of its update.
  """

  start: jax.Array
  permutation: Arrays
  codebook: jax.Array


class View(NamedTuple):
  """All that a loss may look at.

  Attributes:
    order: names of all modalities.
    fine: those that share a time axis.
    outputs: of the network, on this device's rows.
    mask: modality -> (B, T), False at padding; absent where nothing is. What a
      sample lacks is no padding.
    places: level -> rows with distances and assigned codes, `codebook.Rows`.
    pairs: name -> what CLUB separates, `club.Pair`.
    networks: of the losses that own some: "cpc" (trained), "club" (fitted).
    draws: the step's random choices.
    groups: modality -> (B,) integers that equal features have in common, of
      modalities that are not fine-aligned; see `fingerprint`.
    distribution: (squared distances (R, K), D) -> probabilities of codes.
    contrast: how rows meet those of other devices, one of `losses.contrast`.
    rows: how CLUB's negatives come from other devices, see `club.estimate`.
    axis_name: the device axis over which the batch is spread.
    present: modality -> (B,), False for samples that lack it, whose rows mean
      nothing; absent where none does. See `together` and `counted`.
  """

  order: tuple[str, ...]
  fine: tuple[str, ...]
  outputs: Outputs
  mask: Arrays
  places: Mapping[str, Any]
  pairs: Mapping[str, Any]
  networks: Mapping[str, Params]
  draws: Draws
  groups: Arrays
  distribution: Callable
  contrast: Callable = contrasts.dense
  rows: Callable = collectives.gathered_rows
  axis_name: str | None = None
  present: Mapping[str, jax.Array] = {}


def together(
  present: Arrays, modalities: Iterable[str], valid_B: Any = None
) -> Any:
  """Samples that have all of `modalities`: (B,) bool, None if all samples do.

  Args:
    present: see `View`.
    modalities: names.
    valid_B: samples that count at all; None if all do.
  """
  for m in modalities:
    if m in present:
      valid_B = present[m] if valid_B is None else valid_B & present[m]
  return valid_B


def counted(
  mask_BxT: jax.Array | None, present_B: jax.Array | None
) -> jax.Array | None:
  """Steps of one modality that are there: (B, T) or (B, 1), None for all."""
  if present_B is None:
    return mask_BxT
  present_Bx1 = present_B[:, None]
  return present_Bx1 if mask_BxT is None else mask_BxT & present_Bx1


def context(view: View) -> jax.Array:
  """The last token of the CPC context: scalar, or (B,) where steps are padded.

  A shorter sample is cut at the same part of its length, so that it takes
  part in every step that has room for a future in it.
  """
  start = view.draws.start
  lengths = [view.mask[m].sum(1) for m in view.fine if m in view.mask]
  if not lengths:
    return start
  T = view.mask[next(m for m in view.fine if m in view.mask)].shape[1]
  length_B = jnp.stack(lengths).min(0)
  return 1 + (start - 1) * jnp.maximum(length_B - 2, 0) // max(T - 2, 1)


def at(x_BxTxD: jax.Array, step: jax.Array) -> jax.Array:
  """What there is at a time step, one for all or one a sample: (B, ...)."""
  if not jnp.ndim(step):
    return x_BxTxD[:, step]
  step_Bx1 = step.reshape(-1, *[1] * (x_BxTxD.ndim - 1))
  return jnp.take_along_axis(x_BxTxD, step_Bx1, 1)[:, 0]


def fingerprint(x: jax.Array, mask_BxT: jax.Array | None = None) -> jax.Array:
  """A number a sample, equal for equal features: (B, T, ...) -> (B,) int32.

  Others share one by chance, at odds of 2**-32 a pair.

  Args:
    x: features.
    mask_BxT: False at padding, which counts as zeros.
  """
  if mask_BxT is not None:
    x = jnp.where(mask_BxT.reshape(*mask_BxT.shape, *[1] * (x.ndim - 2)), x, 0)
  bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.int32)
  factors = jax.random.bits(jax.random.key(0), x.shape[1:], jnp.uint32) | 1
  factors = jax.lax.bitcast_convert_type(factors, jnp.int32)
  return (bits * factors).sum(tuple(range(1, x.ndim)), dtype=jnp.int32)


class Loss(NamedTuple):
  """What a loss function gives back.

  Attributes:
    parts: name -> scalar of the global batch; their sum is the loss.
    metrics: what else is worth logging, by its full name.
    scale: what the loss counts at this step, beside its weight; it gets no
      gradient, and the parts are logged without it.
  """

  parts: Mapping[str, jax.Array]
  metrics: Mapping[str, jax.Array] = {}
  scale: jax.Array | float = 1.0
