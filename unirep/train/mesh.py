"""The device mesh: one axis, over which the batch is spread."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from unirep.errors import InputError

AXIS = "data"


def make(batch_size: int, devices=None) -> Mesh:
  """A mesh over `devices` (default: all), which must divide the batch.

  Raises:
    InputError: if they do not.
  """
  devices = jax.devices() if devices is None else devices
  # Each process holds one run of the batch's rows, in the order of processes.
  devices = sorted(devices, key=lambda x: (x.process_index, x.id))
  if batch_size % len(devices):
    raise InputError(
      f"batch_size={batch_size} is not divisible by the {len(devices)} "
      "devices; choose a multiple"
    )
  return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
  """Equal on every device."""
  return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
  """Leading axis spread over the devices."""
  return NamedSharding(mesh, PartitionSpec(AXIS))


def put_batch(mesh: Mesh, batch):
  """This process's part of a batch -> arrays of the global batch."""
  sharding = split(mesh)
  # The one transfer that the loop means to make.
  with jax.transfer_guard_host_to_device("allow"):
    return jax.tree.map(
      lambda x: jax.make_array_from_process_local_data(sharding, x), batch
    )
