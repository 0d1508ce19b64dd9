"""An extractor: what turns a segment of raw media into features.

Dimensions: N segments, H/W rows and columns of an image.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from unirep.runtime.errors import InputError


class Loaded(NamedTuple):
  """An extractor that is ready to run.

  Attributes:
    run: what computes features, finite float32, of any N >= 1 inputs. What
      comes out for one input depends on no other. By what it takes:
      waveform: (N, samples) float32 in -1..1 -> (N, *shape);
      image: (N, H, W, 3) uint8, RGB -> (N, *shape);
      text: N strings, none empty -> N arrays (words, width), words >= 1;
      series: (N, samples, channels) float32 -> (N, *shape).
    sha256: of its weights, "" without any.
  """

  run: Callable[[Any], Any]
  sha256: str


class Extractor(NamedTuple):
  """A kind of features, and how to get them.

  Attributes:
    name: in the registry, with its argument ("onnx:FILE").
    version: another one where its numbers change.
    takes: "waveform", "image", "text" or "series".
    shape: of the output for one segment, or for one word of a text:
      (1024,) or (7, 7, 320).
    rate: samples a second that a waveform or series must have; None for a
      series that is taken as it is.
    window: least seconds of a waveform that one output looks at, around the
      segment's middle; 0 for the segment alone.
    size: height and width of the images that it takes, None if it takes none.
    licence: of its weights, "" without any.
    origin: where its weights come from, or "none".
    load: opens the weights, in the process that is to run it.
      Raises InputError, one line that names the file or package, without them.
  """

  name: str
  takes: str
  shape: tuple[int, ...]
  load: Callable[[], Loaded]
  version: str = "1"
  rate: int | None = None
  window: float = 0.0
  size: tuple[int, int] | None = None
  licence: str = ""
  origin: str = "none"


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


def means(x_NxSxF: np.ndarray, parts: int, what: str) -> np.ndarray:
  """The mean of each of `parts` equal parts of time: (N, parts * F).

  Raises:
    InputError: for fewer samples than parts.
  """
  N, S, _ = x_NxSxF.shape
  if parts > S:
    raise InputError(f"{what}: a segment has {S} of them for parts={parts}")
  edges = np.arange(parts + 1) * S // parts
  cut = [x_NxSxF[:, a:b].mean(1) for a, b in itertools.pairwise(edges)]
  return np.stack(cut, 1).reshape(N, -1)
