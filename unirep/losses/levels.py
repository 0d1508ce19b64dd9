"""Levels: the places where all modalities should choose one code.

Dimensions: B batch rows of this device, T time, D code width, K codes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from unirep import codebook
from unirep.model import Arrays, Model, Outputs


def find(
  model: Model,
  outputs: Outputs,
  mask: Arrays,
  code_KxD: jax.Array,
  nearest: Callable = codebook.nearest_jointly,
) -> dict[str, codebook.Rows]:
  """Clips, of all modalities, and time steps, of the fine-aligned ones.

  A clip weighs one and its steps weigh one together.

  Args:
    model: names and order of the modalities.
    outputs: of `model.forward`.
    mask: modality -> (B, T), False at padding; absent where nothing is.
    code_KxD: the codes before their update.
    nearest: squared distances -> the codes that are assigned, of each modality.
  """
  clips = {m: outputs.general[m] for m in model.order}
  weight_B = jnp.ones_like(clips[model.order[0]][:, 0])
  found = {"clip": _rows(clips, weight_B, code_KxD, nearest)}
  if outputs.general_steps:
    steps = {m: outputs.general_steps[m] for m in model.fine}
    B, T, _ = next(iter(steps.values())).shape
    weight_BxT = jnp.repeat(weight_B[:, None] / T, T, 1)
    for m in steps:
      if m in mask:
        weight_BxT *= mask[m]
    flat = {m: x.reshape(B * T, -1) for m, x in steps.items()}
    found["step"] = _rows(flat, weight_BxT.reshape(-1), code_KxD, nearest)
  return found


def _rows(x, weight_B, code_KxD, nearest):
  distance = {m: codebook.distances(code_KxD, rows) for m, rows in x.items()}
  idx = nearest(jax.lax.stop_gradient(distance))
  return codebook.Rows(x, distance, idx, weight_B)
