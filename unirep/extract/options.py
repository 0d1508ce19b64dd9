"""Options behind the colon of an extractor's name: NAME:KEY=VALUE,KEY=VALUE."""

from typing import Any

from unirep.errors import InputError


def parse(name: str, argument: str, defaults: Any) -> Any:
  """Defaults with what an argument changes, in their types.

  Args:
    name: of the extractor, for errors.
    argument: "KEY=VALUE,KEY=VALUE", maybe empty.
    defaults: a NamedTuple of numbers.

  Raises:
    InputError: for an unknown key or no number.
  """
  known = defaults._asdict()
  for part in argument.split(",") if argument else ():
    key, _, value = part.partition("=")
    if key not in known:
      raise InputError(
        f"{name}:{argument}: {key!r} is no option; there are"
        f" {', '.join(f'{k}={v}' for k, v in known.items())}"
      )
    try:
      known[key] = type(known[key])(value)
    except ValueError as error:
      kind = type(known[key]).__name__
      raise InputError(
        f"{name}:{argument}: {key} must be {kind}, got {value!r}"
      ) from error
  return type(defaults)(**known)


def require(name: str, options: Any, **least: float) -> None:
  """Raises InputError for an option below the least that it may be."""
  for key, value in least.items():
    if not value <= getattr(options, key) < float("inf"):
      got = getattr(options, key)
      raise InputError(f"{name}: {key}={got} must be {value} or more")
