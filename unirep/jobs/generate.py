"""Generation: a modality is made from codes of others that it never saw."""

import functools
import pathlib
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from unirep import build, files, toc
from unirep import workdir as workdirs
from unirep.build import Config
from unirep.codes import Codes
from unirep.data import raw, sources
from unirep.data.raw import Raw
from unirep.data.sample import Source
from unirep.errors import InputError
from unirep.jobs import evaluate, gallery, retrieve, tables
from unirep.tasks.generation import baseline, flow, judge, table
from unirep.tasks.generation.flow import Flow
from unirep.tasks.generation.judge import Judge
from unirep.tasks.generation.table import DECODER, FLOW, MEAN, REAL, SHUFFLED
from unirep.tokenizer import Tokenizer, load

RIDGE_SAMPLES = 500  # of training, that the baseline is fit on


class Split(NamedTuple):
  """What a model makes of the samples of a split.

  Attributes:
    source: the samples.
    codes: theirs.
    label: (N, T) or (N,), what the judge tells apart.
  """

  source: Source
  codes: Codes
  label: np.ndarray


class Learned(NamedTuple):
  """What was learned to make one modality.

  Attributes:
    raw: of the split that is looked at.
    x: its samples (N, T, H, W, C).
    flow: see there.
    judge: see there.
    mean: of training samples, (T, H, W, C).
    decoder: the baseline.
  """

  raw: Raw
  x: np.ndarray
  flow: Flow
  judge: Judge
  mean: np.ndarray
  decoder: baseline.Decoder


