"""Generation: a modality is made from codes of others that it never saw."""

import functools
import pathlib
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from unirep.configuration import build
from unirep.configuration.build import Config
from unirep.data import raw, sources
from unirep.data.sample import Source
from unirep.inference.tokenizer import Tokenizer, load
from unirep.jobs import generators, masks
from unirep.jobs import results as job_results
from unirep.jobs import workdir as workdirs
from unirep.jobs.generators import Options, Split
from unirep.reports import generated, tables
from unirep.runtime.errors import InputError
from unirep.tasks.generation import flow, table


class Model(NamedTuple):
  """One checkpoint.

  Attributes:
    path: its work directory.
    tokenizer: the model.
    targets: modalities to make.
    keep_D: dimensions that TOC keeps; None for all.
  """

  path: str
  tokenizer: Tokenizer
  targets: tuple[str, ...]
  keep_D: np.ndarray | None


class Job(NamedTuple):
  """Generation by one or several checkpoints, bound.

  Attributes:
    settings: the configuration as JSON values.
    models: a checkpoint each.
    train: samples to learn from.
    test: samples that give the codes.
    split: the name of that split.
    at: neighbours that a hit may be among.
    drawn: samples in pictures and sounds.
    options: how to learn and to sample.
  """

  settings: Mapping[str, Any]
  models: tuple[Model, ...]
  train: Source
  test: Source
  split: str
  at: tuple[int, ...]
  drawn: int
  options: Options


def prepare(config: Config) -> Job:
  """Opens models and data, and refuses all that can be refused.

  Args:
    config: as `configs/generate.py` gives it.

  Raises:
    InputError: for anything that the user can mend.
  """
  paths = job_results.checkpoints(config.checkpoint, config.checkpoints)
  check(config)
  tokenizers = {path: load(path) for path in paths}
  train, test = (
    sources.source(config.data, "clips", split)
    for split in ("train", config.split)
  )
  toc = dict(config.toc)
  keep, where = toc.pop("keep"), f"data.source={config.data.source}"
  toc_options, models = masks.Options(**toc), []
  for path, tokenizer in tokenizers.items():
    for source in (train, test):
      named = _targets(
        tuple(config.targets), config.label, where, path, tokenizer, source
      )
    models.append(
      Model(path, tokenizer, named, _kept(tokenizer, keep, toc_options))
    )
  return Job(
    settings=build.as_json(config),
    models=tuple(models),
    train=train,
    test=test,
    split=config.split,
    at=tuple(config.at),
    drawn=config.drawn,
    options=Options(
      label=config.label,
      split=config.split,
      flow=flow.Options(**config.flow),
      judge=dict(config.judge),
      guidance=config.guidance,
      sampling_steps=config.sampling_steps,
      seed=config.seed,
    ),
  )


def check(config: Config) -> None:
  """Raises InputError for values that no part below would explain."""
  if config.split not in job_results.SPLITS[1:]:
    raise InputError(
      f"split={config.split!r} is not one of {job_results.SPLITS[1:]}"
    )
  if config.flow.reach % 2 != 1:
    raise InputError(f"flow.reach={config.flow.reach} must be odd")
  if config.guidance != 1 and not config.flow.drop:
    raise InputError(
      f"guidance={config.guidance} needs flow.drop: a flow that has seen"
      " samples without codes"
    )
  if not config.at:
    raise InputError("at=() must not be empty")


def run(job: Job, workdir: pathlib.Path, console: Console) -> dict[str, Any]:
  """Makes each modality from the codes of each, and judges the results.

  Writes `results.json`, `results.md`, `samples.png`, `samples.pdf` and, where
  something can be heard, `sounds/`. Of several checkpoints there is a row each,
  and last the mean with its interval over these, where `checkpoint` is None;
  pictures and sounds are of the first one.

  Args:
    job: from `prepare`.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for a work directory of something else, or a flow that
      diverges.
  """
  workdirs.claim(workdir, job.settings)
  began, rows, options = time.perf_counter(), [], job.options
  for model in job.models:
    parts = [
      generators.encoded(model.tokenizer, source, options.label)
      for source in (job.train, job.test)
    ]
    shown = []
    for i, target in enumerate(model.targets):
      key = jax.random.fold_in(jax.random.key(options.seed), i)
      say = functools.partial(
        _say, console, f"{model.path}: {target}", options.flow.steps
      )
      learned = generators.learn(
        options, model.tokenizer, model.keep_D, target, parts, key, say
      )
      made = generators.make(
        options, model.tokenizer, target, parts[1], learned, key
      )
      judged = _judged(job, target, parts[1], learned, made)
      rows += [{"checkpoint": model.path, **row._asdict()} for row in judged]
      shown.append((target, learned, made))
    if model is job.models[0]:
      _show(job, workdir, parts[1], shown)
  results = {
    "checkpoints": [model.path for model in job.models],
    "split": job.split,
    "seconds": round(time.perf_counter() - began, 1),
    "rows": rows + job_results.means(rows, len(job.models)),
    "config": job.settings,
  }
  more = ", samples.png and .pdf"
  job_results.write(results, tables.generation(results), workdir, console, more)
  return results


