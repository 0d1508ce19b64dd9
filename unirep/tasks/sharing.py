"""Sharing of codes by index: agreement, overlap, perplexity, purity.

Every score reads indices alone. Two codes that lie close to each other, one
used by audio and one by video, are different codes here, however well a probe
on their vectors does.

Dimensions: N samples, T time, M modalities, K codes, C classes. Codes below 0
are padding, and classes below 0 are unknown; both are left out everywhere.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from unirep.inference.codes import Codes, has
from unirep.tasks import bags


def agreement(a: Any, b: Any, where: Any = None) -> float:
  """The share of positions with the same code in both; NaN without positions.

  Args:
    a: codes of one modality, of any shape.
    b: codes of another, of the same shape.
    where: bool of the same shape, False for positions to leave out.

  Raises:
    ValueError: if the shapes differ.
  """
  a, b = _both(a, b, where)
  return float((a == b).mean()) if a.size else float("nan")


def chance_agreement(a: Any, b: Any, size: int, where: Any = None) -> float:
  """The expected `agreement` of random pairs: the sum over k of p_k q_k.

  p and q are the shares of the codes in `a` and in `b`. Chance is high if few
  codes are in use, and 1 for a collapsed codebook.

  Args:
    a: as in `agreement`.
    b: as in `agreement`.
    size: K.
    where: as in `agreement`.

  Raises:
    ValueError: if the shapes differ.
  """
  p_K, q_K = (_share(histogram(x, size)) for x in _both(a, b, where))
  return float((p_K * q_K).sum())


def _both(a, b, where=None):
  """The codes at positions that are valid in both, as two vectors."""
  a, b = np.asarray(a), np.asarray(b)
  if a.shape != b.shape:
    raise ValueError(f"codes of shapes {a.shape} and {b.shape} do not pair up")
  valid = (a >= 0) & (b >= 0)
  if where is not None:
    if np.shape(where) != a.shape:
      raise ValueError(f"codes {a.shape} do not fit places {np.shape(where)}")
    valid &= np.asarray(where, bool)
  return a[valid], b[valid]


def histogram(codes: Any, size: int) -> np.ndarray:
  """How often each code occurs: (K,)."""
  codes = np.asarray(codes)
  return np.bincount(codes[codes >= 0], minlength=size)


def class_histogram(
  idx_NxT: Any, label_N: Any, size: int, classes: int
) -> np.ndarray:
  """How often each code occurs in samples of each class: (K, C)."""
  idx_NxT = np.asarray(idx_NxT)
  label_NxT = np.broadcast_to(np.asarray(label_N)[:, None], idx_NxT.shape)
  code, label = _both(idx_NxT, label_NxT)
  count = np.bincount(code * classes + label, minlength=size * classes)
  return count.reshape(size, classes)


def overlap(a: Any, b: Any, size: int) -> float:
  """The overlap of two modalities' histograms: the sum over k of min(p_k, q_k).

  p and q are the shares of the codes in `a` and in `b`. The overlap is 1 if
  they are equal, and 0 if no code is used by both. It ignores which samples the
  codes are assigned to.

  Args:
    a: codes of one modality, of any shape.
    b: codes of another, of any shape.
    size: K.

  Returns:
    The overlap; NaN if either has no codes.
  """
  p_K, q_K = (_share(histogram(x, size)) for x in (a, b))
  return float(np.minimum(p_K, q_K).sum())


def _share(count_K):
  total = count_K.sum()
  return count_K / total if total else np.full(count_K.shape, np.nan)


def perplexity(count_K: Any) -> float:
  """exp(entropy) of a histogram (K,): the effective number of codes.

  0 for an empty histogram.
  """
  count_K = np.asarray(count_K)
  p = count_K[count_K > 0] / max(count_K.sum(), 1)
  return float(np.exp(-(p * np.log(p)).sum())) if p.size else 0.0


def mutual_information(a_N: Any, b_N: Any) -> float:
  """Normalized mutual information (NMI) of two labelings, in [0, 1].

  It is the mutual information over the mean of the two entropies. A constant
  labeling scores 0. (Two constants are often defined to score 1, which would
  reward a collapsed codebook.) With many codes and few samples NMI is high even
  for independent labelings: compare it with `shuffled` ones. NaN without pairs.
  """
  a_N, b_N = _both(a_N, b_N)
  if not a_N.size:
    return float("nan")
  if min(len(np.unique(a_N)), len(np.unique(b_N))) == 1:
    return 0.0
  from sklearn import metrics  # here, since the import takes a second

  return float(metrics.normalized_mutual_info_score(a_N, b_N))


def purity(code_N: Any, class_N: Any) -> float:
  """The share of samples that have the most frequent class of their code.

  It grows with the number of codes, up to 1 if each code has one sample:
  compare it with `shuffled` classes. NaN without pairs.
  """
  code_N, class_N = _both(code_N, class_N)
  if not code_N.size:
    return float("nan")
  from sklearn.metrics import cluster

  count_KxC = cluster.contingency_matrix(code_N, class_N, sparse=True)
  return float(count_KxC.max(1).sum() / code_N.size)


def shuffled(x_N: Any) -> np.ndarray:
  """A fixed permutation (N,): a score of pairs with it is that of chance.

  Entries below 0 stay in place, so that the number of valid pairs is the same.
  """
  x_N = np.array(x_N)
  valid = x_N >= 0
  x_N[valid] = np.random.default_rng(0).permutation(x_N[valid])
  return x_N


def same_event(
  labels: Mapping[str, Any], background: int
) -> dict[str, np.ndarray]:
  """The steps at which two modalities have the same event.

  Args:
    labels: labels of samples; those called "segments/<modality>" (N, T) are
      read.
    background: the class that is no event.

  Returns:
    "m-n" and "n-m" -> (N, T) bool, for modalities with equal T.
  """
  prefix = "segments/"
  segments = {
    name.removeprefix(prefix): np.asarray(x)
    for name, x in labels.items()
    if name.startswith(prefix)
  }
  return {
    f"{m}-{n}": (a == b) & (a >= 0) & (a != background)
    for (m, a), (n, b) in itertools.permutations(segments.items(), 2)
    if a.shape == b.shape
  }


def measure(
  train: Codes,
  test: Codes,
  size: int,
  *,
  same: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
  """All scores of this module and of `bags`, on held-out samples.

  Pairs of modalities are called "m-n", in the order of `test`, and directions
  "m->n". Scores that are not defined are left out.

  Args:
    train: samples that the probes of `bags.transfer` are fit on. The label
      "class" (N,) is read if there is one.
    test: samples that are scored.
    size: K.
    same: "m-n" -> the steps at which the pair has the same event; see
      `same_event`.

  Returns:
    A tree of numbers, ready for JSON:

    clip: scores of clip codes: agreement, overlap and nmi of pairs, nmi_class
      and purity of modalities, and the chance of each as `*_chance`. Also
      recall of directions, from the codes of steps, on samples that have both
      modalities.
    step: agreement and overlap of the steps of pairs with equal T > 1, and
      agreement_same at the steps in `same`.
    transfer: see `bags.transfer`; empty without classes.
    codes: numbers of clip codes: size; used and perplexity of each modality;
      used_by_all; perplexity_all of all modalities together; shared_effective,
      the perplexity at samples where all modalities agree.
  """
  train_class_N, test_class_N = _class(train), _class(test)
  transfer = bags.transfer(
    train.idx, train_class_N, test.idx, test_class_N, size
  )
  return _plain(
    {
      "clip": _clip(test, size) | _classes(test),
      "step": _step(test, size, same or {}),
      "transfer": transfer,
      "codes": _codes(test, size),
    }
  )


def _clip(test, size):
  """Scores of pairs and directions of modalities."""
  pairs = _pairs(test.clip)
  chance = {p: (a, shuffled(b)) for p, (a, b) in pairs.items()}
  return _of_pairs(pairs, size) | {
    "nmi": _each(mutual_information, pairs),
    "nmi_chance": _each(mutual_information, chance),
    "recall": {
      f"{m}->{n}": bags.recall(*_with_both(test.idx[m], test.idx[n]), size)
      for m, n in itertools.permutations(test.idx, 2)
    },
  }


def _with_both(a_NxT, b_NxT):
  """The samples that have both modalities."""
  both_N = has(a_NxT) & has(b_NxT)
  return np.asarray(a_NxT)[both_N], np.asarray(b_NxT)[both_N]


def _classes(test):
  """Scores of each modality: its clip codes against the classes."""
  label_N = _class(test)
  pairs = {m: (x, label_N) for m, x in test.clip.items()}
  chance = {m: (x, shuffled(label_N)) for m, x in test.clip.items()}
  return {
    "nmi_class": _each(mutual_information, pairs),
    "nmi_class_chance": _each(mutual_information, chance),
    "purity": _each(purity, pairs),
    "purity_chance": _each(purity, chance),
  }


def _class(samples):
  """Classes (N,), all -1 if the samples have no such label."""
  label_N = np.asarray(samples.labels.get("class", ()))
  if label_N.ndim == 1 and label_N.size:
    return label_N
  return np.full(len(next(iter(samples.idx.values()))), -1)


def _step(test, size, same):
  pairs = {
    p: (a, b)
    for p, (a, b) in _pairs(test.idx).items()
    if a.shape == b.shape and a.shape[1] > 1
  }
  at_same_event = {
    p: agreement(*x, same[p])
    for p, x in pairs.items()
    # A model may have other steps than the labels.
    if p in same and same[p].shape == x[0].shape
  }
  return _of_pairs(pairs, size) | {"agreement_same": at_same_event}


def _of_pairs(pairs, size):
  """Agreement and overlap of each pair."""
  return {
    "agreement": _each(agreement, pairs),
    "agreement_chance": _each(chance_agreement, pairs, size),
    "overlap": _each(overlap, pairs, size),
  }


def _each(score, pairs, *options):
  return {p: score(a, b, *options) for p, (a, b) in pairs.items()}


def _codes(test, size):
  counts = {m: histogram(x, size) for m, x in test.clip.items()}
  count_MxK = np.stack([*counts.values()])
  code_MxN = np.stack([*test.clip.values()])
  agree_N = (code_MxN == code_MxN[0]).all(0)
  shared_K = histogram(code_MxN[0][agree_N], size)
  return {
    "size": size,
    "used": {m: (x > 0).sum() for m, x in counts.items()},
    "used_by_all": (count_MxK > 0).all(0).sum(),
    "shared_effective": perplexity(shared_K),
    "perplexity": {m: perplexity(x) for m, x in counts.items()},
    "perplexity_all": perplexity(count_MxK.sum(0)),
  }


def _pairs(by_modality):
  return {
    f"{m}-{n}": (np.asarray(a), np.asarray(b))
    for (m, a), (n, b) in itertools.combinations(by_modality.items(), 2)
  }


def _plain(tree) -> Any:
  """The tree with Python's numbers, without NaN."""
  if isinstance(tree, Mapping):
    plain = {str(k): _plain(x) for k, x in tree.items()}
    return {k: x for k, x in plain.items() if x is not None}
  value = np.asarray(tree).item()
  return None if value != value else value
