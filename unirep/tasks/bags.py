"""Bags of codes: what the indices of codes alone carry across modalities.

A bag tells how often a sample holds each code. Nothing here sees the vectors
of the codebook: two codes are the same or they have nothing in common, so that
what crosses modalities does so by shared indices, not by codes that lie close.

Dimensions: N samples, T time, K codes, B samples at a time. A code below 0 is
padding; a sample that has no other lacks the modality, and is left out there.
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
  """How often each sample holds each code: sparse (N, K) of integers.

  Args:
    idx_NxT: codes.
    size: of the codebook, K.
  """
  idx_NxT = np.asarray(idx_NxT)
  row, column = np.nonzero(idx_NxT >= 0)
  code = idx_NxT[row, column]
  ones = np.ones(code.size, np.int64)
  shape = (idx_NxT.shape[0], size)
  return sparse.csr_array((ones, (row, code)), shape)  # duplicates add up


def bags(idx_NxT: Any, size: int) -> sparse.csr_array:
  """The share of a sample's steps that each code has: sparse (N, K) float32.

  A sample without steps has a row of zeros.

  Args:
    idx_NxT: codes.
    size: of the codebook, K.
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
  """Linear probes on bags alone: fit on one modality, tested on another.

  The probe is multinomial logistic regression, fit once a modality and without
  randomness. Its inputs are square roots of shares: every row then has length
  1, whether a sample has one step or ten, so that the penalty weighs alike in
  all modalities; and what repeats within a sample counts for less.

  Args:
    train: modality -> (N, T) codes.
    train_label_N: classes; those below 0 are unknown and left out.
    test: modality -> (N, T) codes of other samples.
    test_label_N: their classes. One that `train` lacks is never predicted.
    size: of the codebook, K.
    penalty: weight of the probe's squared norm against the sum of its losses.
      A tenth of it fits noisy codes by heart, and clean ones no better.
    tolerance: of the solver, the largest entry of the gradient. With many codes
      and classes entries start near 1e-3: more would stop too soon.

  Returns:
    "source->target" -> `accuracy` on the target, `ceiling` (fit and tested on
    the target itself) and `chance` (the most frequent class), as
    `classification.transfer` does; nothing where no sample has a class.
  """
  names = [m for m in train if m in test]
  known = {m: _known(train[m], train_label_N, size) for m in names}
  asked = {m: _known(test[m], test_label_N, size) for m in names}
  names = [m for m in names if len(known[m][1]) and len(asked[m][1])]
  score, chance = {}, {}
  for m in names:
    probe = _fit(*known[m], C=1 / penalty, tol=tolerance)
    for n in names:
      input_NxK, answer_N = asked[n]
      score[m, n] = float((probe(input_NxK) == answer_N).mean())
      count_C = np.unique(answer_N, return_counts=True)[1]
      chance[n] = float(count_C.max() / len(answer_N))
  return {
    f"{m}->{n}": {
      "accuracy": score[m, n],
      "ceiling": score[n, n],
      "chance": chance[n],
    }
    for m, n in itertools.permutations(names, 2)
  }


def _known(idx_NxT, label_N, size):
  """Bags as rows of length 1, of samples that have one and a class."""
  label_N = np.asarray(label_N)
  known_N = np.flatnonzero((label_N >= 0) & has(idx_NxT))
  share_NxK: Any = bags(idx_NxT, size)
  return share_NxK.sqrt()[known_N], label_N[known_N]


def _fit(input_NxK, label_N, **options):
  """A function from bags to classes."""
  if len(np.unique(label_N)) == 1:  # scikit-learn wants two
    return lambda x: np.full(x.shape[0], label_N[0])
  # A second, which most starts need not wait for.
  from sklearn import exceptions, linear_model

  with warnings.catch_warnings():
    warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
    return (
      linear_model.LogisticRegression(**options).fit(input_NxK, label_N).predict
    )


def recall(
  query_NxT: Any, gallery_NxT: Any, size: int, ks: Sequence[int] = (1, 5)
) -> dict[str, float]:
  """Retrieval of the same sample in another modality, by codes alone.

  Bags are compared by their cosine: it needs no common number of steps, is a
  product of sparse matrices, and ties exactly. For one query, the order is that
  of dot^2 / |gallery|^2, a quotient of integers, which floating point rounds
  alike whenever it is the same number.

  Ties are many where codes are discrete. They count by expectation over random
  orders: with b samples better than the right one and t as good, itself
  included, recall@k is (k - b) / t within 0 and 1.

  Args:
    query_NxT: codes; each sample looks for itself.
    gallery_NxT: codes of the same samples in the modality that is searched.
    size: of the codebook, K.
    ks: how many samples may be retrieved.

  Returns:
    "r@k" and "chance@k" for each k, as shares; nothing without samples.

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
