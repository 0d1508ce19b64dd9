"""The device mesh, and what lies where on it.

Two axes: the batch is spread over `data`. Over `model`, of size 1 unless asked
for, the state may be split: the codebook by codes, wide parameters and their
optimizer moments by columns. XLA then splits the work on them in the same way
and adds what must be added; results are those of one device.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from unirep.runtime.errors import InputError

AXIS = "data"
MODEL = "model"
WIDE = 2**16  # entries from which on a parameter is worth splitting


def make(batch_size: int, devices=None, *, model: int = 1) -> Mesh:
  """A mesh over `devices` (default: all).

  Args:
    batch_size: global batch size.
    devices: a multiple of `model`.
    model: devices that share one copy of the state, of one process.

  Raises:
    InputError: if the numbers don't divide each other.
  """
  devices = jax.devices() if devices is None else devices
  # Each process holds one run of the batch's rows, in the order of processes.
  devices = sorted(devices, key=lambda x: (x.process_index, x.id))
  own = sum(x.process_index == devices[0].process_index for x in devices)
  if model < 1 or own % model:
    raise InputError(
      f"mesh.model={model} must divide the {own} devices of a process"
    )
  if batch_size % (len(devices) // model):
    raise InputError(
      f"batch_size={batch_size} is not divisible by the "
      f"{len(devices) // model} devices; choose a multiple"
    )
  shape = (len(devices) // model, model)
  axis_types = (AxisType.Auto, AxisType.Auto)
  return Mesh(np.asarray(devices).reshape(shape), (AXIS, MODEL), axis_types)


def replicated(mesh: Mesh) -> NamedSharding:
  """Equal on every device."""
  return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
  """Leading axis spread over the devices."""
  return NamedSharding(mesh, PartitionSpec(AXIS))


def state_sharding(mesh: Mesh, state: Any, *, params: bool = False) -> Any:
  """Where each leaf of the state lives.

  Args:
    mesh: from `make`. With one device along `model` all is replicated.
    state: a `TrainState` of arrays or their descriptions.
    params: splits parameters, side states and moments with `WIDE` entries
      or more along their last axis, where it divides evenly. The codebook is
      split whenever its size divides.
  """
  shards = mesh.shape[MODEL]

  def columns(x):
    if x.ndim and x.size >= WIDE and x.shape[-1] % shards == 0:
      axes = [None] * (x.ndim - 1)
      return NamedSharding(mesh, PartitionSpec(*axes, MODEL))
    return replicated(mesh)

  def codes(x):
    fits = x.shape[0] % shards == 0
    return NamedSharding(mesh, PartitionSpec(MODEL if fits else None))

  rest = columns if params else lambda _: replicated(mesh)
  everything = jax.tree.map(rest, state)
  return everything._replace(codebook=jax.tree.map(codes, state.codebook))


def fetch(mesh: Mesh, tree):
  """The arrays of a tree, whole, in every process's memory."""
  same = jax.jit(lambda x: x, out_shardings=replicated(mesh))
  return jax.device_get(same(tree))


def put_batch(mesh: Mesh, batch):
  """This process's part of a batch -> arrays of the global batch."""
  sharding = split(mesh)
  # The one transfer that the loop means to make.
  with jax.transfer_guard_host_to_device("allow"):
    return jax.tree.map(
      lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )
