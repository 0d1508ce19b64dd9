"""Zero-shot retrieval across modalities, by codes and by what they lose."""

import hashlib
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from unirep.config import build
from unirep.config.build import Config
from unirep.data import pipeline, sources
from unirep.data.datasets import extracted
from unirep.data.sample import PRESENT, Source
from unirep.inference import similarity
from unirep.inference.tokenizer import Tokenizer, load
from unirep.jobs import checks, evaluate
from unirep.jobs import workdir as workdirs
from unirep.reports import tables
from unirep.runtime import atomic
from unirep.runtime.errors import InputError, pick
from unirep.tasks.probing import protocol
from unirep.tasks.retrieval import table
from unirep.tasks.retrieval.table import Samples

SPLITS = ("train", "validation", "test")
BATCH = 64  # samples read at a time: the tokenizer's largest call


def run(
  config: Config, workdir: pathlib.Path, console: Console
) -> dict[str, Any]:
  """Looks for samples of each modality by those of each other one.

  Writes `results.json` and `results.md`. Every number has its interval over
  queries and chance; of several checkpoints there is a row each, and last the
  mean with its interval over these, where `checkpoint` is None.

  Args:
    config: as `configs/retrieve.py` gives it.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for anything that the user can mend.
  """
  paths = check(config)
  models = {path: load(path) for path in paths}
  data = {path: _source(config, path, model) for path, model in models.items()}
  workdirs.claim(workdir, build.as_json(config))
  began, rows = time.perf_counter(), []
  for path, model in models.items():
    started = time.perf_counter()
    asked = _asked(config, model, *data[path])
    found = table.rows(_setting(config, model), asked)
    rows += [{"checkpoint": path, **row._asdict()} for row in found]
    seconds = time.perf_counter() - started
    console.print(f"{path}: {seconds:.0f} s", soft_wrap=True)
  results = {
    "checkpoints": paths,
    "split": config.split,
    "seconds": round(time.perf_counter() - began, 1),
    "rows": rows + means(rows, len(paths)),
    "config": build.as_json(config),
  }
  write(results, tables.retrieval(results), workdir, console)
  return results


def write(
  results: dict[str, Any],
  text: str,
  workdir: pathlib.Path,
  console: Console,
  more: str = "",
) -> None:
  """Writes `results.json` and `results.md`, and prints the latter.

  Args:
    results: of the job.
    text: its tables, as Markdown.
    workdir: where to write.
    console: where to print.
    more: what else was written, for the last line.
  """
  atomic.write_json(workdir / "results.json", results)
  with atomic.whole(workdir / "results.md") as part:
    part.write_text(text)
  console.print(text, soft_wrap=True, markup=False)
  console.print(f"results.json and .md{more} are in {workdir}", soft_wrap=True)


def check(config: Config) -> list[str]:
  """The checkpoints; raises InputError for what no part below would explain."""
  paths = checkpoints(config)
  if not config.representations:
    raise InputError("representations must not be empty")
  for name in config.representations:
    pick(similarity.REPRESENTATIONS, "representations", name)
  pick(table.NOTES, "relevance", config.relevance)
  if config.split not in SPLITS:
    raise InputError(f"split={config.split!r} is not one of {SPLITS}")
  if not config.at:
    raise InputError("at=() must not be empty")
  if config.data.source == "arrays" and not config.data[config.split]:
    raise InputError(
      f"data.{config.split} is empty; name a file or folder of features"
    )
  return paths


def checkpoints(config: Config) -> list[str]:
  """Those that are named; raises InputError if none is."""
  paths = [*dict.fromkeys([config.checkpoint, *config.checkpoints])]
  paths = [path for path in paths if path]
  if not paths:
    raise InputError("checkpoint is empty; name the work directory of a run")
  return paths


