"""Canonical correlations of sound and lips: a linear baseline for GRID.

python -m benchmarks.correlation --path=grid/s1

Segments of the train split are reduced to principal components and these to
canonical ones; a clip is all of its segments, compared by cosine. Prints how
often the right clip of the test split comes first, and among ten, as a baseline
for `configs/retrieve.py:data=grid`. Dimensions: N clips, T
segments, F features, R rows (N * T), C components.
"""

import numpy as np
from absl import app, flags

from unirep.data.datasets.grid import Grid

PATH = flags.DEFINE_string("path", "", "The corpus; empty: $UNIREP_GRID.")
SPLIT = flags.DEFINE_string("split", "test", "Of the clips to be found.")
PRINCIPAL, CANONICAL, RIDGE = 200, 20, 1e-3


def features(split: str, modality: str) -> np.ndarray:
  """All clips of a split, (N, T, F)."""
  source = Grid(split, path=PATH.value)
  return np.stack(
    [
      x["features"][modality]
      for x in map(source.__getitem__, range(len(source)))
    ]
  )


def principal(train_RxF: np.ndarray):
  """A map from features to their components of largest variance."""
  mean_F = train_RxF.mean(0)
  _, vector_FxC = np.linalg.eigh(np.cov(train_RxF.T))
  largest_FxC = vector_FxC[:, -PRINCIPAL:]
  return lambda x: (x - mean_F) @ largest_FxC


def canonical(x_RxC: np.ndarray, y_RxC: np.ndarray):
  """Two maps to components of unit variance with the largest correlation."""
  whiten = []
  for z_RxC in (x_RxC, y_RxC):
    cov_CxC = z_RxC.T @ z_RxC / len(z_RxC)
    ridge = RIDGE * np.trace(cov_CxC) / len(cov_CxC)
    root_CxC = np.linalg.cholesky(cov_CxC + ridge * np.eye(len(cov_CxC)))
    whiten.append(np.linalg.inv(root_CxC).T)
  cross_CxC = whiten[0].T @ (x_RxC.T @ y_RxC / len(x_RxC)) @ whiten[1]
  u_CxC, _, v_CxC = np.linalg.svd(cross_CxC)
  return whiten[0] @ u_CxC[:, :CANONICAL], whiten[1] @ v_CxC[:CANONICAL].T


def main(_: list[str]) -> None:
  """Finds the clips of a split by a method learned on another."""
  train = {m: features("train", m) for m in ("audio", "video")}
  test = {m: features(SPLIT.value, m) for m in train}
  maps = {m: principal(x.reshape(-1, x.shape[-1])) for m, x in train.items()}
  rows = [maps[m](x).reshape(-1, PRINCIPAL) for m, x in train.items()]
  both = dict(zip(train, canonical(*rows), strict=True))
  clip = {}
  for m, x in test.items():
    z_NxF = (maps[m](x) @ both[m]).reshape(len(x), -1)
    clip[m] = z_NxF / np.linalg.norm(z_NxF, axis=1, keepdims=True)
  for m, n in (("audio", "video"), ("video", "audio")):
    similar_NxN = clip[m] @ clip[n].T
    rank_N = (similar_NxN > np.diag(similar_NxN)[:, None]).sum(1)
    first, ten = (100 * (rank_N < k).mean() for k in (1, 10))
    print(f"{m} -> {n}: R@1 {first:.1f} %, R@10 {ten:.1f} % of {len(rank_N)}")


if __name__ == "__main__":
  app.run(main)
