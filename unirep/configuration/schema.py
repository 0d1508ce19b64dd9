"""Settings against the packaged configurations: keys, types and bounds.

Keys and types are those of the packaged configurations of the same job, data
and method; bounds stand in `configs/_bounds.py`. A key that a preset gets is
known here at once.
"""

import difflib
import fnmatch
import functools
import importlib
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from unirep.configs import _bounds
from unirep.runtime.errors import InputError

JOBS = (
  "pretrain",
  "evaluate",
  "retrieve",
  "generate",
  "toc",
  "tokenize",
  "extract",
  "convert",
  "data",
)
SHOWN = 60  # characters of a value
DEPTH = 20  # of sections; none of ours has more than three
LONGEST_TEXT = 4096  # characters, as of a path
MOST = 10_000  # values of a tuple
# Section -> its key that decides the other keys of the section.
CHOOSERS = {"": "method", "data": "source", "codes": "rule"}
CHOOSERS |= {"loss.distribution": "kind"}
NAMED = ("encoders", "extractors", "shares")  # keys are names of modalities
EXTENDED = ("loss", "weights")  # a registry may have more than is packaged
RECORDED = ("identity", "extraction", "imported")  # added by runs
BOUND = re.compile(r"(\S+) (<=?) x (<=?) (\S+)")


class Number(NamedTuple):
  """A finite number from `low` to `high`.

  Attributes:
    low: the least.
    high: the largest.
    whole: no fraction, and no float.
    above: without `low` itself.
    below: without `high` itself.
  """

  low: float
  high: float
  whole: bool
  above: bool = False
  below: bool = False


class Section(NamedTuple):
  """The keys of a section.

  Attributes:
    keys: name -> Section, or the values that packaged configurations have.
    required: names that must be there.
    rest: the same of all other names; () for any plain value, None where there
      may be no others.
  """

  keys: Mapping[str, Any]
  required: frozenset[str]
  rest: Any


def check(settings: Mapping[str, Any], *, recorded: bool = False) -> None:
  """Raises InputError for settings that no job could mean.

  Those have an unknown or a missing key, or a value of another type, not
  finite, or out of range. The message names the key, its value and the range.

  Args:
    settings: plain values, in sections; `job` names the job.
    recorded: whether a run, maybe an older one, has written them: keys may be
      missing, or be others.
  """
  job = settings.get("job")
  if not isinstance(job, str) or job not in JOBS:
    name = _shown(job) if "job" in settings else "missing"
    raise InputError(f"job={name}; there are {', '.join(JOBS)}")
  data = settings.get("data")
  source = data.get("source") if isinstance(data, Mapping) else None
  variants = packaged(job, source if isinstance(source, str) else "")
  _check(settings, known("", variants, settings), "", recorded)


@functools.cache
def packaged(job: str, source: str) -> tuple[Mapping[str, Any], ...]:
  """The variants of a job's packaged configuration, as plain values.

  Args:
    job: its name.
    source: only those of this `data.source`, if there are any.
  """
  module = importlib.import_module(f"unirep.configs.{job}")
  choices = dict(getattr(module, "CHOICES", {}))
  choices.pop("size", None)  # the same keys
  if "data" in choices:
    fits = [
      name
      for name in choices["data"]
      if module.get_config(f"data={name}").data.source == source
    ]
    choices["data"] = fits or choices["data"]
  arguments = [
    ",".join(f"{k}={v}" for k, v in zip(choices, values, strict=True))
    for values in itertools.product(*choices.values())
  ]
  arguments += getattr(module, "VARIANTS", ())
  arguments += [f"data={name}" for name in getattr(module, "SETS", ())]
  return tuple(module.get_config(arg).to_dict() for arg in arguments)


def known(name: str, variants: Sequence[Any], given: Any) -> Section:
  """The keys of a section.

  Args:
    name: dotted, "" for the whole.
    variants: that section of packaged configurations.
    given: the section that is to be checked.
  """
  chooser, foreign = CHOOSERS.get(name, ""), False
  if isinstance(given, Mapping) and any(chooser in x for x in variants):
    same = [x for x in variants if x.get(chooser) == given.get(chooser)]
    foreign = not same  # an entry of a registry that we know nothing of
    variants = same or variants
  keys = {}
  for key in dict.fromkeys(itertools.chain(*variants)):
    values = [x[key] for x in variants if key in x]
    if all(isinstance(x, Mapping) for x in values):
      part = given.get(key) if isinstance(given, Mapping) else None
      keys[key] = known(f"{name}.{key}".lstrip("."), values, part)
    else:
      keys[key] = tuple(values)
  required = {key for key in keys if all(key in x for x in variants)}
  if foreign and name:
    return Section({chooser: ("",)}, frozenset({chooser}), ())
  if foreign:  # a method of the user's: its network may have other keys
    keys["model"] = keys["model"]._replace(rest=())
  rest = _alike(keys.values()) if name in (*NAMED, *EXTENDED) else None
  return Section(keys, frozenset(() if name in NAMED else required), rest)


