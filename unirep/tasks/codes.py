"""Frozen codes of a whole source, computed once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from unirep.data import pipeline
from unirep.data.contract import Source
from unirep.model import Model
from unirep.train.step import padding_mask


class Codes(NamedTuple):
  """Codes and labels of N samples.

  Attributes:
    idx: modality -> (N, T) int32, see `Model.encode`.
    labels: name -> (N, ...) integers, as the source gives them.
  """

  idx: Mapping[str, np.ndarray]
  labels: Mapping[str, np.ndarray]


def encode(
  model: Model,
  params: Mapping[str, Any],
  code_KxD: np.ndarray,
  sources: Sequence[Source],
  *,
  mask_padding: bool,
  batch_size: int = 250,
) -> list[Codes]:
  """Codes of every sample of each source, in order, without dropout."""

  @jax.jit
  def run(params, code_KxD, batch):
    mask = padding_mask(batch) if mask_padding else {}
    return model.encode(params, code_KxD, batch["features"], mask)

  results = []
  for source in sources:
    batches, labels = [], []
    for batch, valid in pipeline.in_order(source, batch_size):
      inputs = {part: batch[part] for part in ("features", "lengths")}
      idx = jax.device_get(run(params, code_KxD, inputs))
      batches.append({m: rows[:valid] for m, rows in idx.items()})
      labels.append({n: rows[:valid] for n, rows in batch["labels"].items()})
    results.append(Codes(_join(batches), _join(labels)))
  return results


def _join(parts):
  return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
