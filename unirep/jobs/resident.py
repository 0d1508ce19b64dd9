"""Data that stay in the memory of the devices, and are shuffled there.

The order of samples is that of `data.pipeline`, which then shuffles numbers
instead of samples; rows are gathered by a program. So a run is the same in all
bits, wherever its data lie.

Dimensions: N samples, B batch.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from unirep.data.sample import PRESENT, Sample, Source
from unirep.errors import InputError
from unirep.parallel import mesh as meshes

PARTS = ("features", "lengths", PRESENT)  # of a sample, what a step takes


class Numbers:
  """A source of `size` samples, each of which is its number."""

  def __init__(self, size: int):
    self._size = size

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int, /) -> Sample:
    number = np.int32(range(self._size)[index])
    return {"features": {"row": np.array(number)}, "lengths": {}, "labels": {}}


def put(source: Source, mesh: Mesh) -> Mapping[str, Any]:
  """All samples, split over the devices along the first axis.

  Features that float16 can hold exactly are stored so.

  Args:
    source: N samples; a process composes those of its own devices alone.
    mesh: the devices.

  Raises:
    InputError: if they have less memory than that takes.
  """
  size, shards = len(source), mesh.shape[meshes.AXIS]
  each = -(-size // shards)
  first = {part: source[0].get(part, {}) for part in PARTS}
  need = each * sum(x.nbytes for x in jax.tree.leaves(first))
  room = min(map(_free, mesh.local_devices))
  if need > room:
    raise InputError(
      f"data.device_resident: {size} samples take {need // 2**20} MiB of each "
      f"device, which has {room // 2**20} left; leave it off"
    )
  parts: dict[tuple[int, int], Any] = {}

  def rows(start: int, stop: int) -> Any:
    if (start, stop) not in parts:
      samples = (source[min(i, size - 1)] for i in range(start, stop))
      parts[start, stop] = _stacked(first, samples, stop - start)
    return parts[start, stop]

  def leaf(part, name, x):
    shape = (each * shards, *np.shape(x))

    def shard(index):
      window = index[0]
      return rows(window.start or 0, window.stop or shape[0])[part][name]

    return jax.make_array_from_callback(shape, meshes.split(mesh), shard)

  data = {
    part: {name: leaf(part, name, x) for name, x in leaves.items()}
    for part, leaves in first.items()
  }
  return data if data[PRESENT] else {k: data[k] for k in PARTS[:2]}


def batches(
  numbers: Iterator[Any], data: Mapping[str, Any], mesh: Mesh
) -> Iterator[Any]:
  """Batches on the devices, of batches of `Numbers`."""

  def gather(data, row_B):
    def take(x_N):
      x_B = x_N[row_B]
      return x_B.astype(jnp.float32) if x_B.dtype == jnp.float16 else x_B

    return jax.tree.map(take, data)

  program = jax.jit(gather, out_shardings=meshes.split(mesh))
  for batch in numbers:
    row_B = meshes.put_batch(mesh, batch["features"]["row"])
    yield program(data, row_B)


def _stacked(first, samples, count) -> Any:
  """Samples as arrays, one copied after the other."""
  whole = jax.tree.map(
    lambda x: np.empty((count, *np.shape(x)), np.asarray(x).dtype), first
  )
  for i, sample in enumerate(samples):
    for part, leaves in whole.items():
      for name, x_N in leaves.items():
        x_N[i] = sample[part][name]
  if jax.process_count() == 1:  # all must come to the same type
    whole["features"] = {m: _small(x) for m, x in whole["features"].items()}
  return whole


def _small(x: np.ndarray) -> np.ndarray:
  """As float16, where that is the same."""
  with np.errstate(over="ignore"):
    small = x.astype(np.float16)
  step = max(1, len(x) // 64)
  rows = itertools.chain(range(0, len(x), step), range(len(x)))  # soon, if not
  return small if all(np.array_equal(x[i], small[i]) for i in rows) else x


def _free(device: Any) -> int:
  """Bytes that a device has left, as far as it says so."""
  known = device.memory_stats() or {}
  if "bytes_limit" not in known:
    return 2**62
  return known["bytes_limit"] - known["bytes_in_use"]
