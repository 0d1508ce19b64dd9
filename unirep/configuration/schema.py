"""Settings against what keys and values there are: `ranges`."""

import difflib
from collections.abc import Mapping
from typing import Any

from unirep.configuration import keys, types
from unirep.configuration.types import ANY, OTHERS, Many, Maybe, Number, Section
from unirep.runtime.errors import InputError

SHOWN = 60  # characters of a value
DEPTH = 20  # of sections; none of ours has more than three


def check(settings: Mapping[str, Any], *, recorded: bool = False) -> None:
  """Raises InputError for what no job could mean.

  That is a key that there is not, or that is missing; a value of another type,
  not finite, or out of range. The message names key, value and what is allowed.

  Args:
    settings: plain values, in sections; `job` says whose.
    recorded: whether a run, maybe an older one, has written them: keys may be
      missing, or be others.
  """
  job = settings.get("job")
  if not isinstance(job, str) or job not in keys.KEYS:
    name = _shown(job) if "job" in settings else "missing"
    raise InputError(f"job={name}; there are {', '.join(keys.KEYS)}")
  known = {"job": str, **keys.KEYS[job](settings)}
  _section("", settings, known, recorded)


def _section(name: str, found: Any, known: Section, recorded: bool) -> None:
  if not isinstance(found, Mapping):
    raise InputError(f"{name}={_shown(found)} must be a section of keys")
  prefix = f"{name}." if name else ""
  names = [key for key in known if key not in (ANY, OTHERS)]
  for key in names:
    if not (recorded or key in found or isinstance(known[key], Maybe)):
      raise InputError(f"the configuration lacks the key {prefix}{key}")
  for key, value in found.items():
    if key in names:
      kind = known[key]
      _value(f"{prefix}{key}", value, getattr(kind, "kind", kind), recorded)
    elif ANY in known:
      _value(f"{prefix}{key}", value, known[ANY], recorded)
    elif OTHERS in known or recorded:
      _plain(f"{prefix}{key}", value)
    else:
      raise InputError(
        f"the configuration has no key {prefix}{key}; {_like(key, names)}"
      )


def _like(key: Any, names: list[str]) -> str:
  near = difflib.get_close_matches(str(key), names, 3, 0.5)
  if near:
    return f"did you mean {' or '.join(near)}?"
  return f"there are {', '.join(names)}"


def _value(key: str, value: Any, kind: Any, recorded: bool) -> None:
  if isinstance(kind, Mapping):
    _section(key, value, kind, recorded)
  elif isinstance(kind, Number):
    if not _fits(value, kind):
      raise InputError(f"{key}={_shown(value)} must be {_words(kind)}")
  elif isinstance(kind, Many):
    if not isinstance(value, list | tuple) or len(value) > types.MOST:
      what = f"a tuple of at most {types.MOST} values"
      raise InputError(f"{key}={_shown(value)} must be {what}")
    for i, part in enumerate(value):
      _value(f"{key}[{i}]", part, kind.each, recorded)
  elif kind is None:
    _plain(key, value)
  elif not isinstance(value, kind):
    what = {str: "text", bool: "True or False"}[kind]
    raise InputError(f"{key}={_shown(value)} must be {what}")
  elif kind is str:
    _text(key, value)


def _fits(value: Any, kind: Number) -> bool:
  classes = int if kind.whole else int | float
  if isinstance(value, bool) or not isinstance(value, classes):
    return False
  low = value > kind.low if kind.above else value >= kind.low
  high = value < kind.high if kind.below else value <= kind.high
  return low and high  # neither holds for NaN


def _words(kind: Number) -> str:
  what = "a whole number" if kind.whole else "a number"
  low = "above" if kind.above else "at least"
  high = "below" if kind.below else "at most"
  return f"{what}, {low} {kind.low:.10g} and {high} {kind.high:.10g}"


def _text(key: str, value: str) -> None:
  if "\0" in value or len(value) > types.LONGEST_TEXT:
    raise InputError(
      f"{key}={_shown(value)} must be text without NUL, of at most "
      f"{types.LONGEST_TEXT} characters"
    )


def _plain(key: str, value: Any, depth: int = 0) -> None:
  """What may stand at a key that is none of ours."""
  if isinstance(value, str):
    _text(key, value)
  elif isinstance(value, Mapping | list | tuple):
    if depth > DEPTH:
      raise InputError(f"{key} is too deep")
    whole = isinstance(value, Mapping)
    for name, part in value.items() if whole else enumerate(value):
      _plain(f"{key}.{name}" if whole else f"{key}[{name}]", part, depth + 1)
  elif isinstance(value, int | float):
    if not abs(value) <= 2**63:  # nor is NaN
      raise InputError(f"{key}={_shown(value)} must be finite")
  elif value is not None:
    raise InputError(f"{key}={_shown(value)} must be a plain value")


def _shown(value: Any) -> str:
  try:
    text = repr(value)
  except ValueError:  # an int of more digits than Python prints
    text = "a number of thousands of digits"
  return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
