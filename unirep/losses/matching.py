"""Matching: each modality alone should choose the jointly assigned code.

The cross-entropy of that code under the code distribution of each modality. It
replaces the commitment loss: it pulls a vector towards its code and away from
all others, until every modality chooses the same code.

Dimensions: B clips or steps of this device, K codes.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from unirep.losses import cmcm
from unirep.losses.base import Arrays, Loss, LossInputs, filled
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
    weight_B: weights, 0 for padding.
    dim: width D, the squared length of vectors and codes.
    temperature: divides the cosines, as in InfoNCE.
    present: modality -> (B,) bool, False where it is missing.
    axis_name: the device axis over which the batch is spread.

  Returns:
    A scalar in nats; log K if the vectors say nothing about the code.
  """
  total = count = jnp.zeros(())
  present = filled(present, distance)
  for m, distance_BxK in distance.items():
    logit_BxK = cmcm.cosine_logits(distance_BxK, dim, temperature)
    log_p_BxK = jax.nn.log_softmax(logit_BxK)
    loss_B = -jnp.take_along_axis(log_p_BxK, idx[m][:, None], 1)[:, 0]
    own_B = weight_B * present[m]
    total += collectives.masked_mean(loss_B, own_B, axis_name)
    # A modality that no sample has does not enter the mean.
    count += collectives.psum(own_B.sum(), axis_name) > 0
  return total / jnp.maximum(count, 1)


def match(inputs: LossInputs, **keywords) -> Loss:
  """Matching of clips and of steps, scaled by `cmcm.trust`.

  While codes do not yet tell samples apart, matching would only pull all
  vectors to the few codes that are awake, and keep them there.
  """
  trust = cmcm.trust(inputs)
  parts = {
    name: matching(
      assignment.distance,
      assignment.idx,
      assignment.weight_B,
      dim=next(iter(assignment.x.values())).shape[-1],
      present=assignment.present,
      axis_name=inputs.axis_name,
      **keywords,
    )
    for name, assignment in inputs.assignments.items()
  }
  return Loss(parts, {"codebook/trust": trust}, trust)
