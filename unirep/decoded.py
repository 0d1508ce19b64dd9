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
    codes: (B, T) of any modality, -1 for none.
    modality: whose features to make.
    like: features of it, (N, T, ...) of as many steps, all valid.
    rows: so many of them are looked at.

  Returns:
    Features (B, T, ...), as the decoders restore them; 0 where no code is.

  Raises:
    InputError: for an unknown modality, codes that are none, or another
      number of steps.
  """
  if "decoder" not in model._params:
    raise InputError("the model was imported from a file without decoders")
  if isinstance(like, list) and len({len(x) for x in like}) == 1:
    like = np.stack(like)
  x = model.check({modality: like})[modality]
  idx_BxT: Any = np.asarray(codes) if _even(codes) else np.zeros(())
  if idx_BxT.ndim != 2 or not np.issubdtype(idx_BxT.dtype, np.integer):
    raise InputError(
      "codes must be integers (B, T), got"
      f" {idx_BxT.dtype} of shape {idx_BxT.shape}"
    )
  known = len(model.codebook)
  if not idx_BxT.size or not (idx_BxT.min() >= -1 and idx_BxT.max() < known):
    raise InputError(f"codes must lie in 0..{known - 1}, or be -1 for none")
  fine = modality in model._network.fine
  steps = x.shape[1] if isinstance(x, np.ndarray) else None
  if idx_BxT.shape[1] != (steps if fine else 1):
    raise InputError(
      f"like: {modality!r} needs {idx_BxT.shape[1]} steps in each sample"
    )
  if rows < 1:
    raise InputError(f"rows={rows} must be at least 1")
  left_out, decode = model._decoding
  rest = left_out(model._params, modality, x[:rows], None)
  made = []
  for i in range(0, len(idx_BxT), rows):
    part = np.maximum(idx_BxT[i : i + rows], 0)
    made.append(
      np.asarray(decode(model._params, modality, model.codebook, part, rest))
    )
  none_BxT = idx_BxT < 0
  found = np.concatenate(made)
  return np.where(
    none_BxT.reshape(none_BxT.shape + (1,) * (found.ndim - 2)), 0, found
  )


def _even(codes) -> bool:
  """Whether rows are of one length."""
  return (
    np.ndim(codes) > 0
    if not isinstance(codes, list)
    else (len({np.shape(row) for row in codes}) == 1)
  )
