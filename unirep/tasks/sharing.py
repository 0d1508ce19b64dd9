"""Sharing of codes by index: agreement, use, and what indices carry.

All of it reads indices. Codes that lie close to each other, one for audio and
one for video, are different here, however well a probe on their vectors does.

Dimensions: N samples, T time, K codes, C classes. A code below 0 is padding,
a class below 0 unknown; neither counts anywhere.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from unirep.inference.codes import Codes, has
from unirep.tasks import bags


def agreement(a: Any, b: Any, where: Any = None) -> float:
  """The share of places where both hold the same code; nan if there is none.

  Args:
    a: codes, of any shape.
    b: codes of that shape.
    where: False for places to leave out.

  Raises:
    ValueError: if the shapes differ.
  """
  a, b = _both(a, b, where)
  return float((a == b).mean()) if a.size else float("nan")


def chance_agreement(a: Any, b: Any, size: int, where: Any = None) -> float:
  """The `agreement` of codes paired at random: the sum over k of p_k q_k.

  It is high where few codes are in use, and 1 for a collapsed codebook.
  """
  p_K, q_K = (_share(histogram(x, size)) for x in _both(a, b, where))
  return float((p_K * q_K).sum())


def _both(a, b, where=None):
  """The codes at places where both have one, as two vectors."""
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
  """How alike two modalities use the codes: the sum over k of min(p_k, q_k).

  1 if all codes are used equally often, 0 if none is used by both, in whichever
  samples. The shapes may differ; nan if there is no code.
  """
  p_K, q_K = (_share(histogram(x, size)) for x in (a, b))
  return float(np.minimum(p_K, q_K).sum())


def _share(count_K):
  total = count_K.sum()
  return count_K / total if total else np.full(count_K.shape, np.nan)


def perplexity(count_K: Any) -> float:
  """exp(entropy) of a histogram, the effective number of codes; 0 if empty."""
  count_K = np.asarray(count_K)
  p = count_K[count_K > 0] / max(count_K.sum(), 1)
  return float(np.exp(-(p * np.log(p)).sum())) if p.size else 0.0


def mutual_information(a_N: Any, b_N: Any) -> float:
  """Normalized mutual information of two labelings, in [0, 1].

  Mutual information over the mean of both entropies. A constant tells nothing,
  so that it scores 0; elsewhere two constants are often called a perfect match,
  which would praise a collapsed codebook. With many codes and few samples the
  value is high even for independent labelings: compare it with `shuffled` ones.
  nan if there is no pair.
  """
  a_N, b_N = _both(a_N, b_N)
  if not a_N.size:
    return float("nan")
  if min(len(np.unique(a_N)), len(np.unique(b_N))) == 1:
    return 0.0
  from sklearn import metrics  # a second, which most starts need not wait for

  return float(metrics.normalized_mutual_info_score(a_N, b_N))


def purity(code_N: Any, class_N: Any) -> float:
  """The share of samples in the most frequent class of their code.

  It grows with the number of codes, to 1 where each has one sample: compare it
  with `shuffled` classes. nan if there is no pair.
  """
  code_N, class_N = _both(code_N, class_N)
  if not code_N.size:
    return float("nan")
  from sklearn.metrics import cluster

  count_KxC = cluster.contingency_matrix(code_N, class_N, sparse=True)
  return float(count_KxC.max(1).sum() / code_N.size)


def shuffled(x_N: Any) -> np.ndarray:
  """A fixed permutation: pairs with it show what a score owes to chance.

  What is below 0 stays in place, so that as many pairs count as before.
  """
  x_N = np.array(x_N)
  valid = x_N >= 0
  x_N[valid] = np.random.default_rng(0).permutation(x_N[valid])
  return x_N


def same_event(
  labels: Mapping[str, Any], background: int
) -> dict[str, np.ndarray]:
  """Where two modalities show the same event: "m-n" and "n-m" -> (N, T) bool.

  Args:
    labels: of these, "segments/<modality>" (N, T) are read.
    background: the class id that stands for no event.
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
  """Everything above and in `bags`, of held-out samples, ready for JSON.

  Pairs are "m-n" in the order of `test`, directions "m->n". What is not defined
  is left out, the rest are plain numbers.

  Args:
    train: samples that the probes of `transfer` are fit on. Of the labels,
      "class" (N,) is read if it is there.
    test: samples that all else is about.
    size: of the codebook, K.
    same: the steps at which a pair shows the same event; see `same_event`.

  Returns:
    clip: agreement, overlap, nmi of pairs, nmi_class, purity of modalities, all
      of clip codes; `*_chance` of these; recall of directions, by step codes,
      among samples that have both.
    step: agreement and overlap of pairs with equal T > 1; agreement_same, only
      at the steps in `same`.
    transfer: see `bags.transfer`; empty without classes.
    codes: size; used, perplexity of modalities; used_by_all, perplexity_all
      and shared_effective, the effective number of codes at samples where all
      modalities agree. All of clip codes.
  """
  known = [_class(x) for x in (train, test)]
  return _plain(
    {
      "clip": _clip(test, size) | _classes(test),
      "step": _step(test, size, same or {}),
      "transfer": bags.transfer(train.idx, known[0], test.idx, known[1], size),
      "codes": _codes(test, size),
    }
  )


