"""Downstream tasks on frozen codes, with TOC and without."""

import functools
import pathlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from unirep.configuration import build
from unirep.configuration.build import Config
from unirep.data import identity, labels, pipeline, sources
from unirep.data.datasets import extracted
from unirep.data.sample import Source
from unirep.inference import codes as coded
from unirep.inference.codes import Codes
from unirep.inference.tokenizer import Tokenizer, load
from unirep.jobs import encoding, evaluation, masks
from unirep.jobs import workdir as workdirs
from unirep.reports import pictures, tables
from unirep.runtime import atomic
from unirep.runtime.errors import InputError, pick
from unirep.tasks import sharing
from unirep.tasks.probing import probe, protocol
from unirep.tasks.registry import TASKS
from unirep.tasks.rows import Setting


class Job(NamedTuple):
  """An evaluation of one model, bound.

  Attributes:
    settings: the configuration as JSON values.
    checkpoint: the work directory of the run.
    tokenizer: the model.
    source: name of the data.
    splits: (kind of data, split) -> samples, opened once.
    tasks: names of the tasks.
    trained_on: modalities that probes are trained on.
    tested_on: modalities that they are tested on.
    protocol: one of `probing.protocol.PROTOCOLS`.
    toc: how TOC ranks dimensions.
    keep_M: numbers of dimensions that it keeps, all of them last.
    live_codes: whether TOC looks only at codes that training samples use.
    probe: options of the probes: an optax optimizer, steps, evaluations,
      batch_size.
    passes: how often a training sample is encoded under dropout.
    samples: training samples that are drawn; 0 for all.
    seed: of all draws.
    seeds: probes of each direction.
    allow_changed: whether the data may be other than those of an earlier
      evaluation in the same work directory.
  """

  settings: Mapping[str, Any]
  checkpoint: str
  tokenizer: Tokenizer
  source: str
  splits: Callable[[str, str], Source]
  tasks: tuple[str, ...]
  trained_on: tuple[str, ...]
  tested_on: tuple[str, ...]
  protocol: str
  toc: masks.Options
  keep_M: list[int]
  live_codes: bool
  probe: Mapping[str, Any]
  passes: int
  samples: int
  seed: int
  seeds: int
  allow_changed: bool


def prepare(config: Config) -> Job:
  """Opens the model and the data, and refuses all that can be refused.

  Args:
    config: as `configs/evaluate.py` gives it.

  Raises:
    InputError: for anything that the user can mend.
  """
  check(config)
  for name in config.tasks:
    _check_kinds(name, config.data.source)
  tokenizer = load(config.checkpoint)
  toc = dict(config.toc)
  keep_M, live_codes = toc.pop("keep"), toc.pop("live_codes")
  options = masks.Options(**toc)
  keep_M = masks.sizes(keep_M, tokenizer.codebook.shape[1], options)
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
  fine = tuple(tokenizer.settings["fine"])
  splits = sources.opened(config.data, fine)
  there = {sources.kind(config.data.source, kind) for kind in kinds}
  _check_splits(splits, tokenizer, there)
  options_of_probes = dict(config.probe)
  passes = options_of_probes.pop("passes")
  samples = options_of_probes.pop("samples")
  options_of_probes["optimizer"] = probe.optimizer(
    options_of_probes.pop("learning_rate"),
    halve_at=options_of_probes.pop("halve_at"),
    max_norm=options_of_probes.pop("max_norm"),
  )
  return Job(
    settings=build.as_json(config),
    checkpoint=str(config.checkpoint),
    tokenizer=tokenizer,
    source=config.data.source,
    splits=splits,
    tasks=tuple(config.tasks),
    trained_on=_modalities(config.trained_on, tokenizer),
    tested_on=_modalities(config.tested_on, tokenizer),
    protocol=config.protocol,
    toc=options,
    keep_M=keep_M,
    live_codes=live_codes,
    probe=options_of_probes,
    passes=passes,
    samples=samples,
    seed=config.seed,
    seeds=config.seeds,
    allow_changed=config.allow_changed,
  )


def check(config: Config) -> None:
  """Raises InputError for values that no part below would explain."""
  if not config.checkpoint:
    raise InputError("checkpoint is empty; name the work directory of a run")
  for name in config.tasks:
    pick(TASKS, "tasks", name)
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


