"""Kinds of modalities: the shape of a time step, and layers that fit it.

To add a kind, write its layers anywhere and add an entry here.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn

from unirep.nn import decoders, encoders


class Kind(NamedTuple):
  """The description of a kind.

  Attributes:
    axes: names of the axes of a time step's features, the width F last.
    least: smallest size of each axis but the width.
    pool: (how, dtype) -> layer that makes a vector of a time step's features;
      None if they are a vector already.
    attends: whether tokens attend over time.
    specific: (width, dtype) -> specific encoder.
    decoder: (width, dtype) -> decoder of codes and specific features.
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
