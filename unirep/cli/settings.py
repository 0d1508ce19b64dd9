"""Configurations by name, and changes of their keys.

No flag of the program is defined here: a notebook has others.
"""

import ast
import contextlib
import hashlib
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from unirep.cli import help
from unirep.runtime.errors import InputError, first_line

KEY = re.compile(r"config(\.[^\W\d]\w*|\[[^]]*\])+")


def config(name: str | pathlib.Path, /, **changes: Any) -> ConfigDict:
  """A configuration by name, with changed keys.

  Args:
    name: as for --config: `configs/pretrain.py:data=digits`, or
      `pretrain:data=digits` for one that comes with the package.
    **changes: keys and values; a key of a part is written `part.key`, or the
      part is a dict of those that change.

  Raises:
    InputError: for a file or key that is not there, or a value of another type.
  """
  if not isinstance(name, str | pathlib.Path):
    raise InputError(f"{name!r} is no name of a configuration")
  values, argv = flags.FlagValues(), ["unirep", f"--config={name}"]
  # The arguments of the program are not ours.
  config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)
  resolve(values, argv)
  made: Any = values["config"].value
  return changed(made, changes)


def changed(made: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
  """The configuration with other values of some keys; it is no copy.

  Raises:
    InputError: for a key that it lacks, or a value of another type.
  """
  for name, value in changes.items():
    *parts, last = name.split(".")
    part: Any = made
    for depth, key in enumerate([*parts, last]):
      if not isinstance(part, ConfigDict) or key not in part:
        raise InputError(f"the configuration has no key {name}")
      part = part[key] if depth < len(parts) else part
    old, value = part[last], _plain(value)
    if isinstance(old, ConfigDict):
      if not isinstance(value, Mapping):
        raise InputError(f"{name}={value!r}: a dict of its keys is wanted")
      changed(part, {f"{last}.{key}": x for key, x in value.items()})
      continue
    number = isinstance(old, int | float) and not isinstance(old, bool)
    if (value is None) > (old is None) or (number and isinstance(value, bool)):
      raise InputError(f"{name}={value!r}: {old!r} is of another type")
    try:
      part[last] = value
    except (TypeError, ValueError, OverflowError) as error:
      raise InputError(f"{name}={value!r}: {first_line(error)}") from error
  return made


def _plain(value: Any) -> Any:
  """Paths as text, NumPy's scalars as Python's, alone or in a sequence."""
  if isinstance(value, list | tuple):
    return tuple(_plain(x) for x in value)
  if isinstance(value, pathlib.PurePath):
    return str(value)
  return value.item() if isinstance(value, np.generic) else value


def resolve(values: flags.FlagValues, argv: list[str]) -> list[str]:
  """Parses `argv` into `values`, which have a `config`; returns the rest.

  Raises:
    InputError: in one line, for flags that absl or ml_collections refuse, and
      for any error that a configuration's own lines raise.
  """
  name = help.named(argv)
  argv = help.located(argv)
  _check_arguments(argv, name)
  sys.modules.pop("config_config", None)  # of a file that was read before
  before = logging.get_verbosity()
  logging.set_verbosity(logging.FATAL)  # the error has it as well
  try:
    rest = values(argv)
    config: Any = values["config"].value
    if config is None:
      raise InputError(
        "no configuration; name one with --config"
        if values["config"].using_default_value and not name
        else f"{name}: its get_config gives None; it lacks a return"
      )
    _ = config.keys()  # a file that is missing says so only when read
    if not isinstance(config, ConfigDict):
      kind = type(config).__name__
      raise InputError(f"{name}: its get_config gives a {kind}, no ConfigDict")
    return rest
  except InputError:
    raise
  except (Exception, SystemExit) as error:
    line = _refusal(error, name, help.named(argv).partition(":")[0])
    if line is None:
      raise
    raise InputError(line) from error
  finally:
    logging.set_verbosity(before)


def _check_arguments(argv: list[str], name: str) -> None:
  """Refuses arguments that both packages would refuse less clearly."""
  located = help.named(argv)
  if name and not os.path.isfile(located.partition(":")[0]):
    raise InputError(f"--config={located}: there is no such file")
  for argument in argv[1:]:
    key = argument.partition("=")[0].lstrip("-")
    if key.startswith("config.") and not KEY.fullmatch(key):
      raise InputError(f"{argument}: {key} is no key of a configuration")


def _refusal(error: BaseException, name: str, path: str) -> str | None:
  """The error and its place in one line; None if it isn't the user's."""
  whole = error
  while before := whole.__cause__ or whole.__context__:
    whole = before  # both packages wrap exceptions
  trace = traceback.extract_tb(whole.__traceback__)
  rows = [frame.lineno for frame in trace if frame.filename == path]
  said = f"{type(whole).__name__}: {first_line(whole)}"
  if isinstance(whole, SyntaxError):
    return f"{name}, row {whole.lineno or 1}: {whole.msg}"
  if rows and isinstance(whole, ValueError) and _packaged(path):
    return f"--config={name}: {first_line(whole)}"  # an unknown variant
  if rows:
    return f"{name}, row {rows[-1]}: {said}"
  if isinstance(whole, AttributeError) and "get_config" in str(whole):
    return f"{name} has no function get_config"
  if isinstance(error, flags.Error) and "whilst parsing config" in str(error):
    return f"{name}: {said}"
  if isinstance(error, flags.Error):
    return str(error)
  if isinstance(error, AttributeError | KeyError):  # how ml_collections says it
    key, *near = _unquoted(str(error)).splitlines()
    hint = "".join(f"; {x}" for x in near)
    return f"the configuration has no key {key}{hint}"
  if isinstance(error, Exception):
    return f"{name}: {said}"
  return None


def _unquoted(text: str) -> str:
  """A KeyError's text, which may have been quoted more than once."""
  with contextlib.suppress(ValueError, SyntaxError):
    while text[:1] in ("'", '"'):
      text = ast.literal_eval(text)
  return text


def _packaged(path: str) -> bool:
  place = (help.HERE / "configs").resolve()
  return place in pathlib.Path(path).resolve().parents


def default_workdir(text: str) -> pathlib.Path:
  """A place of its own for every configuration, given as JSON."""
  return pathlib.Path("runs") / hashlib.sha256(text.encode()).hexdigest()[:8]
