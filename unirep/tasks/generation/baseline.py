"""The baseline of generation: the decoders of pretraining.

A decoder restores features from codes and from specific features, which are
set to their mean. A ridge regression, fit on training samples, maps features to
raw steps.

Dimensions: N samples, T time, F features of a step, X raw width of a step.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

RIDGE = 1e-3  # of the mean variance of a feature


class Decoder(NamedTuple):
  """A map from codes to raw steps.

  Attributes:
    features: codes (N, T) -> features (N, T, ...).
    weight_FxX: weights of the regression.
    feature_F: mean of the training features.
    raw: mean of the training raw steps, (H, W, C).
  """

  features: Callable[[np.ndarray], np.ndarray]
  weight_FxX: np.ndarray
  feature_F: np.ndarray
  raw: np.ndarray

  def __call__(self, idx_NxT: np.ndarray) -> np.ndarray:
    """Raw steps (N, T, H, W, C) of codes; their mean where a code is -1."""
    features = self.features(idx_NxT).reshape(*idx_NxT.shape, -1)
    centered_NxTxF = features - self.feature_F
    centered_NxTxF = np.where(idx_NxT[..., None] >= 0, centered_NxTxF, 0)
    x_NxTxX = centered_NxTxF @ self.weight_FxX
    return x_NxTxX.reshape(*idx_NxT.shape, *self.raw.shape) + self.raw


def fit(
  features: Callable[[np.ndarray], np.ndarray],
  like_NxTxF: np.ndarray,
  x_NxTxHxWxC: np.ndarray,
) -> Decoder:
  """Fits the regression.

  Args:
    features: codes (N, T) -> features (N, T, ...), the decoder of pretraining.
    like_NxTxF: true features of training samples, (N, T, ...).
    x_NxTxHxWxC: raw steps of the same samples.
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
