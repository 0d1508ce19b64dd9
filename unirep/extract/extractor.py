"""Extractors: functions from segments of raw media to features.

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
    run: a function of N >= 1 inputs to features, finite float32. Features of
      one input depend on no other input. By the kind of input:
      waveform: (N, samples) float32 in -1..1 -> (N, *shape);
      image: (N, H, W, 3) uint8, RGB -> (N, *shape);
      text: N strings, none empty -> N arrays (words, width), words >= 1;
      series: (N, samples, channels) float32 -> (N, *shape).
    sha256: of the weights; "" if it has none.
  """

  run: Callable[[Any], Any]
  sha256: str


class Extractor(NamedTuple):
  """A kind of features, and the function that computes them.

  Attributes:
    name: the name in the registry, with its argument ("onnx:FILE").
    takes: "waveform", "image", "text" or "series".
    shape: of the features of one segment, or of one word of a text:
      (1024,) or (7, 7, 320).
    load: opens the weights, in the process that runs the extractor. Raises
      InputError, one line that names the file or package, if they are missing.
    version: changes whenever the numbers of the features change.
    rate: samples a second that a waveform or series must have; None for a
      series of any rate.
    window: seconds of a waveform that the features of a segment need at least,
      around its middle; 0 for the segment alone.
    size: height and width of the images; None for other inputs.
    licence: of the weights; "" if there are none.
    origin: of the weights, or "none".
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
  """Options of an extractor: the defaults, changed by its argument.

  Args:
    name: the extractor, for errors.
    argument: "KEY=VALUE,KEY=VALUE", maybe empty.
    defaults: a NamedTuple of numbers. Values get the types of these.

  Raises:
    InputError: for an unknown key, or a value that is no number.
  """
  values = defaults._asdict()
  for part in argument.split(",") if argument else ():
    key, _, value = part.partition("=")
    if key not in values:
      raise InputError(
        f"{name}:{argument}: {key!r} is no option; there are"
        f" {', '.join(f'{k}={v}' for k, v in values.items())}"
      )
    try:
      values[key] = type(values[key])(value)
    except ValueError as error:
      kind = type(values[key]).__name__
      raise InputError(
        f"{name}:{argument}: {key} must be {kind}, got {value!r}"
      ) from error
  return type(defaults)(**values)


def require(name: str, options: Any, **least: float) -> None:
  """Raises InputError for an option below its least value."""
  for key, value in least.items():
    if not value <= getattr(options, key) < float("inf"):
      got = getattr(options, key)
      raise InputError(f"{name}: {key}={got} must be {value} or more")


def means(x_NxSxF: np.ndarray, parts: int, name: str) -> np.ndarray:
  """Means over each of `parts` equal parts of time, (N, parts * F).

  Args:
    x_NxSxF: S samples of F numbers for each of N segments.
    parts: at most S.
    name: of the samples, for errors.

  Raises:
    InputError: for more parts than samples.
  """
  N, S, _ = x_NxSxF.shape
  if parts > S:
    raise InputError(f"{name}: a segment has {S} of them for parts={parts}")
  edges = np.arange(parts + 1) * S // parts
  cut = [x_NxSxF[:, a:b].mean(1) for a, b in itertools.pairwise(edges)]
  return np.stack(cut, 1).reshape(N, -1)
