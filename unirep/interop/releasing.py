"""Export of models as checkpoints of the official scripts."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from unirep.interop import official
from unirep.interop.model import Model
from unirep.interop.official import DECODER_PART, ENCODER_PART, POOLS, tables_of
from unirep.runtime.errors import InputError

KINDS = {"video": "grid", "audio": "sequence", "text": "sequence"}
# The orders of modalities that official checkpoints can have: the names of
# FCID's heads put video first, and every form of DCID has audio.
ORDERS = {
  "fcid": {
    x
    for x in itertools.permutations(KINDS)
    if x.index("video") < x.index("audio")
  },
  "dcid": {
    x for n in (2, 3) for x in itertools.permutations(KINDS, n) if "audio" in x
  },
}


def state_dicts(model: Model) -> dict[str, Any]:
  """The state dicts that the official scripts save.

  Official networks also load parameters that they never use. These are written
  too: copies of a layer, and an attention of zeros.

  Raises:
    InputError: for a model that no official network can represent.
  """
  settings = model.settings
  _check_theirs(settings)
  if not (model.codebook["code_KxD"] != 0).any(1).all():
    raise InputError(
      "it has codes that are asleep, which the official networks would choose; "
      "convert to safetensors"
    )
  method, order = settings["method"], tuple(settings["modalities"])
  tables = tables_of(method, order, settings["model"].get("layers", 1))
  if "decoder" not in model.params:
    del tables[DECODER_PART]
  age: Any = np.minimum.reduce([*model.codebook["age"].values()])
  tree = {"params": model.params, "codebook": {**model.codebook, "age": age}}
  parts: dict[str, Any] = {
    part: official.to_official(table, tree) for part, table in tables.items()
  }
  encoder = parts[ENCODER_PART]
  for name, x in [*encoder.items()]:
    module, layer, inner = name.partition(".encoder.layers.0.")
    if layer:
      encoder[f"{module}.encoder_layer.{inner}"] = x
  if "video" in order:
    pool, gate = POOLS[method], encoder[f"{POOLS[method]}.se_layer.0.weight"]
    F, dtype = gate.shape[1], gate.dtype
    shapes = {"ave_v_att.weight": (1, F // 2), "ave_v_att.bias": (1,)}
    for layer in ("affine_video_ave", "affine_video_self"):
      shapes[f"{layer}.weight"] = F // 2, F
      shapes[f"{layer}.bias"] = (F // 2,)
    for name, shape in shapes.items():
      encoder[f"{pool}.{name}"] = np.zeros(shape, dtype)
  about = settings.get("imported")
  epoch = about.get("epoch") if isinstance(about, dict) else 0
  epoch = epoch if type(epoch) is int else 0
  return {**parts, "epoch": epoch, "total_step": model.step}


def _check_theirs(settings: Mapping[str, Any]) -> None:
  """Raises InputError for settings that no official network has."""
  method, order = settings["method"], tuple(settings["modalities"])
  dcid, model = method == "dcid", settings["model"]
  kinds = {m: settings["encoders"][m]["kind"] for m in order}
  front = tuple(model.get("front", ()))
  pool, heads = model.get("pool", "sum"), model.get("heads", 4)
  reads = {"text"} & {*order} if dcid else set()
  fits = {
    f"modalities={order}": order in ORDERS[method],
    f"kinds {kinds}": kinds == {m: KINDS.get(m) for m in order},
    f"fine={settings['fine']}": {*settings["fine"]}
    == {*(order if dcid else ("video", "audio"))},
    "model.sphere=True": not model.get("sphere", True),
    "mask_padding=True": not settings["mask_padding"],
    f"model.pool={pool!r}": pool == "sum",
    f"model.heads={heads}": heads == 4,
    f"model.front={front}": {*front} == reads,
  }
  for setting, fit in fits.items():
    if not fit:
      raise InputError(
        f"{setting}: the official networks have no such thing, and would give "
        "other codes; train with preset=released, or convert to safetensors"
      )
