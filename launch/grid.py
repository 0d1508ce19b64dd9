"""The runs of a sweep: their overrides, names and work directories."""

import hashlib
import importlib.util
import itertools
import json
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import absl.flags
from ml_collections import config_flags

from unirep.cli import settings
from unirep.configuration import schema
from unirep.jobs import workdir as workdir_lib
from unirep.runtime.errors import InputError, first_line

CONFIG = "configs/pretrain.py"  # the default configuration
ITS_OWN = ("config", "name")  # keys of a run, not of its configuration
LONGEST_NAME = 120  # in characters; file systems allow 255 bytes
RESULTS = {  # job -> the file that it writes last
  "pretrain": workdir_lib.SUMMARY,
  "evaluate": "results.json",
  "retrieve": "results.json",
  "toc": "toc.json",
}


class Run(NamedTuple):
  """One run of a sweep.

  Attributes:
    name: of the work directory within that of the sweep.
    overrides: the keys and values of the sweep's file.
    command: arguments for `unirep.main`.
    workdir: the work directory.
    result: the file in the work directory that a finished run has.
    seed: of the configuration, if it has one.
    variant: a name that runs share which differ in the seed alone: "name" of
      the overrides, or those overrides that not all runs of the sweep share.
  """

  name: str
  overrides: Mapping[str, Any]
  command: tuple[str, ...]
  workdir: pathlib.Path
  result: str
  seed: int | None
  variant: str = ""

  def finished(self) -> bool:
    """Whether the results exist."""
    return (self.workdir / self.result).exists()


def grid(**values: Iterable[Any]) -> list[dict[str, Any]]:
  """Every combination, the last key fastest.

  Dotted keys come through a mapping: `grid(seed=[0, 1], **{"a.b": [2, 3]})`.
  """
  return [
    dict(zip(values, x, strict=True))
    for x in itertools.product(*values.values())
  ]


def name(overrides: Mapping[str, Any]) -> str:
  """The name of a run: readable, and independent of the order of overrides.

  Characters that file names should not have become `_`. Such a name, or one
  that would be too long, ends in a digest of the overrides, to be unique.
  """
  config, _, variant = str(overrides.get("config", CONFIG)).partition(":")
  if "name" in overrides:
    seed = [f"seed={overrides['seed']}"] if "seed" in overrides else []
    whole = _safe(",".join([str(overrides["name"]), *seed]))
    if len(whole) <= LONGEST_NAME:
      return whole  # the user's own name; `load` refuses equal ones
  items = [f"{k}={v}" for k, v in sorted(overrides.items()) if k not in ITS_OWN]
  if variant or config != CONFIG or not items:
    items = [pathlib.PurePath(config).stem, *filter(None, [variant]), *items]
  whole = ",".join([*map(str, filter(None, [overrides.get("name")])), *items])
  safe = _safe(whole)
  if safe == whole and len(safe) <= LONGEST_NAME:
    return safe
  text = json.dumps(sorted((k, str(v)) for k, v in overrides.items()))
  digest = hashlib.sha256(text.encode()).hexdigest()[:8]
  return f"{safe[: LONGEST_NAME - 9]}-{digest}"


def _safe(text: str) -> str:
  return re.sub(r"[^\w.,=+-]+", "_", text, flags=re.ASCII)


def variants(runs: Sequence[Run]) -> list[Run]:
  """Adds the names of variants to runs.

  Raises:
    InputError: if two runs of a variant have the same seed.
  """
  common = set.intersection(*({*_items(run)} for run in runs))
  named: dict[tuple[str, int | None], Run] = {}
  for run in runs:
    own = [f"{k}={v}" for k, v in _items(run) if (k, v) not in common]
    variant = str(run.overrides.get("name", ", ".join(own) or "default"))
    if (variant, run.seed) in named:
      raise InputError(f"two runs of {variant!r} have the seed {run.seed}")
    named[variant, run.seed] = run._replace(variant=variant)
  return [*named.values()]


def _items(run):
  """Overrides except the seed and the name, as text."""
  return [
    (k, str(v)) for k, v in run.overrides.items() if k not in ("seed", "name")
  ]


def load(path: pathlib.Path, root: pathlib.Path) -> list[Run]:
  """The runs of a sweep's file, in its order.

  Args:
    path: a Python file. Its `get_sweep()` returns a mapping for each run, from
      dotted keys of the configuration to values. The key `config` is the file
      of the configuration, maybe with `:variant`, and `name` names the variant.
    root: the sweep's work directory.

  Raises:
    InputError: for a missing file, a file that fails, an invalid run, runs of
      equal names or seeds, an empty sweep, or a work directory that holds a run
      of the same name with other settings.
  """
  runs: dict[str, Run] = {}
  for index, overrides in enumerate(_read(path)):
    if not isinstance(overrides, Mapping):
      raise InputError(f"{path}: run {index} is {overrides!r}, not a mapping")
    run = _run(overrides, root)
    if run.name in runs:
      raise InputError(f"{path}: two runs have the name {run.name}")
    runs[run.name] = run
  if not runs:
    raise InputError(f"{path}: the sweep is empty")
  try:
    return variants([*runs.values()])
  except InputError as error:
    raise InputError(f"{path}: {error}") from error


def _read(path: pathlib.Path) -> list[Any]:
  if not path.is_file():
    raise InputError(f"--sweep={path} is no file")
  spec = importlib.util.spec_from_file_location("sweep_file", path)
  if spec is None or spec.loader is None:
    raise InputError(f"--sweep={path} is no Python file")
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
    return list(module.get_sweep())
  except (Exception, SystemExit) as error:  # the user's lines raise all kinds
    line = f"{type(error).__name__}: {first_line(error)}"
    raise InputError(f"{path}: {line}") from error


def _run(overrides: Mapping[str, Any], root: pathlib.Path) -> Run:
  arguments = [f"--config={overrides.get('config', CONFIG)}"]
  for key, value in overrides.items():
    if key not in ITS_OWN:
      arguments.append(f"--config.{key}={value}")
  if not str(overrides.get("name", "-")).strip(" ."):
    raise InputError(f"name={overrides['name']!r} is no name")
  called = name(overrides)
  config = _resolve(arguments, called)
  if config.get("job") not in RESULTS:
    raise InputError(
      f"{called}: job={config.get('job')!r} has no results to compare; sweeps "
      f"are of {', '.join(RESULTS)}"
    )
  try:
    schema.check(json.loads(config.to_json()))
  except InputError as error:
    raise InputError(f"{called}: {error}") from error
  place = root / called
  workdir_lib.check(place, json.loads(config.to_json()))
  arguments.append(f"--workdir={place}")
  return Run(
    name=called,
    overrides=overrides,
    command=tuple(arguments),
    workdir=place,
    result=RESULTS[config.job],
    seed=config.get("seed"),
  )


def _resolve(arguments: list[str], called: str) -> Any:
  """The configuration of a run, read as `unirep.main` reads it."""
  values = absl.flags.FlagValues()
  argv = [sys.argv[0], *arguments]
  config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
  try:
    settings.resolve(values, argv)
  except InputError as error:
    raise InputError(f"{called}: {error}") from error
  return values.config