def run(job: Job, workdir: pathlib.Path, console: Console) -> dict[str, Any]:
  """Measures every task, direction and TOC mask, with intervals over seeds.

  Writes `results.json`, `results.md`, `results.png`, `results.pdf` and the
  codes, which a second run reads again.

  Args:
    job: from `prepare`.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for a work directory of something else.
  """
  workdirs.claim(workdir, job.settings)
  encode = functools.lru_cache(
    functools.partial(_encode, job, workdir, console)
  )
  results = _measured(job, encode, console)
  atomic.write_json(workdir / "results.json", results)
  with atomic.whole(workdir / "results.md") as part:
    part.write_text(tables.markdown(results))
  pictures.results(workdir / "results.png", results)
  console.print(tables.markdown(results), soft_wrap=True)
  console.print(
    f"results.json, .md, .png and .pdf are in {workdir}", soft_wrap=True
  )
  return results


def _modalities(named: Sequence[str], model: Tokenizer) -> tuple[str, ...]:
  """Those named; else those with a code a step, if there are any; else all."""
  fine = tuple(model.settings["fine"])
  return tuple(named) or fine or model.modalities


def _check_kinds(task: str, source: str) -> None:
  """Raises InputError for a task that needs a second data set."""
  kinds, has = {*TASKS[task].kinds}, sources.kinds(source)
  if len(kinds) > 1 and ("other" in kinds - {*has} or len(has) == 1):
    raise InputError(f"tasks: {task} needs a second data set; {source} is one")


def _check_splits(
  opened: Callable[[str, str], Source], model: Tokenizer, kinds: Iterable[str]
) -> None:
  """Checks all splits that tasks use.

  Raises:
    InputError: naming the split, for features that the model does not take,
      and for labels that `labels.check` refuses.
  """
  for kind in sorted({*kinds}):
    for split in ("train", "validation", "test"):
      where = split if kind == "clips" else f"{split} ({kind})"
      source = opened(kind, split)
      if not len(source):
        raise InputError(f"{where} split: it holds no samples")
      model.check_source(source, where)
      labels.check({where: source})


def _measured(job: Job, encode, console) -> dict[str, Any]:
  """Rows of all tasks, and how the model's codes are shared."""
  began = time.perf_counter()
  code_KxD = job.tokenizer.codebook
  clips = encode("clips", "seen"), encode("clips", "test")
  shared, rows = evaluation.shared(*clips, len(code_KxD)), []
  for name in job.tasks:
    started = time.perf_counter()
    setting = _setting(job, name, encode)
    task_rows = [row._asdict() for row in TASKS[name].rows(setting)]
    rows += task_rows
    seconds = time.perf_counter() - started
    console.print(f"{name}: {len(task_rows)} rows in {seconds:.0f} s")
  return {
    "protocol": job.protocol,
    "checkpoint": job.checkpoint,
    "seconds": round(time.perf_counter() - began, 1),
    "chosen_keep": masks.choose(code_KxD, job.tokenizer.awake, job.toc),
    "asleep": int((~job.tokenizer.awake).sum()),
    "rows": rows,
    "sharing": shared,
    "config": job.settings,
  }


def _setting(job: Job, name: str, encode) -> Setting:
  return Setting(
    title=name,
    code_KxD=job.tokenizer.codebook,
    codes=encode,
    keep_M=job.keep_M,
    masks=functools.partial(swept, job),
    sources=job.trained_on,
    targets=job.tested_on,
    protocol=job.protocol,
    seed=job.seed,
    seeds=job.seeds,
    options=job.probe,
  )


def swept(job: Job, train: Codes) -> np.ndarray:
  """TOC masks (M, D) of the codes that are live; the last keeps everything."""
  code_KxD = job.tokenizer.codebook
  live_K = job.tokenizer.awake.copy()
  if job.live_codes:
    uses = [sharing.histogram(x, len(code_KxD)) for x in train.idx.values()]
    live_K &= np.sum(uses, 0) > 0
  return masks.sweep(code_KxD, job.keep_M, live_K, job.toc)


def _encode(job: Job, workdir, console, kind: str, split: str) -> Codes:
  """Codes of one split, from the work directory if they are there."""
  kind = sources.kind(job.source, kind)
  train = split == "train"
  passes = job.passes if train else 1
  source = job.splits(kind, split)
  data = identity.of(source)
  encoding.remember(workdir, f"{kind}, {split}", data, job.allow_changed)
  given = job.settings["data"], passes, job.samples
  stamp = encoding.stamp(job.tokenizer, data, *given, job.seed)
  path = workdir / "codes" / f"{kind}-{split}-{stamp}.npz"
  if path.exists():
    return coded.read(path)
  console.print(f"encoding {kind}, {split}", soft_wrap=True)
  if split in ("train", "seen"):  # of which the one is the other
    source = pipeline.drawn(source, job.samples, job.seed)
  dropout = jax.random.key(job.seed) if train else None
  return encoding.encoded(
    job.tokenizer, source, path, dropout=dropout, passes=passes
  )
