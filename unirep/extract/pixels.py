"""Pixels of a small image, as features.

Dimensions: N images, H/W rows and columns, 3 colours.
"""

from typing import NamedTuple

import numpy as np

from unirep.extract.extractor import Extractor, Loaded, parse, require


class Size(NamedTuple):
  """Options of the extractor: rows and columns of the grid."""

  height: int = 8
  width: int = 8


def extractor(argument: str = "") -> Extractor:
  """A grid of colours in 0..1."""
  size: Size = parse("pixels", argument, Size())
  require("pixels", size, height=1, width=1)

  def run(image_NxHxWx3):
    return image_NxHxWx3.astype(np.float32) / 255

  return Extractor(
    name=f"pixels:{argument}" if argument else "pixels",
    takes="image",
    shape=(*size, 3),
    size=(size.height, size.width),
    load=lambda: Loaded(run, ""),
  )
