"""Matching: every modality by itself chooses the code of all.

The cross-entropy of the code that was assigned to a place jointly under the
code distribution of each modality alone. It takes the part of the commitment
loss: a row is not only pulled towards its code but away from the others, until
the choice is the same whichever modality makes it.

Dimensions: B batch rows of this device, K codes.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from unirep.losses import cmcm
from unirep.losses.base import Arrays, Loss, View
from unirep.parallel import collectives


def matching(
  distance: Mapping[str, jax.Array],
  idx: Mapping[str, jax.Array],
  weight_B: jax.Array,
  *,
  dim: int,
  temperature: float = 0.1,
  present: Arrays | None = None,
  axis_name: str | None = None,
) -> jax.Array:
  """-log p_m(k) for the assigned code k, averaged over modalities m.

  Args:
    distance: modality -> squared distances (B, K) on the sphere.
    idx: modality -> (B,) assigned codes.
    weight_B: what a row counts, 0 for padding.
    dim: width D, the squared length of rows and codes.
    temperature: of the softmax over cosines, as that of InfoNCE.
    present: modality -> (B,) bool, see `View`; rows of a level.
    axis_name: the device axis over which the batch is spread.

  Returns:
    A scalar in nats, log K when nothing is known.
  """
  total, count, present = jnp.zeros(()), 0, present or {}
  for m, distance_BxK in distance.items():
    logit_BxK = cmcm.cosine_logits(distance_BxK, dim, temperature)
    log_p_BxK = jax.nn.log_softmax(logit_BxK)
    loss_B = -jnp.take_along_axis(log_p_BxK, idx[m][:, None], 1)[:, 0]
    own_B = weight_B * present[m] if m in present else weight_B
    total += collectives.masked_mean(loss_B, own_B, axis_name)
    if m in present:  # a modality that no sample has is not averaged over
      count += collectives.psum(own_B.sum(), axis_name) > 0
    else:
      count += 1
  return total / (jnp.maximum(count, 1) if present else count)


def levels(view: View, **keywords) -> Loss:
  """Matching at every level, as far as codes already tell samples apart.

  Before that (`cmcm.trust`) all rows would move to the few codes there are, and
  stay.
  """
  trust = cmcm.trust(view)
  parts = {
    name: matching(
      rows.distance,
      rows.idx,
      rows.weight_B,
      dim=next(iter(rows.x.values())).shape[-1],
      present=rows.present,
      axis_name=view.axis_name,
      **keywords,
    )
    for name, rows in view.places.items()
  }
  return Loss(parts, {"codebook/trust": trust}, trust)
