"""Downstream tasks on frozen codes, with TOC and without."""

import functools
import pathlib
import time
from typing import Any

import jax
import numpy as np
from rich.console import Console

from unirep.config import build
from unirep.config.build import Config
from unirep.data import identity, pipeline, sources
from unirep.data.datasets import extracted
from unirep.inference import codes as coded
from unirep.inference.codes import Codes
from unirep.inference.tokenizer import load
from unirep.jobs import checks, encoding, evaluation
from unirep.jobs import workdir as workdirs
from unirep.jobs.toc import PUBLISHED
from unirep.quantizer import toc
from unirep.quantizer.codebook import awake
from unirep.reports import pictures, tables
from unirep.runtime import atomic
from unirep.runtime.errors import InputError, pick
from unirep.tasks import sharing
from unirep.tasks.probing import probe, protocol
from unirep.tasks.registry import TASKS
from unirep.tasks.rows import Setting


def run(
  config: Config, workdir: pathlib.Path, console: Console
) -> dict[str, Any]:
  """Measures every task, direction and TOC mask, with intervals over seeds.

  Writes `results.json`, `results.md`, `results.png`, `results.pdf` and the
  codes, which a second run reads again.

  Args:
    config: as `configs/evaluate.py` gives it.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for anything that the user can mend.
  """
  check(config)
  tokenizer = load(config.checkpoint)
  keep_M = keeps(config, tokenizer.codebook.shape[1])
  missing = {*config.trained_on, *config.tested_on} - {*tokenizer.modalities}
  if missing:
    raise InputError(
      f"{config.checkpoint} has no modality {min(missing)!r}, only "
      f"{', '.join(tokenizer.modalities)}"
    )
  kinds = {kind for name in config.tasks for kind in TASKS[name].kinds}
  sources.check(config.data, kinds)
  extracted.check(
    tokenizer.settings.get("extraction"),
    extracted.made(config.data),
    tokenizer.modalities,
    f"data.source={config.data.source}",
  )
  opened = checks.opened(config.data, tokenizer.settings["fine"])
  there = {sources.kind(config.data.source, kind) for kind in kinds}
  checks.check_downstream(opened, tokenizer, there)
  workdirs.claim(workdir, build.as_json(config))
  encode = functools.lru_cache(
    functools.partial(_encode, config, tokenizer, opened, workdir, console)
  )
  results = _measured(config, tokenizer, keep_M, encode, console)
  _tell(results, workdir, console)
  return results


def _measured(config, tokenizer, keep_M, encode, console) -> dict[str, Any]:
  """Rows of all tasks, and what else the results say."""
  began = time.perf_counter()
  clips = encode("clips", "seen"), encode("clips", "test")
  shared, rows = evaluation.shared(*clips, len(tokenizer.codebook)), []
  for name in config.tasks:
    started = time.perf_counter()
    setting = _setting(config, name, tokenizer, keep_M, encode)
    found = [row._asdict() for row in TASKS[name].rows(setting)]
    rows += found
    seconds = time.perf_counter() - started
    console.print(f"{name}: {len(found)} rows in {seconds:.0f} s")
  return {
    "protocol": config.protocol,
    "checkpoint": str(config.checkpoint),
    "seconds": round(time.perf_counter() - began, 1),
    "chosen_keep": _chosen(config, tokenizer),
    "asleep": int((~tokenizer.awake).sum()),
    "rows": rows,
    "sharing": shared,
    "config": build.as_json(config),
  }


def _tell(results, workdir, console) -> None:
  atomic.write_json(workdir / "results.json", results)
  with atomic.whole(workdir / "results.md") as part:
    part.write_text(tables.markdown(results))
  pictures.results(workdir / "results.png", results)
  console.print(tables.markdown(results), soft_wrap=True)
  console.print(
    f"results.json, .md, .png and .pdf are in {workdir}", soft_wrap=True
  )


def check(config: Config) -> None:
  """Raises InputError for what no part below would explain."""
  if not config.checkpoint:
    raise InputError("checkpoint is empty; name the work directory of a run")
  for name in config.tasks:
    kinds = {*pick(TASKS, "tasks", name).kinds}
    has = sources.kinds(config.data.source)
    if len(kinds) > 1 and ("other" in kinds - {*has} or len(has) == 1):
      raise InputError(
        f"tasks: {name} needs a second data set; {config.data.source} is one"
      )
  if not config.tasks:
    raise InputError("tasks must not be empty")
  if config.protocol not in protocol.PROTOCOLS:
    raise InputError(
      f"protocol={config.protocol!r} is not one of {protocol.PROTOCOLS}"
    )
  if config.probe.steps % config.probe.evaluations:
    raise InputError(
      f"probe.steps={config.probe.steps} is not a multiple of "
      f"probe.evaluations={config.probe.evaluations}"
    )