def _alike(specs: Iterable[Any]) -> Any:
  """The one form of all entries; () where they differ."""
  specs = [*specs]
  if all(isinstance(x, Section) for x in specs):
    same = len({frozenset(x.keys) for x in specs}) == 1
    return specs[0] if same else ()
  return tuple(itertools.chain(*specs))


def _check(given: Any, spec: Any, key: str, recorded: bool) -> None:
  if isinstance(spec, Section):
    _section(given, spec, key, recorded)
  elif spec == () or None in spec:
    _plain(key, given)
  elif isinstance(spec[0], list | tuple):
    _tuple(given, spec, key)
  else:
    _leaf(given, spec, key)


def _section(given: Any, spec: Section, name: str, recorded: bool) -> None:
  if not isinstance(given, Mapping):
    raise InputError(f"{name}={_shown(given)} must be a section of keys")
  prefix = f"{name}." if name else ""
  for key in spec.keys:  # in their order
    if not recorded and key in spec.required and key not in given:
      raise InputError(f"the configuration lacks the key {prefix}{key}")
  for key, value in given.items():
    if key in spec.keys:
      _check(value, spec.keys[key], f"{prefix}{key}", recorded)
    elif spec.rest is not None:
      _check(value, spec.rest, f"{prefix}{key}", recorded)
    elif recorded or (not name and key in RECORDED):
      _plain(f"{prefix}{key}", value)
    else:
      raise InputError(
        f"the configuration has no key {prefix}{key};"
        f" {_like(key, [*spec.keys])}"
      )


def _tuple(given: Any, spec: Sequence[Any], key: str) -> None:
  if not isinstance(given, list | tuple) or len(given) > MOST:
    raise InputError(
      f"{key}={_shown(given)} must be a tuple of at most {MOST} values"
    )
  values = tuple(itertools.chain(*spec))
  if not values:
    values = (0,) if bound(key) else ("",)
  for i, part in enumerate(given):
    _leaf(part, values, key, f"{key}[{i}]")


def _leaf(given: Any, values: Sequence[Any], key: str, shown: str = "") -> None:
  shown = shown or key
  if any(isinstance(x, bool) for x in values):
    if not isinstance(given, bool):
      raise InputError(f"{shown}={_shown(given)} must be True or False")
  elif all(isinstance(x, int | float) for x in values):
    number = range_of(key, values)
    if not _fits(given, number):
      raise InputError(f"{shown}={_shown(given)} must be {_words(number)}")
  elif isinstance(given, str):
    _text(shown, given)
  else:
    raise InputError(f"{shown}={_shown(given)} must be text")


def range_of(key: str, values: Sequence[Any]) -> Number:
  """The range of the numbers of a key.

  Args:
    key: dotted.
    values: its numbers in packaged configurations.
  """
  whole = all(isinstance(x, int) for x in values)
  text = bound(key)
  if text is None:
    least = min(values)
    low = 1 if whole and least >= 1 else min(0, math.floor(least))
    return Number(low, 2**31 - 1 if whole else 1e9, whole)
  match = BOUND.fullmatch(text)
  assert match, f"{key}: {text}"
  low, above, below, high = match.groups()
  return Number(float(low), float(high), whole, above == "<", below == "<")


def bound(key: str) -> str | None:
  """The range that `configs/_bounds.py` gives a key."""
  return next(
    (x for p, x in _bounds.BOUNDS.items() if fnmatch.fnmatchcase(key, p)), None
  )


def _like(key: Any, names: list[str]) -> str:
  near = difflib.get_close_matches(str(key), names, 3, 0.5)
  if near:
    return f"did you mean {' or '.join(near)}?"
  return f"there are {', '.join(names)}"


def _fits(value: Any, number: Number) -> bool:
  classes = int if number.whole else int | float
  if isinstance(value, bool) or not isinstance(value, classes):
    return False
  low = value > number.low if number.above else value >= number.low
  high = value < number.high if number.below else value <= number.high
  return low and high  # neither holds for NaN


def _words(number: Number) -> str:
  kind = "a whole number" if number.whole else "a number"
  low = "above" if number.above else "at least"
  high = "below" if number.below else "at most"
  return f"{kind}, {low} {number.low:.10g} and {high} {number.high:.10g}"


def _text(key: str, value: str) -> None:
  if "\0" in value or len(value) > LONGEST_TEXT:
    raise InputError(
      f"{key}={_shown(value)} must be text without NUL, of at most "
      f"{LONGEST_TEXT} characters"
    )


def _plain(key: str, value: Any, depth: int = 0) -> None:
  """Checks a value that has no form of its own: plain, finite, not too deep."""
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
