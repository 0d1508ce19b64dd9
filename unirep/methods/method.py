"""The value that training sees of a method."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

Params = Mapping[str, Any]
Metrics = dict[str, jax.Array]


class Method(NamedTuple):
  """What is trained, as pure functions; `train` knows no more of it.

  Attributes:
    init: (key, batch) -> (params, codebook, side). The batch gives only shapes;
      `side` is the method's own state, a mapping that nothing else looks into.
    draw: (key, rows) -> the random choices of a step over a global batch of so
      many rows. The key is equal on all devices, so that these are too.
    loss: (params, codebook, side, batch, draws, keys_B, axis_name=) -> (total,
      Aux). The total is of the global batch, and so is its gradient.
    update: (codebook, places, draws, progress, axis_name=) -> (codebook,
      metrics), where progress is the share of training that is done.
  """

  init: Callable
  draw: Callable
  loss: Callable
  update: Callable


class Aux(NamedTuple):
  """What a loss leaves behind.

  Attributes:
    side: the method's own state after the step.
    places: what `Method.update` needs; it gets no gradient.
    metrics: name -> scalar of the global batch.
  """

  side: Params
  places: Any
  metrics: Metrics
