"""Zero-shot retrieval across modalities, by codes and before quantization."""

import hashlib
import pathlib
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from unirep.configuration import build
from unirep.configuration.build import Config
from unirep.data import pipeline, sources
from unirep.data.datasets import extracted
from unirep.data.sample import PRESENT, Source
from unirep.inference import similarity
from unirep.inference.tokenizer import Tokenizer, load
from unirep.jobs import masks
from unirep.jobs import results as job_results
from unirep.jobs import workdir as workdirs
from unirep.reports import tables
from unirep.runtime.errors import InputError, pick
from unirep.tasks.retrieval import table
from unirep.tasks.retrieval.table import Samples

BATCH = 64  # samples read at a time: the tokenizer's largest call


class Model(NamedTuple):
  """One checkpoint with the data that it is measured on.

  Attributes:
    path: its work directory.
    tokenizer: the model.
    source: samples that are queries and gallery.
    modalities: those that are compared.
    masks: dimensions that TOC keeps -> mask (D,); all of them last.
  """

  path: str
  tokenizer: Tokenizer
  source: Source
  modalities: tuple[str, ...]
  masks: Mapping[int, np.ndarray]


class Job(NamedTuple):
  """Retrieval by one or several checkpoints, bound.

  Attributes:
    settings: the configuration as JSON values.
    models: a checkpoint each.
    split: of the data.
    relevance: of `table.NOTES`.
    representations: of `similarity.REPRESENTATIONS`.
    at: numbers of items that may be retrieved.
    resamples: of the bootstrap over queries.
    seed: of these.
  """

  settings: Mapping[str, Any]
  models: tuple[Model, ...]
  split: str
  relevance: str
  representations: tuple[str, ...]
  at: tuple[int, ...]
  resamples: int
  seed: int


def prepare(config: Config) -> Job:
  """Opens models and data, and refuses all that can be refused.

  Args:
    config: as `configs/retrieve.py` gives it.

  Raises:
    InputError: for anything that the user can mend.
  """
  paths = job_results.checkpoints(config.checkpoint, config.checkpoints)
  check(config)
  tokenizers = {path: load(path) for path in paths}
  toc = dict(config.toc)
  keep_M = toc.pop("keep")
  options, models = masks.Options(**toc), []
  for path, tokenizer in tokenizers.items():
    source = sources.source(
      config.data, "clips", config.split, tokenizer.settings["fine"]
    )
    if config.data.source == "media" or (
      config.data.source == "arrays" and config.data.test
    ):
      extracted.check(
        tokenizer.settings.get("extraction"),
        extracted.made(config.data),
        tokenizer.modalities,
        f"data.source={config.data.source}",
      )
    code_KxD = tokenizer.codebook
    sizes = masks.sizes(keep_M, code_KxD.shape[1], options)
    mask_MxD = masks.sweep(code_KxD, sizes, tokenizer.awake, options)
    models.append(
      Model(
        path=path,
        tokenizer=tokenizer,
        source=source,
        modalities=_compared(
          tuple(config.modalities),
          config.split,
          config.relevance,
          path,
          tokenizer,
          source,
        ),
        masks=dict(zip(sizes, mask_MxD, strict=True)),
      )
    )
  return Job(
    settings=build.as_json(config),
    models=tuple(models),
    split=config.split,
    relevance=config.relevance,
    representations=tuple(config.representations),
    at=tuple(config.at),
    resamples=config.resamples,
    seed=config.seed,
  )


def check(config: Config) -> None:
  """Raises InputError for values that no part below would explain."""
  if not config.representations:
    raise InputError("representations must not be empty")
  for name in config.representations:
    pick(similarity.REPRESENTATIONS, "representations", name)
  pick(table.NOTES, "relevance", config.relevance)
  if config.split not in job_results.SPLITS:
    raise InputError(
      f"split={config.split!r} is not one of {job_results.SPLITS}"
    )
  if not config.at:
    raise InputError("at=() must not be empty")
  if config.data.source == "arrays" and not config.data[config.split]:
    raise InputError(
      f"data.{config.split} is empty; name a file or folder of features"
    )


