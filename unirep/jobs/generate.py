"""Generation: a modality is made from codes of others that it never saw."""

import functools
import pathlib
import time
from typing import Any

import jax
import numpy as np
from rich.console import Console

from unirep.config import build
from unirep.config.build import Config
from unirep.data import raw, sources
from unirep.data.sample import Source
from unirep.inference.tokenizer import Tokenizer, load
from unirep.jobs import generators, retrieve
from unirep.jobs import workdir as workdirs
from unirep.jobs.generators import Split
from unirep.reports import generated, tables
from unirep.runtime.errors import InputError
from unirep.tasks.generation import table


def run(
  config: Config, workdir: pathlib.Path, console: Console
) -> dict[str, Any]:
  """Makes each modality from the codes of each, and judges what comes.

  Writes `results.json`, `results.md`, `samples.png`, `samples.pdf` and, where
  something can be heard, `sounds/`. Of several checkpoints there is a row each,
  and last the mean with its interval over these, where `checkpoint` is None;
  pictures and sounds are of the first one.

  Args:
    config: as `configs/generate.py` gives it.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for anything that the user can mend.
  """
  paths = check(config)
  models = {path: load(path) for path in paths}
  train, test = (
    sources.source(config.data, "clips", split)
    for split in ("train", config.split)
  )
  for path, model in models.items():  # what can be refused is refused first
    for each in (train, test):
      targets(config, path, model, each)
    generators.kept(config, model)
  workdirs.claim(workdir, build.as_json(config))
  began, rows = time.perf_counter(), []
  for path, model in models.items():
    parts = [generators.encoded(config, model, each) for each in (train, test)]
    shown = []
    for i, target in enumerate(targets(config, path, model, test)):
      key = jax.random.fold_in(jax.random.key(config.seed), i)
      say = functools.partial(_say, console, f"{path}: {target}", config)
      learned = generators.learn(config, model, target, parts, key, say)
      made = generators.make(config, model, target, parts[1], learned, key)
      found = _judged(config, target, parts[1], learned, made)
      rows += [{"checkpoint": path, **row._asdict()} for row in found]
      shown.append((target, learned, made))
    if path == paths[0]:
      _show(config, workdir, parts[1], shown)
  results = {
    "checkpoints": paths,
    "split": config.split,
    "seconds": round(time.perf_counter() - began, 1),
    "rows": rows + retrieve.means(rows, len(paths)),
    "config": build.as_json(config),
  }
  text, written = tables.generation(results), "samples.png and .pdf"
  retrieve.write(results, text, workdir, console, f", {written}")
  return results


def _judged(config, target, test: Split, learned, made):
  real = generators.things({"": learned.x}, test.label, learned.judge)[""]
  return table.rows(
    target,
    generators.things(made, test.label, learned.judge),
    real,
    learned.known,
    learned.judge,
    at=config.at,
    seed=config.seed,
  )


def _say(console, what, config, steps, loss):
  if steps == config.flow.steps or steps % 500 == 0:
    console.print(
      f"{what}: step {steps} of {config.flow.steps}, loss {loss:.3f}",
      soft_wrap=True,
    )


def check(config: Config) -> list[str]:
  """The checkpoints; raises InputError for what no part below would explain."""
  paths = retrieve.checkpoints(config)
  if config.split not in retrieve.SPLITS[1:]:
    raise InputError(
      f"split={config.split!r} is not one of {retrieve.SPLITS[1:]}"
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
  return paths


def targets(
  config: Config, path: str, model: Tokenizer, source: Source
) -> tuple[str, ...]:
  """Modalities to make: those asked for, or all that can be shown."""
  where = f"data.source={config.data.source}"
  if not len(source):
    raise InputError(f"{where}: a split has no samples")
  fine = model.settings["fine"]
  known = getattr(source, "raw", dict)()
  names = config.targets or tuple(m for m in fine if m in known)
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
  if config.label not in source[0]["labels"]:
    raise InputError(
      f"label={config.label}: the data has {', '.join(source[0]['labels'])}"
    )
  shape = source[0]["labels"][config.label].shape
  if shape not in ((), *((len(known[m].at(0)),) for m in names)):
    raise InputError(
      f"label={config.label} has shape {shape}: a class of a sample, or of each"
      " of its steps, is wanted"
    )
  return names


def _show(config, workdir, test: Split, shown) -> None:
  """Draws some samples, and writes what can be heard."""
  row_R = chosen(test.label, config.drawn)
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
