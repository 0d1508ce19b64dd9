"""Downstream tasks on frozen codes, with TOC and without."""

import functools
import hashlib
import json
import pathlib
import time
from typing import Any

import jax
import numpy as np
from rich.console import Console

from unirep import build, files, toc
from unirep import codes as coded
from unirep import workdir as workdirs
from unirep.build import Config
from unirep.codebook import awake
from unirep.codes import Codes
from unirep.data import sources
from unirep.errors import InputError, pick
from unirep.jobs import evaluation, report
from unirep.tasks import sharing
from unirep.tasks.probing import probe, protocol, suite
from unirep.tasks.registry import TASKS
from unirep.tokenizer import load


def run(
  config: Config, workdir: pathlib.Path, console: Console | None = None
) -> dict[str, Any]:
  """Measures every task, direction and TOC mask, with intervals over seeds.

  Writes `results.json`, `results.md`, `results.png` and the codes, which a
  second run reads again.

  Args:
    config: as `configs/evaluate.py` gives it.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for anything that the user can mend.
  """
  console = console or Console()
  check(config)
  tokenizer = load(config.checkpoint)
  keep_M = keeps(config, tokenizer.codebook.shape[1])
  missing = {*config.trained_on, *config.tested_on} - {*tokenizer.modalities}
  if missing:
    raise InputError(
      f"{config.checkpoint} has no modality {min(missing)!r}, only "
      f"{', '.join(tokenizer.modalities)}"
    )
  sources.check(config.data, [TASKS[name].tested for name in config.tasks])
  workdirs.claim(workdir, build.as_json(config))
  encode = functools.lru_cache(
    functools.partial(_encode, config, tokenizer, workdir, console)
  )
  began = time.perf_counter()
  clips = encode("clips", "seen"), encode("clips", "test")
  shared = evaluation.shared(*clips, len(tokenizer.codebook))
  tasks = {}
  for name in config.tasks:
    for title, problem in _problems(config, name, encode):
      started = time.perf_counter()
      tasks[title] = _measure(config, tokenizer.codebook, keep_M, problem)
      seconds = time.perf_counter() - started
      probes = tasks[title]["probes"]
      console.print(f"{title}: {probes} probes in {seconds:.0f} s")
  results = {
    "protocol": config.protocol,
    "checkpoint": str(config.checkpoint),
    "seconds": round(time.perf_counter() - began, 1),
    "chosen_keep": _chosen(config, tokenizer),
    "asleep": int((~tokenizer.awake).sum()),
    "tasks": tasks,
    "sharing": shared,
    "config": build.as_json(config),
  }
  files.write_json(workdir / "results.json", results)
  with files.whole(workdir / "results.md") as part:
    part.write_text(report.markdown(results))
  report.accuracy_over_keep(workdir / "results.png", results)
  console.print(report.markdown(results), soft_wrap=True)
  console.print(f"results.json, .md and .png are in {workdir}", soft_wrap=True)
  return results


def check(config: Config) -> None:
  """Raises InputError for what no part below would explain."""
  if not config.checkpoint:
    raise InputError("checkpoint is empty; name the work directory of a run")
  for name in config.tasks:
    task = pick(TASKS, "tasks", name)
    second = task.trained != task.tested
    if second and config.data.source in ("synthetic", "ave"):
      raise InputError(
        f"tasks: {name} needs a second data set; {config.data.source} is one"
      )
  if not config.tasks or not config.trained_on or not config.tested_on:
    raise InputError("tasks, trained_on and tested_on must not be empty")
  if config.protocol not in protocol.PROTOCOLS:
    raise InputError(
      f"protocol={config.protocol!r} is not one of {protocol.PROTOCOLS}"
    )
  for key in ("steps", "evaluations", "batch_size", "passes"):
    if config.probe[key] < 1:
      raise InputError(f"probe.{key}={config.probe[key]} must be at least 1")
  if config.seeds < 1:
    raise InputError(f"seeds={config.seeds} must be at least 1")
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
  try:
    for keep in config.toc.keep:
      if keep != dims:
        toc.check_keep(keep, dims, tuple(config.toc.top_share))
  except ValueError as error:
    raise InputError(f"toc.keep={tuple(config.toc.keep)}: {error}") from error
  return [*sorted({*config.toc.keep} - {dims}), dims]