def _clip(test, size):
  """Scores of pairs and directions."""
  pairs = _pairs(test.clip)
  chance = {p: (a, shuffled(b)) for p, (a, b) in pairs.items()}
  return _alike(pairs, size) | {
    "nmi": _each(mutual_information, pairs),
    "nmi_chance": _each(mutual_information, chance),
    "recall": {
      f"{m}->{n}": bags.recall(*_having(test.idx[m], test.idx[n]), size)
      for m, n in itertools.permutations(test.idx, 2)
    },
  }


def _having(a_NxT, b_NxT):
  """The samples that have both."""
  both_N = has(a_NxT) & has(b_NxT)
  return np.asarray(a_NxT)[both_N], np.asarray(b_NxT)[both_N]


def _classes(test):
  """Scores of each modality's clip codes against the classes."""
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
  """The classes, all unknown where the samples have none: (N,)."""
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
  given = {
    p: agreement(*x, same[p])
    for p, x in pairs.items()
    if p in same and same[p].shape == x[0].shape  # or of steps as they were
  }
  return _alike(pairs, size) | {"agreement_same": given}


def _alike(pairs, size):
  """How alike the codes of each pair are."""
  return {
    "agreement": _each(agreement, pairs),
    "agreement_chance": _each(chance_agreement, pairs, size),
    "overlap": _each(overlap, pairs, size),
  }


def _each(score, pairs, *options):
  return {p: score(a, b, *options) for p, (a, b) in pairs.items()}


def _codes(test, size):
  use = {m: histogram(x, size) for m, x in test.clip.items()}
  use_MxK, code_MxN = np.stack([*use.values()]), np.stack([*test.clip.values()])
  alike_N = (code_MxN == code_MxN[0]).all(0)
  shared_K = histogram(code_MxN[0][alike_N], size)
  return {
    "size": size,
    "used": {m: (x > 0).sum() for m, x in use.items()},
    "used_by_all": (use_MxK > 0).all(0).sum(),
    "shared_effective": perplexity(shared_K),
    "perplexity": {m: perplexity(x) for m, x in use.items()},
    "perplexity_all": perplexity(use_MxK.sum(0)),
  }


def _pairs(by_modality):
  return {
    f"{m}-{n}": (np.asarray(a), np.asarray(b))
    for (m, a), (n, b) in itertools.combinations(by_modality.items(), 2)
  }


def _plain(tree) -> Any:
  """Python's own numbers, without what is not a number."""
  if isinstance(tree, Mapping):
    plain = {str(k): _plain(x) for k, x in tree.items()}
    return {k: x for k, x in plain.items() if x is not None}
  value = np.asarray(tree).item()
  return None if value != value else value