def _judged(job: Job, target, test: Split, learned, made):
  real = generators.things({"": learned.x}, test.label, learned.judge)[""]
  return table.rows(
    target,
    generators.things(made, test.label, learned.judge),
    real,
    learned.known,
    learned.judge,
    at=job.at,
    seed=job.options.seed,
  )


def _say(console, name, last, steps, loss):
  if steps == last or steps % 500 == 0:
    console.print(
      f"{name}: step {steps} of {last}, loss {loss:.3f}", soft_wrap=True
    )


def _kept(
  model: Tokenizer, keep: int, options: masks.Options
) -> np.ndarray | None:
  """The dimensions that TOC keeps; None for all."""
  if not keep:
    return None
  code_KxD = model.codebook
  masks.check(keep, code_KxD.shape[1], options)
  return masks.sweep(code_KxD, [keep], model.awake, options)[0]


def _targets(
  names: tuple[str, ...],
  label: str,
  where: str,
  path: str,
  model: Tokenizer,
  source: Source,
) -> tuple[str, ...]:
  """Modalities to make: those named, or all that can be shown.

  Raises:
    InputError: where the data do not fit the model or the label.
  """
  if not len(source):
    raise InputError(f"{where}: a split has no samples")
  fine = model.settings["fine"]
  known = getattr(source, "raw", dict)()
  names = names or tuple(m for m in fine if m in known)
  for m in names:
    raw.of(source, m, where)
    if m not in fine:
      raise InputError(
        f"{path} has no codes of the steps of {m!r}, only of {', '.join(fine)}"
      )
  if not names:
    raise InputError(f"{where}: nothing of {', '.join(fine)} can be shown")
  given = source[0]["features"]
  lacks = [m for m in model.modalities if m not in given]
  if lacks:
    raise InputError(f"{where} has no modality {lacks[0]!r}, but {path} has")
  model.check({m: given[m][None] for m in model.modalities})
  if label not in source[0]["labels"]:
    raise InputError(
      f"label={label}: the data has {', '.join(source[0]['labels'])}"
    )
  shape = source[0]["labels"][label].shape
  if shape not in ((), *((len(known[m].at(0)),) for m in names)):
    raise InputError(
      f"label={label} has shape {shape}: a class of a sample, or of each of its"
      " steps, is wanted"
    )
  return names


def _show(job: Job, workdir, test: Split, shown) -> None:
  """Draws some samples, and writes those that can be heard."""
  row_R = chosen(test.label, job.drawn)
  at = {
    m: _at(test.label, row_R, learned.judge.network.classes)
    for m, learned, _ in shown
  }
  generated.draw(workdir / "samples.png", test.source, shown, row_R, at)
  generated.sounds(workdir / "sounds", shown, row_R)


def chosen(label: np.ndarray, count: int) -> np.ndarray:
  """Samples of as many classes as there are, spread over them."""
  kind_N = label if label.ndim == 1 else label.min(1)
  order_N = np.argsort(kind_N, kind="stable")
  place = np.linspace(0, len(order_N) - 1, min(count, len(order_N)))
  return order_N[place.round().astype(int)]


def _at(label, row_R, count):
  """The step of each sample that is drawn; all of them for whole samples."""
  if label.ndim == 1:
    return [slice(None)] * len(row_R)
  event = (label >= 0) & (label < count)
  return [slice(t, t + 1) for t in event[row_R].argmax(1).tolist()]