def run(
  config: Config, workdir: pathlib.Path, console: Console | None = None
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
  console = console or Console()
  paths = check(config)
  models = {path: load(path) for path in paths}
  train, test = (_split(config, s) for s in ("train", config.split))
  for path, model in models.items():  # what can be refused is refused first
    targets(config, path, model, test)
    _kept(config, model)
  workdirs.claim(workdir, build.as_json(config))
  began, rows = time.perf_counter(), []
  for path, model in models.items():
    names = targets(config, path, model, test)
    parts = [_encoded(config, model, source) for source in (train, test)]
    shown = []
    for i, target in enumerate(names):
      key = jax.random.fold_in(jax.random.key(config.seed), i)
      say = functools.partial(_say, console, f"{path}: {target}", config)
      learned = _learn(config, model, target, parts, key, say)
      made = _made(config, model, target, parts[1], learned, key)
      found = table.rows(
        target,
        _things(made, parts[1].label, learned.judge),
        _things({"": learned.x}, parts[1].label, learned.judge)[""],
        learned.judge,
        at=config.at,
        seed=config.seed,
      )
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
  files.write_json(workdir / "results.json", results)
  text = tables.generation(results)
  with files.whole(workdir / "results.md") as part:
    part.write_text(text)
  console.print(text, soft_wrap=True, markup=False)
  console.print(
    f"results.json and .md, samples.png and .pdf are in {workdir}",
    soft_wrap=True,
  )
  return results


def check(config: Config) -> list[str]:
  """The checkpoints; raises InputError for what no part below would explain."""
  paths = retrieve.checkpoints(config)
  if config.split not in retrieve.SPLITS[1:]:
    raise InputError(
      f"split={config.split!r} is not one of {retrieve.SPLITS[1:]}"
    )
  least = {
    **{"flow.steps": 1, "flow.batch_size": 1, "flow.width": 1},
    **{"flow.blocks": 1, "judge.steps": 1, "sampling_steps": 1, "drawn": 1},
  }
  for name, number in least.items():
    value = functools.reduce(lambda x, key: x[key], name.split("."), config)
    if value < number:
      raise InputError(f"{name}={value} must be at least {number}")
  if config.toc.keep < 0:
    raise InputError(f"toc.keep={config.toc.keep} must not be negative")
  if config.flow.reach % 2 != 1:
    raise InputError(f"flow.reach={config.flow.reach} must be odd")
  if not 0 <= config.flow.drop < 1:
    raise InputError(f"flow.drop={config.flow.drop} must lie in 0..1")
  if not config.at or min(config.at) < 1:
    raise InputError(f"at={config.at} must be one or more numbers from 1")
  return paths


def targets(
  config: Config, path: str, model: Tokenizer, source: Source
) -> tuple[str, ...]:
  """Modalities to make: those asked for, or all that can be shown."""
  where = f"data.source={config.data.source}"
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


def _split(config, split) -> Source:
  return sources.source(config.data, "clips", split)


def _encoded(config, model: Tokenizer, source: Source) -> Split:
  codes = model.codes(source)
  return Split(source, codes, codes.labels[config.label])


def _say(console, what, config, steps, loss):
  if steps == config.flow.steps or steps % 500 == 0:
    console.print(
      f"{what}: step {steps} of {config.flow.steps}, loss {loss:.3f}",
      soft_wrap=True,
    )


def _classes(label) -> int:
  """How many; the last one of steps is background."""
  return int(label.max()) + (label.ndim == 1)


def _learn(config, model, target, parts, key, say) -> Learned:
  train, test = parts
  known = raw.of(train.source, target, "")
  x = raw.stack(known, len(train.source))
  trained = flow.train(
    jax.random.fold_in(key, 0),
    x,
    train.codes.idx[target],
    flow.told(model.codebook, _kept(config, model)),
    flow.Options(**config.flow),
    say,
  )
  real = table.things(x, train.label, _classes(train.label))
  return Learned(
    raw=raw.of(test.source, target, ""),
    x=raw.stack(raw.of(test.source, target, ""), len(test.source)),
    flow=trained,
    judge=judge.train(
      jax.random.fold_in(key, 1), real.x_UxHxWxC, real.label_U, **config.judge
    ),
    mean=x.mean((0, 1)),
    decoder=_decoder(model, target, train.source, x),
  )


def _kept(config, model) -> np.ndarray | None:
  """The dimensions that TOC keeps; None for all."""
  keep, code_KxD = config.toc.keep, model.codebook
  if not keep:
    return None
  try:
    toc.check_keep(keep, code_KxD.shape[1], tuple(config.toc.top_share))
  except ValueError as error:
    raise InputError(f"toc.keep={keep}: {error}") from error
  return evaluate.swept(config, code_KxD, [keep], model.awake)[0]


def _decoder(model, target, source, x) -> baseline.Decoder:
  count = min(RIDGE_SAMPLES, len(source))
  samples = (source[i]["features"][target] for i in range(count))
  like = np.stack([*samples])

  def features(idx_NxT):
    return model.decode(idx_NxT, target, like)

  return baseline.fit(features, like, x[:count])


def _made(
  config, model, target, test: Split, learned: Learned, key
) -> dict[tuple[str, str], np.ndarray]:
  """(way, whose codes) -> what becomes of them, (N, T, H, W, C)."""
  own_NxT = test.codes.idx[target]
  draw = functools.partial(
    flow.sample,
    learned.flow,
    jax.random.fold_in(key, 2),
    guidance=config.guidance,
    steps=config.sampling_steps,
  )
  made = {}
  order = [target, *(m for m in model.modalities if m != target)]
  told = {m: stepwise(test.codes.idx[m], own_NxT.shape[1]) for m in order}
  for m, idx_NxT in told.items():
    made[FLOW, m] = draw(idx_NxT)
    made[DECODER, m] = learned.decoder(idx_NxT)
  rng = np.random.default_rng(config.seed)
  shuffled = rng.permutation(own_NxT.reshape(-1)).reshape(own_NxT.shape)
  made[SHUFFLED, target] = draw(shuffled)
  made[MEAN, target] = np.broadcast_to(learned.mean, learned.x.shape)
  made[REAL, target] = learned.x
  return made


def stepwise(idx_NxT: np.ndarray, steps: int) -> np.ndarray:
  """Codes of so many steps: one code is that of all of them."""
  N, T = idx_NxT.shape
  if steps == T:
    return idx_NxT
  if T == 1:
    return np.broadcast_to(idx_NxT, (N, steps))
  raise InputError(f"codes of {T} steps can't say what {steps} steps are")


def _things(
  made: Mapping[Any, np.ndarray], label, judged: Judge
) -> dict[Any, table.Things]:
  classes = judged.network.classes
  return {key: table.things(x, label, classes) for key, x in made.items()}


def _show(config, workdir, test: Split, shown) -> None:
  """Draws some samples, and writes what can be heard."""
  row_R = chosen(test.label, config.drawn)
  at = {m: _at(test.label, row_R, learned.x) for m, learned, _ in shown}
  gallery.draw(workdir / "samples.png", test.source, shown, row_R, at)
  gallery.sounds(workdir / "sounds", shown, row_R)


def chosen(label: np.ndarray, count: int) -> np.ndarray:
  """Samples of as many classes as there are, spread over them."""
  kind_N = label if label.ndim == 1 else label.min(1)
  order_N = np.argsort(kind_N, kind="stable")
  place = np.linspace(0, len(order_N) - 1, min(count, len(order_N)))
  return order_N[place.round().astype(int)]


def _at(label, row_R, x):
  """The step of each sample that is drawn; all of them for whole samples."""
  if label.ndim == 1:
    return [slice(None)] * len(row_R)
  event = label < label.max()
  return [slice(t, t + 1) for t in event[row_R].argmax(1).tolist()]
