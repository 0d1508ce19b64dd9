"""An extractor: what turns a segment of raw media into features.

Dimensions: N segments, H/W rows and columns of an image.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


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
  version: str
  takes: str
  shape: tuple[int, ...]
  rate: int | None
  window: float
  size: tuple[int, int] | None
  licence: str
  origin: str
  load: Callable[[], Loaded]
