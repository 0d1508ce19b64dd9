"""Features of codes, by the decoders of pretraining.

Dimensions: B samples, T time.
"""

from typing import Any

import numpy as np

from unirep.errors import InputError


def decode(
  model: Any, codes: Any, modality: str, /, like: Any, *, rows: int = 256
) -> np.ndarray:
  """Features that the decoders of pretraining make of codes.

  What codes leave out is the mean of what they leave out of other samples; so
  this is no drawing of a sample, see `unirep.tasks.generation` for one.

  Args:
    model: a `Tokenizer`.
    codes: (B, T) of any modality.
    modality: whose features to make.
    like: features of it, as in `encode`: (N, T, ...) of as many steps.
    rows: so many of them are looked at.

  Returns:
    Features (B, T, ...), as the decoders restore them.

  Raises:
    InputError: for an unknown modality, codes that are none, or another
      number of steps.
  """
  x = model.check({modality: like})[modality]
  idx_BxT = np.asarray(codes)
  if idx_BxT.ndim != 2 or not np.issubdtype(idx_BxT.dtype, np.integer):
    raise InputError(f"codes must be integers (B, T), got {idx_BxT.shape}")
  if not idx_BxT.size or not (
    idx_BxT.min() >= 0 and idx_BxT.max() < len(model.codebook)
  ):
    raise InputError(f"codes must lie in 0..{len(model.codebook) - 1}")
  fine = modality in model._network.fine
  if isinstance(x, list) or idx_BxT.shape[1] != (x.shape[1] if fine else 1):
    raise InputError(
      f"like: {modality!r} needs {idx_BxT.shape[1]} steps in each sample"
    )
  left_out, decode = model._decoding
  rest = left_out(model._params, modality, x[:rows], None)
  made = [
    np.asarray(
      decode(
        model._params, modality, model.codebook, idx_BxT[i : i + rows], rest
      )
    )
    for i in range(0, len(idx_BxT), rows)
  ]
  return np.concatenate(made)
