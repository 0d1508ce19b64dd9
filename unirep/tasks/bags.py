"""Bags of codes: index-only probes and index-only retrieval.

A bag counts how often each code occurs in a sample. Nothing here sees the
vectors of the codebook: two codes are equal or have nothing in common. A score
across modalities is therefore owed to shared indices, not to codes that lie
close to each other.

Dimensions: N samples, T time, K codes, B samples at a time. A code below 0 is
padding; a sample that has only padding lacks the modality.
"""

import itertools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from unirep.inference.codes import has

CHUNK = 256  # queries at a time: 8 MB of similarities to 4000 samples


def counts(idx_NxT: Any, size: int) -> sparse.csr_array:
  """How often each code occurs in each sample: sparse (N, K), integers.

  Args:
    idx_NxT: codes.
    size: K.
  """
  idx_NxT = np.asarray(idx_NxT)
  row, column = np.nonzero(idx_NxT >= 0)
  code = idx_NxT[row, column]
  ones = np.ones(code.size, np.int64)
  shape = (idx_NxT.shape[0], size)
  return sparse.csr_array((ones, (row, code)), shape)  # duplicates add up


def bags(idx_NxT: Any, size: int) -> sparse.csr_array:
  """The share of each sample's steps with each code: sparse (N, K), float32.

  A sample without steps has a row of zeros.

  Args:
    idx_NxT: codes.
    size: K.
  """
  share_NxK: Any = counts(idx_NxT, size).astype(np.float32)
  kinds_N = np.diff(share_NxK.indptr)  # entries a row
  share_NxK.data /= np.repeat(share_NxK.sum(1), kinds_N)
  return share_NxK


def transfer(
  train: Mapping[str, Any],
  train_label_N: Any,
  test: Mapping[str, Any],
  test_label_N: Any,
  size: int,
  *,
  penalty: float = 0.1,
  tolerance: float = 1e-4,
) -> dict[str, dict[str, float]]:
  """Index-only probes: fit on bags of one modality, tested on another.

  The probe is multinomial logistic regression, fit once for each modality,
  without randomness. Its inputs are square roots of shares. Every row then has
  length 1 for any number of steps, so that the penalty has the same weight in
  all modalities, and repetitions within a sample count for less.

  Args:
    train: modality -> (N, T) codes.
    train_label_N: classes; those below 0 are unknown and left out.
    test: modality -> (N, T) codes of other samples.
    test_label_N: their classes. Classes that `train` lacks are never predicted.
    size: K.
    penalty: weight of the probe's squared norm relative to the sum of losses. A
      tenth of the default overfits noisy codes and is no better on clean ones.
    tolerance: the solver stops when no entry of the gradient is larger. With
      many codes and classes entries start near 1e-3, so that a larger tolerance
      would stop too soon.

  Returns:
    "source->target" -> `accuracy` on the target, `ceiling` (fit and tested on
    the target itself) and `chance` (the most frequent class), as
    `classification.transfer` returns them. Modalities without a sample of a
    known class are left out.
  """
  names = [m for m in train if m in test]
  fit_on = {m: _inputs(train[m], train_label_N, size) for m in names}
  test_on = {m: _inputs(test[m], test_label_N, size) for m in names}
  names = [m for m in names if len(fit_on[m][1]) and len(test_on[m][1])]
  score, chance = {}, {}
  for m in names:
    predict = _fit(*fit_on[m], C=1 / penalty, tol=tolerance)
    for n in names:
      bag_NxK, class_N = test_on[n]
      score[m, n] = float((predict(bag_NxK) == class_N).mean())
      count_C = np.unique(class_N, return_counts=True)[1]
      chance[n] = float(count_C.max() / len(class_N))
  return {
    f"{m}->{n}": {
      "accuracy": score[m, n],
      "ceiling": score[n, n],
      "chance": chance[n],
    }
    for m, n in itertools.permutations(names, 2)
  }


def _inputs(idx_NxT, label_N, size):
  """Bags as rows of length 1, and classes, of the samples that have both."""
  label_N = np.asarray(label_N)
  known_N = np.flatnonzero((label_N >= 0) & has(idx_NxT))
  share_NxK: Any = bags(idx_NxT, size)
  return share_NxK.sqrt()[known_N], label_N[known_N]


def _fit(input_NxK, label_N, **options):
  """The function of a fitted probe, from bags to classes."""
  if len(np.unique(label_N)) == 1:  # scikit-learn needs two classes
    return lambda x: np.full(x.shape[0], label_N[0])
  # Imported here, since the import takes a second.
  from sklearn import exceptions, linear_model

  with warnings.catch_warnings():
    warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
    model = linear_model.LogisticRegression(**options).fit(input_NxK, label_N)
  return model.predict


def recall(
  query_NxT: Any, gallery_NxT: Any, size: int, ks: Sequence[int] = (1, 5)
) -> dict[str, float]:
  """Index-only retrieval of the same sample in another modality.

  Bags are compared by their cosine, which does not need equal numbers of steps,
  and is a product of sparse matrices. For one query the items are in the order
  of dot^2 / |item|^2, a quotient of integers: equal scores are equal in
  floating point too.

  Bags tie often. Recall@k is the expectation over orders of tied items: with b
  items above the hit and t items that tie with it, itself included, it is
  (k - b) / t, clipped to [0, 1].

  Args:
    query_NxT: codes of the queries.
    gallery_NxT: codes of the same samples, in the same order, in the modality
      that is searched.
    size: K.
    ks: values of k.

  Returns:
    "r@k" and "chance@k" for each k, as shares; empty without samples.

  Raises:
    ValueError: if the numbers of samples differ.
  """
  N = len(query_NxT)
  if len(gallery_NxT) != N:
    raise ValueError(f"{N} queries, but {len(gallery_NxT)} samples")
  if not N:
    return {}
  query_NxK, gallery_NxK = counts(query_NxT, size), counts(gallery_NxT, size)
  square_N = np.maximum((gallery_NxK * gallery_NxK).sum(1), 1)
  gallery_KxN = gallery_NxK.T.tocsr()
  total = dict.fromkeys(ks, 0.0)
  for start in range(0, N, CHUNK):
    dot_BxN = (query_NxK[start : start + CHUNK] @ gallery_KxN).toarray()
    score_BxN = dot_BxN**2 / square_N
    row_B = np.arange(len(score_BxN))
    own_Bx1 = score_BxN[row_B, start + row_B][:, None]
    better_B = (score_BxN > own_Bx1).sum(1)
    tied_B = (score_BxN == own_Bx1).sum(1)
    for k in ks:
      total[k] += np.clip((k - better_B) / tied_B, 0, 1).sum()
  result = {f"r@{k}": float(total[k] / N) for k in ks}
  return result | {f"chance@{k}": min(k / N, 1.0) for k in ks}