def keeps(config: Config, dims: int) -> list[int]:
  """The numbers of dimensions to keep, all of them last.

  Raises:
    InputError: for one that TOC can't keep.
  """
  asked = config.toc.keep or [keep for keep in PUBLISHED if keep <= dims]
  try:
    for keep in asked:
      if keep != dims:
        toc.check_keep(keep, dims, tuple(config.toc.top_share))
  except ValueError as error:
    raise InputError(f"toc.keep={tuple(config.toc.keep)}: {error}") from error
  return [*sorted({*asked} - {dims}), dims]


def _modalities(asked, tokenizer) -> tuple[str, ...]:
  """Those asked for; else those with a code a step, if there are any."""
  fine = tuple(tokenizer.settings["fine"])
  return tuple(asked) or fine or tokenizer.modalities


def _chosen(config, tokenizer) -> int:
  """How many dimensions to keep; all, where no two codes are awake."""
  code_KxD, live_K = tokenizer.codebook, tokenizer.awake
  if live_K.sum() < 2:
    return code_KxD.shape[1]
  importance_D, dead_D = _ranking(config, code_KxD, live_K)
  return toc.choose(code_KxD, live_K, importance_D=importance_D, dead_D=dead_D)


def _setting(config, name, tokenizer, keep_M, encode) -> Setting:
  """What a task is given."""
  options = dict(config.probe)
  del options["passes"], options["samples"]
  options["optimizer"] = probe.optimizer(
    options.pop("learning_rate"),
    halve_at=options.pop("halve_at"),
    max_norm=options.pop("max_norm"),
  )
  code_KxD = tokenizer.codebook
  return Setting(
    title=name,
    code_KxD=code_KxD,
    codes=encode,
    keep_M=keep_M,
    masks=functools.partial(masks, config, code_KxD, keep_M),
    sources=_modalities(config.trained_on, tokenizer),
    targets=_modalities(config.tested_on, tokenizer),
    protocol=config.protocol,
    seed=config.seed,
    seeds=config.seeds,
    options=options,
  )


def masks(config: Config, code_KxD: Any, keep_M: Any, train: Codes) -> Any:
  """TOC masks (M, D), the last of which keeps everything."""
  live_K = np.asarray(awake(code_KxD))
  if config.toc.live_codes:
    uses = [sharing.histogram(x, len(code_KxD)) for x in train.idx.values()]
    live_K &= np.sum(uses, 0) > 0
  return swept(config, code_KxD, keep_M, live_K)


def swept(config: Config, code_KxD: Any, keep_M: Any, live_K: Any) -> Any:
  """TOC masks (M, D) by the codes that are live; see `masks`."""
  importance_D, dead_D = _ranking(config, code_KxD, live_K)
  mask_MxD = toc.sweep(
    importance_D,
    np.array(keep_M),
    tuple(config.toc.top_share),
    dead_D,
  )
  return (
    np.asarray(mask_MxD).copy()
    | (np.array(keep_M) == len(importance_D))[:, None]
  )


def _ranking(config, code_KxD, live_K):
  """What TOC ranks dimensions by, and which it takes last whatever that is."""
  importance_D = toc.importance(
    code_KxD,
    config.toc.similarity_weight,
    config.toc.variance_weight,
    live_K=live_K,
    centered=config.toc.centered,
  )
  dead_D = toc.dead(code_KxD, live_K) if config.toc.spare_dead else None
  return importance_D, dead_D


def _encode(config, tokenizer, opened, workdir, console, kind, split) -> Codes:
  """Codes of one split, from the work directory if they are there."""
  kind = sources.kind(config.data.source, kind)
  train = split == "train"
  passes = config.probe.passes if train else 1
  source = opened(kind, split)
  data = identity.of(source)
  encoding.remember(workdir, f"{kind}, {split}", data, config.allow_changed)
  asked = build.as_json(config)["data"], passes, config.probe.samples
  stamp = encoding.stamp(tokenizer, data, *asked, config.seed)
  path = workdir / "codes" / f"{kind}-{split}-{stamp}.npz"
  if path.exists():
    return coded.read(path)
  console.print(f"encoding {kind}, {split}", soft_wrap=True)
  if split in ("train", "seen"):  # of which the one is the other
    source = pipeline.drawn(source, config.probe.samples, config.seed)
  dropout = jax.random.key(config.seed) if train else None
  return encoding.encoded(
    tokenizer, source, path, dropout=dropout, passes=passes
  )
