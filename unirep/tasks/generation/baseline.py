"""The plain baseline of generation: the decoders of pretraining.

They restore features from codes and from what codes leave out, which is set to
its mean; a ridge regression, fit on training samples, takes features to what
can be shown.

Dimensions: N samples, T time, F features of a step, X raw width of a step.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

RIDGE = 1e-3  # of the mean variance of a feature


class Decoder(NamedTuple):
  """Codes to raw steps.

  Attributes:
    features: codes (N, T) -> features (N, T, ...).
    weight_FxX: of the regression.
    feature_F: the mean of features.
    raw: the mean of raw steps, (H, W, C).
  """

  features: Callable[[np.ndarray], np.ndarray]
  weight_FxX: np.ndarray
  feature_F: np.ndarray
  raw: np.ndarray

  def __call__(self, idx_NxT: np.ndarray) -> np.ndarray:
    """Raw steps (N, T, H, W, C) of codes; their mean where a code is -1."""
    made = self.features(idx_NxT)
    flat = made.reshape(*idx_NxT.shape, -1) - self.feature_F
    flat = np.where(idx_NxT[..., None] >= 0, flat, 0)
    x = (flat @ self.weight_FxX).reshape(*idx_NxT.shape, *self.raw.shape)
    return x + self.raw


def fit(
  features: Callable[[np.ndarray], np.ndarray],
  like_NxTxF: np.ndarray,
  x_NxTxHxWxC: np.ndarray,
) -> Decoder:
  """Fits the regression.

  Args:
    features: codes (N, T) -> features (N, T, ...), as `like_NxTxF` has them.
    like_NxTxF: features of training samples, (N, T, ...).
    x_NxTxHxWxC: raw steps of the same.
  """
  steps = like_NxTxF.shape[0] * like_NxTxF.shape[1]
  flat = like_NxTxF.reshape(steps, -1).astype(np.float64)
  x = x_NxTxHxWxC.reshape(steps, -1).astype(np.float64)
  mean_F, mean_X = flat.mean(0), x.mean(0)
  flat -= mean_F
  gram = flat.T @ flat
  gram[np.diag_indices_from(gram)] += RIDGE * max(gram.trace(), 1) / len(gram)
  weight_FxX = np.linalg.solve(gram, flat.T @ (x - mean_X))
  return Decoder(
    features,
    weight_FxX.astype(np.float32),
    mean_F.astype(np.float32),
    mean_X.reshape(x_NxTxHxWxC.shape[2:]).astype(np.float32),
  )