def _source(
  config, path: str, model: Tokenizer
) -> tuple[Source, tuple[str, ...]]:
  """The samples, and which of their modalities to compare."""
  data, fine = config.data, model.settings["fine"]
  source = sources.source(data, "clips", config.split, fine)
  if not len(source):
    raise InputError(f"data, split={config.split}: there are no samples")
  known = source[0]["features"]
  names = config.modalities or [m for m in model.modalities if m in known]
  checks.check_features(model, source, config.split)
  for m in names:
    for where, has in ((path, model.modalities), ("the data", [*known])):
      if m not in has:
        raise InputError(
          f"{where} has no modality {m!r}, only {', '.join(has)}"
        )
  if len({*names}) < 2:
    raise InputError(f"modalities={tuple(names)}: two are needed to compare")
  if data.source == "media" or (data.source == "arrays" and data.test):
    where = f"data.source={data.source}"
    trained = model.settings.get("extraction")
    extracted.check(trained, extracted.made(data), model.modalities, where)
  if config.relevance != "pair" and config.relevance not in source[0]["labels"]:
    raise InputError(
      f"relevance={config.relevance}: the data has no label/{config.relevance}"
    )
  return source, tuple(names)


def _asked(
  config, model: Tokenizer, source: Source, names: tuple[str, ...]
) -> dict[str, Samples]:
  """Every modality's samples with their labels."""
  parts: dict[str, list] = {m: [] for m in names}
  keys: dict[str, list[bytes]] = {m: [] for m in names}
  here: dict[str, list] = {m: [] for m in names}
  label: list[Any] = []
  for batch, valid in pipeline.in_order(source, BATCH):
    features = {m: batch["features"][m] for m in names}
    lengths: Any = {m: n for m, n in batch["lengths"].items() if m in names}
    # All batches are whole, for one program: equal samples get equal states.
    for m, states in model.states(features, lengths).items():
      parts[m].append(similarity.part(states, slice(valid)))
      digests = [hashlib.sha256(x.tobytes()).digest() for x in features[m]]
      keys[m] += digests[:valid]
      present = batch.get(PRESENT, {}).get(m, np.ones(valid, bool))
      here[m].append(present[:valid])
    if config.relevance != "pair":
      label.append(batch["labels"][config.relevance][:valid])
  label_N = np.concatenate(label) if label else np.arange(len(source))
  if label_N.ndim > 1:
    raise InputError(
      f"label/{config.relevance} must be (N,), got {label_N.shape}"
    )
  found = {}
  for m in names:
    where_N = np.concatenate(here[m]) & (label_N >= 0)
    if config.relevance == "id":  # a photo beside each caption is one photo
      where_N &= _new(label_N, keys[m])
    states = similarity.part(similarity.join(parts[m]), where_N)
    found[m] = Samples(states, label_N[where_N])
  return found


def _new(label_N, keys) -> np.ndarray:
  """Which samples are not there already: of one id and with equal features."""
  pairs = [*zip(label_N.tolist(), keys, strict=True)]
  first = dict(zip(reversed(pairs), reversed(range(len(pairs))), strict=True))
  new_N = np.zeros(len(pairs), bool)
  new_N[[*first.values()]] = True
  return new_N


def _setting(config, model: Tokenizer) -> table.Setting:
  code_KxD = model.codebook
  keep_M = evaluate.keeps(config, code_KxD.shape[1])
  mask_MxD = evaluate.swept(config, code_KxD, keep_M, model.awake)
  return table.Setting(
    code_KxD=code_KxD,
    masks=dict(zip(keep_M, mask_MxD, strict=True)),
    representations=config.representations,
    relevance=config.relevance,
    at=config.at,
    resamples=config.resamples,
    seed=config.seed,
  )


def means(rows: Sequence[dict[str, Any]], seeds: int) -> list[dict[str, Any]]:
  """Of the same row of all checkpoints; none of a single one."""
  if seeds < 2:
    return []
  keys = ("source", "target", "representation", "keep", "metric")
  groups: dict[tuple, list] = {}
  for row in rows:
    groups.setdefault(tuple(row[key] for key in keys), []).append(row)
  means = []
  for group in groups.values():
    found = protocol.estimate([row["value"] for row in group])
    numbers = found._asdict()
    numbers["value"] = numbers.pop("mean")
    ceilings = [row["ceiling"] for row in group]
    if None not in ceilings:
      numbers["ceiling"] = float(np.mean(ceilings))
    means.append({**group[0], **numbers, "checkpoint": None})
  return means
