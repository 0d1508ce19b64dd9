"""A downstream problem, asked of every TOC mask, direction and seed at once.

Dimensions: D code width, K codes; M masks, S sources, R seeds, E evaluations.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unirep.inference.codes import Codes, has
from unirep.runtime.errors import InputError
from unirep.tasks import sharing
from unirep.tasks.probing import probe, protocol
from unirep.tasks.probing.probe import Split, Task


class Problem(NamedTuple):
  """What is asked, of which samples.

  Attributes:
    task: head, loss and scores.
    label: (codes, modality) -> labels with a leading N, as `task` takes them.
    train: codes that probes are trained on.
    validation: codes that choose an evaluation, of the modality trained on.
    test: codes that are reported.
    chance: modality -> the primary score of the best guess that looks at
      nothing; of those that have an answer, as a sentence has none by segment.
    baseline: modality -> that of a guess which knows the sample but not its
      parts, if there is one worth beating.
    note: what a reader of the numbers must know, or "".
  """

  task: Task
  label: Callable[[Codes, str], Any]
  train: Codes
  validation: Codes
  test: Codes
  chance: Mapping[str, float]
  baseline: Mapping[str, float] = {}
  note: str = ""


def measure(
  problem: Problem,
  code_KxD: np.ndarray,
  keep_MxD: np.ndarray,
  *,
  seed: int,
  seeds: int,
  sources: Sequence[str],
  targets: Sequence[str],
  protocol_name: str,
  options: Mapping[str, Any],
) -> dict[tuple[str, str], dict[str, np.ndarray]]:
  """Trains all probes in one program and reads their history.

  Args:
    problem: see `Problem`.
    code_KxD: the codebook.
    keep_MxD: TOC masks.
    seed: of the probes.
    seeds: probes of each kind, R.
    sources: modalities to train on.
    targets: modalities to test on.
    protocol_name: one of `protocol.PROTOCOLS`.
    options: of `probe.fit`: optimizer, steps, evaluations, batch_size.

  Returns:
    (source, target) -> score -> (M, R).

  Raises:
    InputError: for a modality that the codes lack, or a split without samples.
  """
  check(problem, sources, targets)
  train, tests = _splits(problem, sources, targets)
  size = len(code_KxD)
  used = [sharing.histogram(problem.train.idx[s], size) for s in sources]
  heldout = protocol_name == "heldout"
  history = jax.device_get(
    probe.sweep(
      jax.random.split(jax.random.key(seed), seeds),
      # As released, probes see the codes as they are.
      unit_variance(code_KxD, np.sum(used, 0))
      if heldout
      else jnp.asarray(code_KxD),
      jnp.asarray(keep_MxD),
      train,
      tests,
      task=problem.task,
      **options,
    )
  )
  results = {}
  for t in targets:
    args = (f"test/{t}", problem.task.primary)
    if heldout:
      scores = protocol.heldout(history, "validation", *args)
    else:
      scores = protocol.released(history, *args)
    for i, s in enumerate(sources):
      results[s, t] = {name: x[:, i] for name, x in scores.items()}
  return results


def _splits(problem, sources, targets):
  """What probes are trained on, and what they are scored on by name."""
  parts = (problem.train, problem.validation, problem.test)
  named = {*sources, *targets}
  time = max(x.shape[1] for p in parts for m, x in p.idx.items() if m in named)

  def split(codes: Codes, m: str, size: int | None = None) -> Split:
    """Samples that have the modality, over and over until there are `size`."""
    row_N = np.flatnonzero(has(codes.idx[m]))
    row_N = row_N if size is None else np.resize(row_N, size)
    idx_NxT = repeat_to(codes.idx[m][row_N], time)
    label = problem.label(codes, m)
    label = jax.tree.map(lambda x: _pad(x[row_N], time), label)
    return Split(jnp.asarray(idx_NxT), label)

  def stack(splits):
    return jax.tree.map(lambda *x: jnp.stack(x), *splits)

  def all_sources(codes):
    """What probes of all sources see, which may not have equally many."""
    size = len(next(iter(codes.idx.values())))
    return stack([split(codes, s, size) for s in sources])

  test = {f"test/{t}": split(problem.test, t) for t in targets}
  tests = {name: stack([x] * len(sources)) for name, x in test.items()}
  tests["validation"] = all_sources(problem.validation)
  return all_sources(problem.train), tests


def _pad(label, time):
  """Labels of a sample, or of its steps with zeros up to `time`."""
  label = jnp.asarray(label)
  if label.ndim > 1:
    missing = time - label.shape[1]
    label = jnp.pad(label, [(0, 0), (0, missing), *[(0, 0)] * (label.ndim - 2)])
  return label


def check(
  problem: Problem, sources: Sequence[str], targets: Sequence[str]
) -> None:
  """Raises InputError where `measure` would have nothing to work on."""
  asked = {"train": sources, "validation": sources, "test": targets}
  for name, modalities in asked.items():
    codes: Codes = getattr(problem, name)
    for m in modalities:
      if m not in codes.idx:
        raise InputError(
          f"the {name} split has no codes of modality {m!r}; there are "
          f"{', '.join(codes.idx)}"
        )
    if not len(next(iter(codes.idx.values()))):
      raise InputError(f"the {name} split holds no samples")
    for m in modalities:
      if not has(codes.idx[m]).any():
        raise InputError(f"no sample of the {name} split has {m!r}")


def label(codes: Codes, *names: str) -> np.ndarray:
  """The first of these labels that the samples have.

  Raises:
    InputError: if they have none of them.
  """
  for name in names:
    if name in codes.labels:
      return codes.labels[name]
  raise InputError(
    f"the samples have no label {' or '.join(map(repr, names))}, only "
    f"{', '.join(map(repr, codes.labels)) or 'none'}"
  )


def part(codes: Codes, rows: Any) -> Codes:
  """The samples at `rows`: a slice, a mask or indices."""
  return Codes(
    {m: x[rows] for m, x in codes.idx.items()},
    {m: x[rows] for m, x in codes.clip.items()},
    {n: x[rows] for n, x in codes.labels.items()},
  )


def unit_variance(code_KxD: Any, count_K: np.ndarray) -> jax.Array:
  """The codes on one scale, by the mean and spread of those in use.

  Takes how often each code is used, because a vector for each use may not fit
  in memory.
  """
  code_KxD = jnp.asarray(code_KxD)
  (row_U,) = count_K.nonzero()
  code_UxD = np.asarray(code_KxD, np.float64)[row_U]
  share_U = count_K[row_U] / count_K.sum()
  mean_D = share_U @ code_UxD
  scale = np.sqrt((share_U @ (code_UxD - mean_D) ** 2).mean())
  return (code_KxD - mean_D.astype(code_KxD.dtype)) / max(float(scale), 1e-6)


def repeat_to(idx_NxT: np.ndarray, time: int) -> np.ndarray:
  """Repeats the last code that is no padding (below 0) up to `time` steps.

  A maximum ignores repetitions.
  """
  last_N = np.maximum((idx_NxT >= 0).sum(1), 1) - 1
  step_NxT = np.minimum(np.arange(time), last_N[:, None])
  return np.take_along_axis(idx_NxT, step_NxT, 1)