def run(job: Job, workdir: pathlib.Path, console: Console) -> dict[str, Any]:
  """Looks for samples of each modality by those of each other one.

  Writes `results.json` and `results.md`. Every number has its interval over
  queries and chance; of several checkpoints there is a row each, and last the
  mean with its interval over these, where `checkpoint` is None.

  Args:
    job: from `prepare`.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for a work directory of something else.
  """
  workdirs.claim(workdir, job.settings)
  began, rows = time.perf_counter(), []
  for model in job.models:
    started = time.perf_counter()
    setting = table.Setting(
      code_KxD=model.tokenizer.codebook,
      masks=model.masks,
      representations=job.representations,
      relevance=job.relevance,
      at=job.at,
      resamples=job.resamples,
      seed=job.seed,
    )
    rows += [
      {"checkpoint": model.path, **row._asdict()}
      for row in table.rows(setting, _asked(model, job.relevance))
    ]
    seconds = time.perf_counter() - started
    console.print(f"{model.path}: {seconds:.0f} s", soft_wrap=True)
  results = {
    "checkpoints": [model.path for model in job.models],
    "split": job.split,
    "seconds": round(time.perf_counter() - began, 1),
    "rows": rows + job_results.means(rows, len(job.models)),
    "config": job.settings,
  }
  job_results.write(results, tables.retrieval(results), workdir, console)
  return results


def _compared(
  names: tuple[str, ...],
  split: str,
  relevance: str,
  path: str,
  model: Tokenizer,
  source: Source,
) -> tuple[str, ...]:
  """The modalities to compare: those named, or all that both sides have.

  Raises:
    InputError: where the data do not fit the model or the question.
  """
  if not len(source):
    raise InputError(f"data, split={split}: there are no samples")
  given = source[0]["features"]
  names = names or tuple(m for m in model.modalities if m in given)
  model.check_source(source, split)
  for m in names:
    for where, has in ((path, model.modalities), ("the data", [*given])):
      if m not in has:
        raise InputError(
          f"{where} has no modality {m!r}, only {', '.join(has)}"
        )
  if len({*names}) < 2:
    raise InputError(f"modalities={names}: two are needed to compare")
  if relevance != "pair" and relevance not in source[0]["labels"]:
    raise InputError(
      f"relevance={relevance}: the data has no label/{relevance}"
    )
  return names


def _asked(model: Model, relevance: str) -> dict[str, Samples]:
  """Every modality's samples with their labels."""
  names, label = model.modalities, []
  states: dict[str, list] = {m: [] for m in names}
  digests: dict[str, list[bytes]] = {m: [] for m in names}
  present: dict[str, list] = {m: [] for m in names}
  for batch, valid in pipeline.in_order(model.source, BATCH):
    features = {m: batch["features"][m] for m in names}
    lengths: Any = {m: n for m, n in batch["lengths"].items() if m in names}
    # All batches are whole, for one program: equal samples get equal states.
    for m, found in model.tokenizer.states(features, lengths).items():
      states[m].append(similarity.part(found, slice(valid)))
      rows = features[m][:valid]
      digests[m] += [hashlib.sha256(x.tobytes()).digest() for x in rows]
      present_B = batch.get(PRESENT, {}).get(m, np.ones(valid, bool))
      present[m].append(present_B[:valid])
    if relevance != "pair":
      label.append(batch["labels"][relevance][:valid])
  label_N = np.concatenate(label) if label else np.arange(len(model.source))
  if label_N.ndim > 1:
    raise InputError(f"label/{relevance} must be (N,), got {label_N.shape}")
  asked = {}
  for m in names:
    kept_N = np.concatenate(present[m]) & (label_N >= 0)
    if relevance == "id":  # a photo beside each of its captions is one photo
      kept_N &= _new(label_N, digests[m])
    kept = similarity.part(similarity.join(states[m]), kept_N)
    asked[m] = Samples(kept, label_N[kept_N])
  return asked


def _new(label_N, keys) -> np.ndarray:
  """False for samples of the same id with equal features, but the first."""
  pairs = [*zip(label_N.tolist(), keys, strict=True)]
  first = dict(zip(reversed(pairs), reversed(range(len(pairs))), strict=True))
  new_N = np.zeros(len(pairs), bool)
  new_N[[*first.values()]] = True
  return new_N
