"""Windows of a numeric series, as features."""

from typing import NamedTuple

from unirep.extract.extractor import Extractor, Loaded, means, parse, require
from unirep.runtime.errors import InputError


class Sensor(NamedTuple):
  """Options of the extractor.

  Attributes:
    rate: samples a second.
    channels: numbers in a sample.
    parts: equal parts of a segment, over each of which samples are averaged;
      with one part for each sample all samples are kept.
  """

  rate: int = 50
  channels: int = 0
  parts: int = 5


def extractor(argument: str = "") -> Extractor:
  """Means of all channels over each part of a segment, concatenated."""
  options: Sensor = parse("sensor", argument, Sensor())
  if not options.channels:
    raise InputError(
      "sensor: how many numbers has a sample? write sensor:rate=50,channels=6"
    )
  require("sensor", options, rate=1, channels=1, parts=1)

  def run(series_NxSxC):
    return means(series_NxSxC, options.parts, "sensor samples")

  return Extractor(
    name=f"sensor:{argument}",
    takes="series",
    shape=(options.parts * options.channels,),
    rate=options.rate,
    load=lambda: Loaded(run, ""),
  )
