"""Windows of a numeric series, as features."""

from typing import NamedTuple

from unirep.extract.extractor import Extractor, Loaded, means, parse, require
from unirep.runtime.errors import InputError


class Sensor(NamedTuple):
  """What a series is, and what is left of a segment.

  Attributes:
    rate: samples a second.
    channels: numbers of a sample.
    parts: in how many equal parts of a segment samples are averaged; as many
      as a segment has samples keep all of them.
  """

  rate: int = 50
  channels: int = 0
  parts: int = 5


def extractor(argument: str = "") -> Extractor:
  """The channels of each part of a segment, one behind the other."""
  how: Sensor = parse("sensor", argument, Sensor())
  if not how.channels:
    raise InputError(
      "sensor: how many numbers has a sample? write sensor:rate=50,channels=6"
    )
  require("sensor", how, rate=1, channels=1, parts=1)

  def run(series_NxSxC):
    return means(series_NxSxC, how.parts, "sensor samples")

  return Extractor(
    name=f"sensor:{argument}",
    takes="series",
    shape=(how.parts * how.channels,),
    rate=how.rate,
    load=lambda: Loaded(run, ""),
  )
