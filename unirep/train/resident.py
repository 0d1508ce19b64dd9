"""Data that stay in the memory of the devices.

`data.pipeline` shuffles numbers of samples instead of samples, and a program
gathers their rows. So a run is the same in all bits, wherever its data lie.

Dimensions: N samples, B batch.
"""

import functools
import os
from collections.abc import Iterator, Mapping
from concurrent import futures
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from unirep.data.sample import PRESENT, Sample, Source, stored
from unirep.parallel import mesh as meshes
from unirep.parallel import trees

PARTS = ("features", "lengths", PRESENT)  # of a sample, for a training step


class Numbers:
  """A source of `size` samples; each sample is its own number."""

  def __init__(self, size: int):
    self._size = size

  def __len__(self) -> int:
    return self._size

  def __getitem__(self, index: int, /) -> Sample:
    number = np.int32(range(self._size)[index])
    return {"features": {"row": np.array(number)}, "lengths": {}, "labels": {}}


def put(source: Source, mesh: Mesh) -> Mapping[str, Any]:
  """All samples, split over the devices along the first axis.

  Features that float16 can hold exactly are stored as float16.

  Args:
    source: N samples; a process reads only those of its own devices, in
      several threads if the source is `concurrent`.
    mesh: the devices.

  Raises:
    InputError: if they don't have enough memory.
  """
  shards = mesh.shape[meshes.AXIS]
  each = -(-len(source) // shards)
  sample = stored(source, 0)
  first = {part: sample.get(part, {}) for part in PARTS}
  small = {*first["features"]} if jax.process_count() == 1 else set()
  small = {m for m in small if not _wide(first["features"][m])}
  _check_room(first, small, len(source), each, mesh)
  split, total = meshes.split(mesh), each * shards
  owned: Any = split.addressable_devices_indices_map((total,)).values()
  windows = {index[0].indices(total)[:2] for index in owned}
  blocks = _blocks(first, small, windows)
  while wide := _fill(source, blocks, small):
    blocks.clear()  # so that old and new ones are not held together
    small -= wide
    _check_room(first, small, len(source), each, mesh)
    blocks = _blocks(first, small, windows)

  def leaf(part, name, x):
    def shard(index: Any):
      return blocks[index[0].indices(total)[:2]][part][name]

    return jax.make_array_from_callback((total, *np.shape(x)), split, shard)

  data = {
    part: {name: leaf(part, name, x) for name, x in leaves.items()}
    for part, leaves in first.items()
  }
  return data if data[PRESENT] else {k: data[k] for k in PARTS[:2]}


def batches(
  numbers: Iterator[Any], data: Mapping[str, Any], mesh: Mesh
) -> Iterator[Any]:
  """Gathers batches on the devices, by batches of `Numbers`."""

  def gather(data, row_B):
    def take(x_N):
      x_B = x_N[row_B]
      return x_B.astype(jnp.float32) if x_B.dtype == jnp.float16 else x_B

    return jax.tree.map(take, data)

  program = jax.jit(gather, out_shardings=meshes.split(mesh))
  for batch in numbers:
    row_B = meshes.put_batch(mesh, batch["features"]["row"])
    yield program(data, row_B)


def _check_room(first, small, size, each, mesh) -> None:
  need = each * sum(x.nbytes for x in jax.tree.leaves(_blank(first, small, 1)))
  name = f"data.device_resident: {size} samples"
  trees.check_room(name, need, mesh.local_devices, "leave it off")


def _blocks(first, small, windows) -> dict[tuple[int, int], Any]:
  """Empty arrays for the samples of each window [start, stop)."""
  return {w: _blank(first, small, w[1] - w[0]) for w in sorted(windows)}


def _blank(first, small, count) -> Any:
  """Arrays of `count` samples like the first; features `small` as float16."""

  def blank(part, name, x):
    kind = np.asarray(x).dtype
    if part == "features":
      wide = np.result_type(kind, np.float32)
      kind = np.float16 if name in small else wide
    return np.empty((count, *np.shape(x)), kind)

  return {
    part: {name: blank(part, name, x) for name, x in leaves.items()}
    for part, leaves in first.items()
  }


def _fill(source: Source, blocks: Any, small: set[str]) -> set[str]:
  """Reads all samples; returns the features of `small` that need float32."""
  size, wide = len(source), set()

  def compose(start: int, block: Any, row: int) -> None:
    if wide:
      return  # everything is read again
    sample = stored(source, min(start + row, size - 1))
    wide.update(m for m in small if _wide(sample["features"][m]))
    with np.errstate(over="ignore"):
      for part, leaves in block.items():
        for name, x_N in leaves.items():
          x_N[row] = sample[part][name]

  concurrent = getattr(source, "concurrent", False)
  threads = (os.cpu_count() or 1) if concurrent else 1
  with futures.ThreadPoolExecutor(threads) as pool:
    for (start, stop), block in blocks.items():
      rows = range(stop - start)
      for _ in pool.map(functools.partial(compose, start, block), rows):
        pass  # raises the error of its thread
  return wide


def _wide(x: np.ndarray) -> bool:
  """Whether float16 cannot hold it exactly."""
  if x.dtype == np.float16:
    return False
  with np.errstate(over="ignore"):
    return not np.array_equal(x, x.astype(np.float16))
