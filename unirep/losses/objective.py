"""The training objective: the registry of losses, and their weighted sum.

How the losses are scaled, and why. In the released code every weight is 1, so a
term counts as much as its raw numbers happen to be large: the fine video
reconstruction and the CLUB terms are tens to hundreds while CPC and InfoNCE,
which align the modalities, stay below ten, and the clipped gradient is spent on
the former. Here each term is first put on a scale of its own that has a
meaning, by the keywords of its function (the clean preset):

  reconstruction   variance left unexplained: 1 for the mean, 0 for perfect
  CPC, InfoNCE     nats: log(batch size) for ignorance, 0 for perfect
  CMCM             nats, likewise
  CLUB             nats per feature, never below 0
  matching         nats: log(codes) for ignorance, 0 if every modality alone
                   chooses the code of all

and only then weighted. Alignment weighs most because nothing else can create
it; the others shape what is aligned.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from unirep.losses import club, cmcm, cpc, infonce, matching, reconstruction
from unirep.losses.base import View

# Name -> (view, **keywords) -> Loss. A new loss is a file and a line here; its
# weight is `config.weights.NAME` and its keywords are `config.loss.NAME`.
LOSSES = {
  "fine_reconstruction": reconstruction.fine,
  "coarse_reconstruction": reconstruction.coarse,
  "cmcm": cmcm.pairs,
  "club": club.pairs,
  "infonce": infonce.clips,
  "commitment": reconstruction.commit,
  "step_infonce": infonce.steps,
  "matching": matching.levels,
  "cpc": cpc.time_aligned,
}


def objective(
  view: View, losses: Mapping[str, Callable], weights: Mapping[str, float]
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The weighted total and every term by name, all of the global batch.

  Args:
    view: what losses look at.
    losses: name -> (view) -> Loss, with keywords bound.
    weights: name -> what the sum of a loss's parts counts; a loss that counts
      nothing is not computed.
  """
  total, metrics = jnp.zeros(()), {}
  for name, loss_fn in losses.items():
    if not weights[name]:
      continue
    loss = loss_fn(view)
    count = weights[name] * loss.scale
    total += count * sum(loss.parts.values(), jnp.zeros(()))
    metrics |= {f"{name}/{part}": value for part, value in loss.parts.items()}
    metrics |= loss.metrics
  return total, {"loss": total} | metrics