def _chosen(config, tokenizer) -> int:
  """How many dimensions to keep; all, where no two codes are awake."""
  code_KxD, live_K = tokenizer.codebook, tokenizer.awake
  if live_K.sum() < 2:
    return code_KxD.shape[1]
  importance_D, dead_D = _ranking(config, code_KxD, live_K)
  return toc.choose(code_KxD, live_K, importance_D=importance_D, dead_D=dead_D)


def _problems(config, name, encode):
  """What a task asks, by title."""
  task = TASKS[name]
  # As released: tested on what was trained on, unless the data differ.
  released = config.protocol == "released"
  seen = released and task.trained == task.tested
  codes = (
    encode(task.trained, "train"),
    encode(task.trained, "validation"),
    encode(task.tested, "seen" if seen else "test"),
  )
  for suffix, problem in task.problems(*codes).items():
    if seen:
      problem = problem._replace(note="tested on the training sequences")
    if released:
      problem = task.released(problem, config.probe.batch_size)
    yield name + suffix, problem


def _measure(config, code_KxD, keep_M, problem):
  """Trains the probes of one problem; its part of the results."""
  options = dict(config.probe)
  del options["passes"]
  options["optimizer"] = probe.optimizer(
    options.pop("learning_rate"),
    halve_at=options.pop("halve_at"),
    max_norm=options.pop("max_norm"),
  )
  scores = suite.measure(
    problem,
    code_KxD,
    masks(config, code_KxD, keep_M, problem.train),
    seed=config.seed,
    seeds=config.seeds,
    sources=config.trained_on,
    targets=config.tested_on,
    protocol_name=config.protocol,
    options=options,
  )
  primary = problem.task.primary
  directions = {}
  for (source, target), named in scores.items():
    off_R = named[primary][-1]
    directions[f"{source}->{target}"] = {
      "chance": problem.chance[target],
      "baseline": problem.baseline.get(target),
      "keep": {
        str(keep): {
          **{n: protocol.estimate(x[i])._asdict() for n, x in named.items()},
          "toc": _difference(named[primary][i], off_R),
        }
        for i, keep in enumerate(keep_M)
      },
    }
  return {
    "primary": primary,
    "note": problem.note,
    "probes": len(keep_M) * len(config.trained_on) * config.seeds,
    "directions": directions,
  }


def _difference(value_R, off_R):
  difference = protocol.paired(value_R, off_R)
  return {**difference._asdict(), "verdict": protocol.verdict(difference)}


def masks(config: Config, code_KxD: Any, keep_M: Any, train: Codes) -> Any:
  """TOC masks (M, D), the last of which keeps everything."""
  live_K = np.asarray(awake(code_KxD))
  if config.toc.live_codes:
    uses = [sharing.histogram(x, len(code_KxD)) for x in train.idx.values()]
    live_K &= np.sum(uses, 0) > 0
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


def _encode(config, tokenizer, workdir, console, kind, split) -> Codes:
  """Codes of one split, from the work directory if they are there."""
  if kind == "events" and config.data.source != "digits":
    kind = "clips"  # whose segments have labels as well
  passes = config.probe.passes if split == "train" else 1
  data = build.as_json(config)["data"]
  what = [coded.LAYOUT, tokenizer.settings, data, passes]
  stamp = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
  stamp.update(tokenizer.codebook.tobytes())
  name = f"{kind}-{split}-{stamp.hexdigest()[:12]}.npz"
  path = workdir / "codes" / name
  if path.exists():
    return coded.read(path)
  console.print(f"encoding {kind}, {split}", soft_wrap=True)
  fine = tokenizer.settings["fine"]
  source = sources.source(config.data, kind, split, fine)
  dropout = jax.random.key(config.seed) if split == "train" else None
  result = tokenizer.codes(source, dropout=dropout, passes=passes)
  coded.write(path, result)
  return result
