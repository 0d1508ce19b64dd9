"""The interface between training and a method.

Dimensions: B samples of this device.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax

Params = Mapping[str, Any]
Batch = Mapping[str, Mapping[str, Any]]
Metrics = dict[str, jax.Array]


class Aux(NamedTuple):
  """The second result of a method's loss.

  Attributes:
    side: the method's own state after the step.
    assignments: the vectors and assigned codes that `Update` takes; without a
      gradient.
    metrics: name -> scalar of the global batch.
  """

  side: Params
  assignments: Any
  metrics: Metrics


class Init(Protocol):
  """Draws the first state of a method."""

  def __call__(self, key: jax.Array, batch: Batch) -> tuple[Params, Any, Any]:
    """Returns (params, codebook, side).

    Args:
      key: PRNG key.
      batch: only its shapes matter.

    Returns:
      Parameters, which the gradient moves; the codebook, which `Update` moves;
      and the method's own state, a mapping that only the method looks into.
    """
    ...


class Draw(Protocol):
  """Draws the random choices of a step."""

  def __call__(self, key: jax.Array, batch: Batch, rows: int) -> Any:
    """Returns the choices, equal on all devices, for the global batch.

    Args:
      key: PRNG key, equal on all devices.
      batch: the batch of this device; only its shapes matter.
      rows: number of samples in the global batch.
    """
    ...


class LossFn(Protocol):
  """The function that training differentiates."""

  def __call__(
    self,
    params: Params,
    codebook: Any,
    side: Any,
    batch: Batch,
    draws: Any,
    keys_B: jax.Array | None,
    *,
    axis_name: str | None = None,
  ) -> tuple[jax.Array, Aux]:
    """Returns the total of the global batch, equal on all devices, and `Aux`.

    Args:
      params: gets the gradient.
      codebook: before the step.
      side: the method's own state before the step.
      batch: of this device, see `train.step.train_step`.
      draws: from `Draw`.
      keys_B: one dropout key for each sample, or None for no dropout.
      axis_name: the device axis over which the batch is spread.
    """
    ...


class Update(Protocol):
  """Moves the codebook, which gets no gradient."""

  def __call__(
    self,
    codebook: Any,
    assignments: Any,
    draws: Any,
    progress: jax.Array,
    *,
    axis_name: str | None = None,
  ) -> tuple[Any, Metrics]:
    """Returns the codebook after the step, and metrics of its health.

    Args:
      codebook: before the step.
      assignments: of `Aux`.
      draws: from `Draw`.
      progress: share of training that is done, a scalar in [0, 1].
      axis_name: the device axis over which the batch is spread.
    """
    ...


class Method(NamedTuple):
  """A method as four pure functions; training knows nothing else of it.

  Attributes:
    init: draws the first state.
    draw: draws the random choices of a step.
    loss: the total to minimize, and its by-products.
    update: moves the codebook after the gradient.
  """

  init: Init
  draw: Draw
  loss: LossFn
  update: Update
