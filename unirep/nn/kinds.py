"""Kinds of modalities: what a time step looks like, and which layers fit it.

A new kind is an entry here and its layers, wherever they are.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn

from unirep.nn import decoders, encoders


class Kind(NamedTuple):
  """What the rest of the library must know of a kind.

  Attributes:
    axes: of a time step's features, the width F last.
    least: smallest size of each axis but the width.
    pool: (how, dtype) -> the layer that makes a vector of a time step; None
      where it is one.
    attends: whether tokens attend over time.
    specific: (width, dtype) -> the specific encoder.
    decoder: (width, dtype) -> its inverse, with codes beside.
  """

  axes: tuple[str, ...]
  least: tuple[int, ...]
  pool: Callable[..., nn.Module] | None
  attends: bool
  specific: Callable[..., nn.Module]
  decoder: Callable[..., nn.Module]


KINDS = {
  # Maps, such as those of a convolutional network: two 3 x 3 convolutions
  # without padding must fit.
  "grid": Kind(
    axes=("H", "W", "F"),
    least=(5, 5),
    pool=encoders.GridPool,
    attends=True,
    specific=encoders.GridSpecific,
    decoder=decoders.GridDecoder,
  ),
  "sequence": Kind(
    axes=("F",),
    least=(),
    pool=None,
    attends=True,
    specific=encoders.LinearSpecific,
    decoder=decoders.LinearDecoder,
  ),
  # Encoded step by step, also where there is one step only.
  "vector": Kind(
    axes=("F",),
    least=(),
    pool=None,
    attends=False,
    specific=encoders.LinearSpecific,
    decoder=decoders.LinearDecoder,
  ),
}
