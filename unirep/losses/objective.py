"""The training objective: the registry of losses, and their weighted sum.

In the released code every weight is 1, so the size of a term's raw numbers
decides how much it counts. The fine video reconstruction and the CLUB terms are
tens to hundreds, and CPC and InfoNCE, which align the modalities, stay below
ten. Hence nearly all of the clipped gradient serves reconstruction and CLUB. In
the clean preset the keywords of each loss first give it a unit:

  reconstruction   share of variance left unexplained: 1 for a decoder that
                   predicts the mean, 0 for a perfect one
  CPC, InfoNCE     nats: log(batch size) by chance, 0 if every pair is found
  CMCM             nats, likewise
  CLUB             nats per feature, never below 0
  matching         nats: log(codes) by chance, 0 if every modality alone
                   chooses the jointly assigned code

The weights of the clean preset, mostly 1, apply to these units. By chance the
losses that align modalities are then the largest, as they should be: no other
loss creates alignment.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from unirep.losses import club, cmcm, cpc, infonce, matching, reconstruction
from unirep.losses.base import LossInputs

# Name -> (inputs, **keywords) -> Loss. To add a loss, write a file and add a
# line here; its weight is `config.weights.NAME` and its keywords are
# `config.loss.NAME`.
LOSSES = {
  "fine_reconstruction": reconstruction.fine,
  "coarse_reconstruction": reconstruction.coarse,
  "cmcm": cmcm.pairs,
  "club": club.pairs,
  "infonce": infonce.clips,
  "commitment": reconstruction.commit,
  "step_infonce": infonce.steps,
  "matching": matching.match,
  "cpc": cpc.time_aligned,
}


def objective(
  inputs: LossInputs,
  losses: Mapping[str, Callable],
  weights: Mapping[str, float],
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The weighted total and every term by name, all of the global batch.

  total = sum over losses of weight * scale * (sum of parts).

  Args:
    inputs: see `LossInputs`.
    losses: name -> (inputs) -> Loss, with keywords bound.
    weights: name -> weight; a loss of weight 0 is not computed.
  """
  total, metrics = jnp.zeros(()), {}
  for name, loss_fn in losses.items():
    if not weights[name]:
      continue
    loss = loss_fn(inputs)
    weight = weights[name] * loss.scale
    total += weight * sum(loss.parts.values(), jnp.zeros(()))
    metrics |= {f"{name}/{part}": value for part, value in loss.parts.items()}
    metrics |= loss.metrics
  return total, {"loss": total} | metrics
