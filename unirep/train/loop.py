"""The training loop.

The metrics of a step are fetched only after the next step has been dispatched,
so that the devices always have work.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from unirep.runtime import preemption
from unirep.train.log import Log, Silent
from unirep.train.state import Batch, TrainState

Metrics = dict[str, jax.Array]


class NonFiniteError(FloatingPointError):
  """A metric became NaN or infinite.

  Attributes:
    state: the state after the step with that metric, or one step later.
  """

  def __init__(self, step: int, metric: str, value: float, state: TrainState):
    super().__init__(f"step {step}: {metric} is {value}")
    self.state = state


def run(
  step_fn: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
  state: TrainState,
  batches: Iterator[Batch],
  *,
  steps: int,
  log: Log | Silent,
  log_every: int,
  save: Callable[[TrainState, bool], bool],
  save_every: int,
) -> TrainState:
  """Trains until `steps` steps are done in all.

  Args:
    step_fn: from `step.build`, with the arguments of the run bound; it donates
      the state.
    state: the first state; its `step` is the number of steps done.
    batches: batches on the devices, beginning with that of the next step.
    steps: number of the last step.
    log: receives the metrics.
    log_every: steps between two lines of the log; the last step has one too.
    save: (state, whether it is the last) -> whether there is a checkpoint of
      it. Only the last must be written before it returns.
    save_every: steps between two calls of `save`; the last state is saved too.

  Returns:
    The last state.

  Raises:
    NonFiniteError: naming the step and the first metric that is not finite.
    PreemptedError: after SIGTERM or Ctrl-C, once the state is saved or could
      not be saved.
  """
  first = int(state.step)
  pending: tuple[int, Metrics] | None = None
  clock = Clock()
  notice, listening = preemption.Notice(), contextlib.ExitStack()
  # The guard forbids implicit copies between host and device, each of which
  # would make the loop wait. `device_get` is explicit, and allowed.
  with listening, jax.transfer_guard("disallow"):
    for step in range(first + 1, steps + 1):
      state, metrics = step_fn(state, next(batches))
      # Only from here on does a signal ask for a checkpoint: before the first
      # step, which compiles for long, nothing would be lost.
      if step == first + 1:
        listening.enter_context(notice)
      # The step before this one. Its metrics are ready by now, or nearly so.
      if pending:
        _report(*pending, state, log, log_every, steps, clock)
      pending = (step, metrics)
      ends = step < steps and notice.given(step)
      if step % save_every == 0 or step == steps or ends:
        # First the metrics, so that a state that is not finite is not saved.
        _report(*pending, state, log, log_every, steps, clock)
        pending = None
        with jax.transfer_guard("allow"):  # what is saved leaves the devices
          saved = save(state, ends or step == steps)
        if ends:
          raise preemption.PreemptedError(step, saved, notice.name)
  return state


class Clock:
  """Steps per second, without the first step, which compiles."""

  def __init__(self):
    self._last: tuple[int, float] | None = None
    self.speed = 0.0

  def tick(self, step: int) -> None:
    """Notes that `step` is done; updates the speed at most twice a second."""
    now = time.perf_counter()
    if self._last is None:
      self._last = (step, now)
    elif now - self._last[1] > 0.5:
      self.speed = (step - self._last[0]) / (now - self._last[1])
      self._last = (step, now)


def _report(
  step: int,
  metrics: Metrics,
  state: TrainState,
  log: Log | Silent,
  log_every: int,
  steps: int,
  clock: Clock,
) -> None:
  values: dict[str, Any] = {
    name: float(value) for name, value in jax.device_get(metrics).items()
  }
  bad = [name for name, value in values.items() if not math.isfinite(value)]
  if bad:
    # A single term ("loss/part") says more than the sums that contain it.
    name = next((name for name in bad if "/" in name), bad[0])
    raise NonFiniteError(step, name, values[name], state)
  clock.tick(step)
  log.show(step, values["loss"], clock.speed)
  if step % log_every == 0 or step == steps:
    log.write(step, values | {"steps_per_second": clock.speed})
