"""Problems that probes answer: their samples, their scores, their rows.

Dimensions: N samples, T time, D code width, K codes; M TOC masks, S sources,
R seeds, E evaluations.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unirep.inference.codes import Codes, has
from unirep.runtime.errors import InputError
from unirep.tasks import sharing
from unirep.tasks.probing import probe, protocol
from unirep.tasks.probing.probe import Split, Task
from unirep.tasks.rows import Row, Setting


class Problem(NamedTuple):
  """A prediction task, with its samples and the scores of trivial guesses.

  Attributes:
    task: head, loss and scores of the probes.
    label: (codes, modality) -> labels with a leading N, as `task` takes them.
    train: samples that probes are trained on.
    validation: samples that choose an evaluation, in the source modality.
    test: samples that are reported.
    chance: modality -> the primary score of the best constant guess. Modalities
      without labels, like a sentence in a task on segments, are not in it.
    baseline: modality -> the primary score of a better guess; the task says
      which.
    note: a remark that is printed with the results, or "".
  """

  task: Task
  label: Callable[[Codes, str], Any]
  train: Codes
  validation: Codes
  test: Codes
  chance: Mapping[str, float]
  baseline: Mapping[str, float] = {}
  note: str = ""


def rows(
  setting: Setting,
  *,
  problems: Callable[[Codes, Codes, Codes], Mapping[str, Problem]],
  trained: str,
  tested: str,
  released: Callable[[Problem, int], Problem],
) -> Iterator[Row]:
  """Rows of every problem, direction, score and TOC mask.

  Args:
    setting: see `Setting`.
    problems: (train, validation, test) -> problems, by the suffix of the task's
      title, "" for the main problem.
    trained: kind of data that probes are trained on, see `data.sources`.
    tested: kind of data that they are tested on.
    released: (problem, batch size) -> the problem as the released protocol
      scores it.

  Raises:
    InputError: see `measure`.
  """
  # The released scripts test on the training sequences, unless the test data
  # are of another kind.
  as_released = setting.protocol == "released"
  seen = as_released and trained == tested
  codes = (
    setting.codes(trained, "train"),
    setting.codes(trained, "validation"),
    setting.codes(tested, "seen" if seen else "test"),
  )
  for suffix, problem in problems(*codes).items():
    if seen:
      problem = problem._replace(note="tested on the training sequences")
    if as_released:
      problem = released(problem, setting.options["batch_size"])
    yield from _rows_of(setting, setting.title + suffix, problem)


def _rows_of(setting: Setting, title: str, problem: Problem) -> Iterator[Row]:
  scores = measure(
    problem,
    setting.code_KxD,
    setting.masks(problem.train),
    seed=setting.seed,
    seeds=setting.seeds,
    sources=_labeled(problem, setting.sources),
    targets=_labeled(problem, setting.targets),
    protocol_name=setting.protocol,
    options=setting.options,
  )
  primary = problem.task.primary
  for (source, target), by_metric in scores.items():
    for metric, value_MxR in by_metric.items():
      leads = metric == primary
      on_target = scores.get((target, target))
      for i, keep in enumerate(setting.keep_M):
        estimate = protocol.estimate(value_MxR[i])
        difference = protocol.paired(value_MxR[i], value_MxR[-1])
        ceiling = None
        if on_target is not None:
          ceiling = protocol.estimate(on_target[metric][i]).mean
        yield Row(
          task=title,
          source=source,
          target=target,
          representation="vector",
          metric=metric,
          leads=leads,
          keep=keep,
          value=estimate.mean,
          std=estimate.std,
          low=estimate.low,
          high=estimate.high,
          seeds=estimate.seeds,
          chance=problem.chance[target] if leads else None,
          baseline=problem.baseline.get(target) if leads else None,
          ceiling=ceiling,
          difference={
            **difference._asdict(),
            "verdict": protocol.verdict(difference),
          },
          note=problem.note,
        )


def _labeled(problem: Problem, modalities: Sequence[str]) -> Sequence[str]:
  """The modalities with labels; all, so that `measure` fails, if none has."""
  return [m for m in modalities if m in problem.chance] or modalities


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
  """Trains all probes in one program and scores them by a protocol.

  Args:
    problem: see `Problem`.
    code_KxD: the codebook.
    keep_MxD: TOC masks.
    seed: seed of the probes' PRNG keys.
    seeds: R, probes for each mask and source.
    sources: modalities to train on.
    targets: modalities to test on.
    protocol_name: one of `protocol.PROTOCOLS`.
    options: arguments of `probe.fit`: optimizer, steps, evaluations,
      batch_size.

  Returns:
    (source, target) -> score name -> (M, R).

  Raises:
    InputError: for a modality that the codes lack, or a split without samples.
  """
  check(problem, sources, targets)
  train, tests = _splits(problem, sources, targets)
  size = len(code_KxD)
  heldout = protocol_name == "heldout"
  if heldout:
    counts = [sharing.histogram(problem.train.idx[s], size) for s in sources]
    input_KxD = unit_variance(code_KxD, np.sum(counts, 0))
  else:  # the released scripts don't scale the codes
    input_KxD = jnp.asarray(code_KxD)
  history = jax.device_get(
    probe.sweep(
      jax.random.split(jax.random.key(seed), seeds),
      input_KxD,
      jnp.asarray(keep_MxD),
      train,
      tests,
      task=problem.task,
      **options,
    )
  )
  results = {}
  primary = problem.task.primary
  for t in targets:
    reported = f"test/{t}"
    if heldout:
      scores = protocol.heldout(history, "validation", reported, primary)
    else:
      scores = protocol.released(history, reported, primary)
    for i, s in enumerate(sources):
      results[s, t] = {name: x[:, i] for name, x in scores.items()}
  return results


def _splits(problem, sources, targets):
  """Training samples and, by name, those that probes are scored on."""
  parts = (problem.train, problem.validation, problem.test)
  used = {*sources, *targets}
  time = max(x.shape[1] for p in parts for m, x in p.idx.items() if m in used)

  def split(codes: Codes, m: str, size: int | None = None) -> Split:
    """The samples that have the modality, repeated up to `size` samples."""
    row_N = np.flatnonzero(has(codes.idx[m]))
    row_N = row_N if size is None else np.resize(row_N, size)
    idx_NxT = repeat_to(codes.idx[m][row_N], time)
    label = problem.label(codes, m)
    label = jax.tree.map(lambda x: _pad(x[row_N], time), label)
    return Split(jnp.asarray(idx_NxT), label)

  def stack(splits):
    return jax.tree.map(lambda *x: jnp.stack(x), *splits)

  def all_sources(codes):
    """The samples of all sources, stacked; repeated where a source has less."""
    size = len(next(iter(codes.idx.values())))
    return stack([split(codes, s, size) for s in sources])

  test = {f"test/{t}": split(problem.test, t) for t in targets}
  tests = {name: stack([x] * len(sources)) for name, x in test.items()}
  tests["validation"] = all_sources(problem.validation)
  return all_sources(problem.train), tests


def _pad(label, time):
  """Labels as they are if of samples; if of steps, zeros up to `time`."""
  label = jnp.asarray(label)
  if label.ndim > 1:
    missing = time - label.shape[1]
    label = jnp.pad(label, [(0, 0), (0, missing), *[(0, 0)] * (label.ndim - 2)])
  return label


def check(
  problem: Problem, sources: Sequence[str], targets: Sequence[str]
) -> None:
  """Checks that each split has samples of the modalities that it is used for.

  Raises:
    InputError: if one has not.
  """
  needed = {"train": sources, "validation": sources, "test": targets}
  for name, modalities in needed.items():
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
  """The first of the named labels that the samples have.

  Raises:
    InputError: if they have none.
  """
  for name in names:
    if name in codes.labels:
      return codes.labels[name]
  raise InputError(
    f"the samples have no label {' or '.join(map(repr, names))}, only "
    f"{', '.join(map(repr, codes.labels)) or 'none'}"
  )


def part(codes: Codes, rows: Any) -> Codes:
  """The samples at `rows`, which is a slice, a mask or indices."""
  return Codes(
    {m: x[rows] for m, x in codes.idx.items()},
    {m: x[rows] for m, x in codes.clip.items()},
    {n: x[rows] for n, x in codes.labels.items()},
  )


def unit_variance(code_KxD: Any, count_K: np.ndarray) -> jax.Array:
  """The codes, shifted and scaled to mean 0 and variance 1 over assignments.

  One scale serves all dimensions. The mean and variance are those of the codes
  weighted by how often each is assigned: a vector for each assignment may not
  fit in memory.

  Args:
    code_KxD: the codebook.
    count_K: how often each code is assigned.
  """
  code_KxD = jnp.asarray(code_KxD)
  (row_U,) = count_K.nonzero()
  code_UxD = np.asarray(code_KxD, np.float64)[row_U]
  share_U = count_K[row_U] / count_K.sum()
  mean_D = share_U @ code_UxD
  scale = np.sqrt((share_U @ (code_UxD - mean_D) ** 2).mean())
  return (code_KxD - mean_D.astype(code_KxD.dtype)) / max(float(scale), 1e-6)


def repeat_to(idx_NxT: np.ndarray, time: int) -> np.ndarray:
  """Codes (N, `time`): each sample's last valid code repeated to the end.

  Padding is below 0. The repetition does not change the clip probe, which takes
  the maximum over time.
  """
  last_N = np.maximum((idx_NxT >= 0).sum(1), 1) - 1
  step_NxT = np.minimum(np.arange(time), last_N[:, None])
  return np.take_along_axis(idx_NxT, step_NxT, 1)
