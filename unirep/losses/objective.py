"""The training objective: every loss is called, weighted and named here.

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
it; the others shape what is aligned. Matching counts only as far as codes
already tell samples apart (`trust`): before that, all rows would move to the
few codes there are, and stay.

Dimensions: B batch rows of this device, T time, D code width, K codes.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unirep import codebook, collectives
from unirep.losses import club as club_lib
from unirep.losses import cmcm as cmcm_lib
from unirep.losses import cpc as cpc_lib
from unirep.losses import infonce as infonce_lib
from unirep.losses import reconstruction as reconstruction_lib
from unirep.model import Arrays, Model, Outputs

Params = Mapping[str, Any]
Metrics = dict[str, jax.Array]


class Terms(NamedTuple):
  """The losses with their keywords bound; the defaults are the clean preset.

  `distribution` and `matching` must be told the model's width.
  """

  distribution: Callable
  matching: Callable
  fine_reconstruction: Callable = reconstruction_lib.reconstruction
  coarse_reconstruction: Callable = reconstruction_lib.reconstruction
  commitment: Callable = reconstruction_lib.commitment
  cmcm: Callable = cmcm_lib.cmcm
  club: Callable = club_lib.estimate
  cpc: Callable = cpc_lib.cpc
  infonce: Callable = infonce_lib.infonce


class Weights(NamedTuple):
  """What each sum of losses counts in the total; 0 leaves it out."""

  fine_reconstruction: float = 1.0
  coarse_reconstruction: float = 1.0
  commitment: float = 0.0
  matching: float = 1.0
  cmcm: float = 1.0
  club: float = 1.0
  cpc: float = 1.0
  infonce: float = 1.0
  step_infonce: float = 1.0


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


def draw(
  key: jax.Array,
  model: Model,
  *,
  batch: int,
  time: int,
  permute: Callable = club_lib.derangement,
) -> Draws:
  """Draws for a global batch of `batch` samples with `time` fine steps.

  Args:
    key: PRNG key, equal on every device.
    model: names and groups of the modalities.
    batch: global batch size.
    time: steps of the fine-aligned modalities.
    permute: (key, rows) -> the row of each row's negative. The released code
      takes any permutation, which may pair a sample with itself and so pulls
      its estimate towards zero.
  """
  keys = iter(jax.random.split(key, 2 + len(model.order) + len(model.groups)))
  start = jax.random.randint(next(keys), (), 1, max(time - 1, 2))
  rows = {f"fine/{m}": batch for m in model.fine}
  for group, members in model.groups.items():
    rows[f"coarse/{group}"] = batch * len(members)
  permutation = {pair: permute(next(keys), rows[pair]) for pair in rows}
  return Draws(start, permutation, next(keys))


def club_pairs(
  model: Model, outputs: Outputs, mask: Arrays
) -> dict[str, club_lib.Pair]:
  """What CLUB separates: general from specific, fine and coarse."""
  pairs = {}
  for m in model.fine:
    masks = (mask[m],) if m in mask else None
    pair = club_lib.Pair((outputs.tokens[m],), (outputs.summary[m],), masks)
    pairs[f"fine/{m}"] = pair
  for group, members in model.groups.items():
    pairs[f"coarse/{group}"] = club_lib.Pair(
      tuple(outputs.general[m] for m in members),
      tuple(outputs.coarse_specific[m] for m in members),
    )
  return pairs


def objective(
  model: Model,
  terms: Terms,
  weights: Weights,
  outputs: Outputs,
  features: Arrays,
  mask: Arrays,
  places: Mapping[str, codebook.Rows],
  cpc_params: Params | None,
  club_params: Params,
  draws: Draws,
  *,
  axis_name: str | None = None,
) -> tuple[jax.Array, Metrics]:
  """The weighted total and every term by name, all of the global batch.

  Args:
    model: names and groups of the modalities.
    terms: the losses.
    weights: what they count.
    outputs: of `model.forward` on this device's rows.
    features: what the fine decoders should restore.
    mask: modality -> (B, T), False at padding; absent where nothing is.
    places: see `levels.find`.
    cpc_params: predictors, or None where the fine-aligned modalities have no
      time axis to predict along: InfoNCE then aligns them.
    club_params: fitted networks; an empty mapping leaves CLUB out.
    draws: see `draw`.
    axis_name: the device axis over which the batch is spread.
  """
  axis = {"axis_name": axis_name}
  losses: dict[str, Metrics] = {
    "fine_reconstruction": {
      m: terms.fine_reconstruction(
        outputs.fine_reconstruction[m],
        features[m].astype(outputs.fine_reconstruction[m].dtype),
        mask_BxT=mask.get(m),
        **axis,
      )
      for m in model.fine
    },
    "coarse_reconstruction": {
      m: terms.coarse_reconstruction(
        outputs.coarse_reconstruction[m], outputs.coarse[m], **axis
      )
      for m in model.order
    },
    "cmcm": _cmcm(terms, places["clip"], axis),
    "club": {
      name: terms.club(club_params[name], pair, draws.permutation[name], **axis)
      for name, pair in club_pairs(model, outputs, mask).items()
      if name in club_params
    },
    "infonce": _infonce(model, terms, outputs, axis),
  }
  if weights.commitment:
    losses["commitment"] = terms.commitment(
      outputs.general, outputs.code, model.order, **axis
    )
  if weights.step_infonce:
    losses["step_infonce"] = _step_infonce(
      model, terms, outputs, mask, draws, axis
    )
  metrics: Metrics = {}
  if weights.matching:
    losses["matching"] = {
      name: terms.matching(x.distance, x.idx, x.weight_B, **axis)
      for name, x in places.items()
    }
    trust = _trust(losses["cmcm"], outputs, axis_name)
    metrics["codebook/trust"] = trust
    weights = weights._replace(matching=weights.matching * trust)
  if cpc_params:
    loss, accuracy = terms.cpc(
      cpc_params, outputs.tokens, draws.start, model.fine, mask=mask, **axis
    )
    losses["cpc"] = {"+".join(model.fine): loss}
    metrics |= {f"cpc_accuracy/{pair}": a for pair, a in accuracy.items()}
  elif len(model.fine) > 1:
    losses["infonce"] |= _fine_infonce(model, terms, outputs, axis)
  total = jnp.zeros(())
  for name, parts in losses.items():
    total += getattr(weights, name) * sum(parts.values(), jnp.zeros(()))
    metrics |= {f"{name}/{part}": loss for part, loss in parts.items()}
  return total, {"loss": total} | metrics


def _cmcm(terms, rows, axis):
  """Half the sum over pairs, as the method has it."""
  p_BxK = {m: terms.distribution(x) for m, x in rows.distance.items()}
  return {
    f"{m}-{n}": 0.5 * terms.cmcm(p_BxK[m], p_BxK[n], **axis)
    for m, n in itertools.combinations(p_BxK, 2)
  }


def _trust(cmcm, outputs, axis_name):
  """How far codes tell samples apart: 0 for not at all, 1 for each from all.

  The share of log G, the loss of ignorance, that CMCM has come down.
  """
  rows_B = next(iter(outputs.general.values()))
  rows = collectives.global_rows(rows_B.shape[0], axis_name)
  mean = 2 * sum(cmcm.values(), jnp.zeros(())) / len(cmcm)
  trust = 1 - jax.lax.stop_gradient(mean) / math.log(max(rows, 2))
  return jnp.clip(trust, 0, 1)


def _infonce(model, terms, outputs, axis):
  """Clip against clip, for the pairs that CPC does not align."""
  return {
    f"{m}-{n}": terms.infonce(outputs.general[m], outputs.general[n], **axis)
    for m, n in itertools.combinations(model.order, 2)
    if not {m, n} <= set(model.fine)
  }


def _step_infonce(model, terms, outputs, mask, draws, axis):
  """Step against step, at the one that CPC predicts.

  CPC aligns tokens, and clips are aligned as wholes. Without this, nothing asks
  what is quantized at a step to tell an event from the background around it,
  and the steps of a clip all take the clip's code.
  """
  if not outputs.general_steps:
    return {}
  steps = {m: outputs.general_steps[m] for m in model.fine}
  first = steps[model.fine[0]]
  at = jnp.minimum(draws.start + 1, first.shape[1] - 1)
  valid_B = jnp.ones_like(first[:, 0, 0], bool)
  for m in steps:
    if m in mask:
      valid_B &= mask[m][:, at]
  return {
    f"{m}-{n}": terms.infonce(
      steps[m][:, at], steps[n][:, at], valid_B=valid_B, **axis
    )
    for m, n in itertools.combinations(steps, 2)
  }


def _fine_infonce(model, terms, outputs, axis):
  """In the place of CPC where there is no time axis to predict along."""
  mean = {m: outputs.tokens[m].mean(1) for m in model.fine}
  return {
    f"fine/{m}-{n}": terms.infonce(mean[m], mean[n], **axis)
    for m, n in itertools.combinations(model.fine, 2)
  }
