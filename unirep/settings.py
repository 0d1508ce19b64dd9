"""Configurations by name, and changes of their keys.

No flag of the program is defined here: a notebook has others.
"""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict, config_flags

from unirep import overview
from unirep.errors import InputError


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
  base, colon, variant = str(name).partition(":")
  if "/" not in base and not base.endswith(".py"):
    base = f"configs/{base}.py"
  values, argv = (
    flags.FlagValues(),
    ["unirep", f"--config={base}{colon}{variant}"],
  )
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
    except (TypeError, ValueError) as error:
      line = str(error).splitlines()[0]
      raise InputError(f"{name}={value!r}: {line}") from error
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
    InputError: for what absl or ml_collections refuse, in one line.
  """
  try:
    rest = values(overview.located(argv))
    config: Any = values["config"].value
    if config is None:
      raise InputError("no configuration; name one with --config")
    _ = config.keys()  # a file that is missing says so only when read
    return rest
  except (flags.Error, ValueError, TypeError, OSError) as error:
    line = str(error).splitlines()[-1].strip()  # after any traceback
  except (ImportError, SyntaxError) as error:
    line = f"the configuration cannot be read: {str(error).splitlines()[0]}"
  except (AttributeError, KeyError) as error:  # how ml_collections says it
    line = f"the configuration has no key {str(error).strip(chr(34))}"
  raise InputError(line)


def default_workdir(text: str) -> pathlib.Path:
  """A place of its own for every configuration, given as JSON."""
  return pathlib.Path("runs") / hashlib.sha256(text.encode()).hexdigest()[:8]
