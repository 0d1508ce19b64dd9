"""The device mesh, and the sharding of batches and states.

The batch is spread over the axis `data`. The state may be split over the axis
`model`, of size 1 by default: the codebook by codes, wide parameters and their
optimizer moments by columns. XLA splits the work in the same way, and adds sums
over devices; results are those of one device.
"""

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from unirep.runtime.errors import InputError

AXIS = "data"
MODEL = "model"
WIDE = 2**16  # entries of the smallest parameter that is worth splitting


def make(batch_size: int, devices=None, *, model: int = 1) -> Mesh:
  """Makes a mesh over `devices` (default: all).

  Args:
    batch_size: global batch size.
    devices: their number is a multiple of `model`.
    model: number of devices, of one process, that share one copy of the state.

  Raises:
    InputError: if the numbers don't divide each other.
  """
  devices = jax.devices() if devices is None else devices
  # Each process holds consecutive rows of the batch, in the order of processes.
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
  """The sharding of an array that is equal on every device."""
  return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
  """The sharding of an array with its leading axis spread over devices."""
  return NamedSharding(mesh, PartitionSpec(AXIS))


def state_sharding(mesh: Mesh, state: Any, *, params: bool = False) -> Any:
  """The sharding of each leaf of a state.

  The codebook is split by codes if the number of devices divides its size.

  Args:
    mesh: from `make`. With one device along `model` all is replicated.
    state: a `TrainState` of arrays or their descriptions.
    params: whether to split parameters, side states and moments of `WIDE`
      entries or more along their last axis, where it divides evenly.
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
  """Copies the whole arrays of a tree to the memory of every process."""
  gather = jax.jit(lambda x: x, out_shardings=replicated(mesh))
  return jax.device_get(gather(tree))


def put_batch(mesh: Mesh, batch):
  """Makes arrays of the global batch from this process's rows."""
  sharding = split(mesh)
  # The loop forbids all other transfers to devices.
  with jax.transfer_guard_host_to_device("allow"):
    return jax.tree.map(
      lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )
