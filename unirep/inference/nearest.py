"""Nearest-neighbor search in galleries of any size, chunk by chunk.

All devices of this process share the chunks. A score is an inner product or,
with squared lengths of the items, a cosine. Products of integers are exact
below 2^24 (float32) or 2^53 (float64), and so are ties. Chunks have the same
size for any number of devices, so that scores are the same too.

Dimensions: Q queries in G blocks of B, M items, C items of a chunk, W width, P
positives of a query.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

from unirep.inference import search_programs
from unirep.inference.search_programs import AXIS, GROUP, PADDING, Chunk
from unirep.runtime.errors import InputError

BLOCK = 256  # queries at a time
CHUNK = 2**22  # numbers in a chunk, at most: 16 MB of float32
ITEMS = 8192  # items in a chunk, at most


class Items(NamedTuple):
  """Vectors to compare.

  Attributes:
    x_MxW: vectors of M items; may be a memory-mapped file.
    square_M: their squared lengths, to score by cosines; None to score by inner
      products.
  """

  x_MxW: Any
  square_M: Any = None


def search(
  query: Items, gallery: Items, k: int, devices: Sequence[Any] | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """The k best items of a gallery for each query.

  Args:
    query: Q items.
    gallery: M items; it is read chunk by chunk.
    k: number of items to find, 1 to M.
    devices: devices to use; by default all of this process.

  Returns:
    Scores (Q, k), best first, and indices (Q, k) int32. Of tied items the one
    with the lower index comes first.

  Raises:
    InputError: for an empty gallery, a k out of range, widths that differ, or
      numbers that are not finite.
  """
  dtype = _check(query, gallery)
  Q, M = len(query.x_MxW), len(gallery.x_MxW)
  if not 1 <= k <= M:
    raise InputError(f"k={k} must lie in 1..{M}, the size of the gallery")
  mesh = _mesh(devices)
  with jax.enable_x64(dtype == np.float64):
    query_GxBxW = _blocks(mesh, np.asarray(query.x_MxW, dtype))
    shape = (*query_GxBxW.shape[:2], k)
    score, idx = _fold(
      lambda carry, chunk: search_programs.best(
        mesh, k, carry, chunk, query_GxBxW
      ),
      _start(mesh, shape, (-np.inf, dtype), (PADDING, np.int32)),
      _chunks(mesh, gallery, dtype),
    )
  # Merge the results of the devices: (devices, G, B, k) -> (Q, devices * k).
  score, idx = (
    x.reshape(mesh.size, -1, k).swapaxes(0, 1).reshape(-1, mesh.size * k)[:Q]
    for x in (score, idx)
  )
  order = np.lexsort((idx, -score))[:, :k]
  score, idx = (np.take_along_axis(x, order, 1) for x in (score, idx))
  return _cosine(score, query, gallery), idx


def similarity(query: Items, gallery: Items) -> np.ndarray:
  """All scores (Q, M) at once, on the host, for a few items.

  Raises:
    InputError: for widths that differ, or queries that are not finite.
  """
  dtype = _check(query, gallery)
  dot_QxM = np.asarray(query.x_MxW, dtype) @ np.asarray(gallery.x_MxW, dtype).T
  if gallery.square_M is None:
    return dot_QxM
  square_QxM = np.outer(query.square_M, gallery.square_M)
  return dot_QxM / np.sqrt(np.maximum(square_QxM, 1))


def counts(
  query: Items,
  gallery: Items,
  positive_QxP: Any,
  devices: Sequence[Any] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Counts the items above each positive, and those that tie with it.

  Args:
    query: Q items.
    gallery: M items; it is read twice, chunk by chunk.
    positive_QxP: indices of items, padded with numbers below 0.
    devices: as in `search`.

  Returns:
    The number of items with a higher score, and with the same score (the
    positive included), int32 (Q, P) each; arbitrary at padding.

  Raises:
    InputError: as `search` does.
  """
  dtype, mesh = _check(query, gallery), _mesh(devices)
  positive_QxP = np.asarray(positive_QxP, np.int32)
  with jax.enable_x64(dtype == np.float64):
    query_GxBxW = _blocks(mesh, np.asarray(query.x_MxW, dtype))
    positive_GxBxP = _blocks(mesh, positive_QxP)
    shape, zero = positive_GxBxP.shape, (0, np.int32)
    start = _start(mesh, shape, zero, zero, (-np.inf, dtype))

    def tally(threshold_GxBxP):
      return _fold(
        lambda carry, chunk: search_programs.tally(
          mesh, carry, chunk, query_GxBxW, positive_GxBxP, threshold_GxBxP
        ),
        start,
        _chunks(mesh, gallery, dtype),
      )

    # The first pass finds the scores of the positives, by the same program as
    # the second: two programs could round differently, and miss ties.
    _, _, own = tally(np.zeros(shape, dtype))
    better, tied, _ = tally(own.max(0))
  better, tied = better.sum(0), tied.sum(0)
  Q, P = positive_QxP.shape
  return better.reshape(-1, P)[:Q], tied.reshape(-1, P)[:Q]


def _mesh(devices) -> Mesh:
  devices = jax.local_devices() if devices is None else devices
  return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def _fold(program, carry, chunks):
  """Folds a program (carry, chunk) -> carry over all chunks, to the host."""
  for chunk in chunks:
    last, carry = carry, program(carry, chunk)
    jax.block_until_ready(last)  # chunks must not pile up in memory
  return jax.device_get(carry)


def _start(mesh, shape, *leaves):
  """An initial carry: for each (value, type) an array on every device."""
  carry = tuple(np.full((mesh.size, *shape), *leaf) for leaf in leaves)
  return jax.device_put(carry, NamedSharding(mesh, Spec(AXIS)))


def _cosine(score_QxX, query, gallery):
  """Cosines from the signed squares that `search_programs` computes."""
  if gallery.square_M is None:
    return score_QxX
  square_Qx1 = np.maximum(np.asarray(query.square_M), 1)[:, None]
  size_QxX = np.sqrt(np.abs(score_QxX) / square_Qx1)
  return np.copysign(size_QxX, score_QxX).astype(score_QxX.dtype)


def _chunks(mesh, gallery: Items, dtype) -> Iterator[Chunk]:
  """The gallery, one chunk for each device at a time."""
  M, W = gallery.x_MxW.shape
  C = max(GROUP, min(ITEMS, _power(CHUNK // W + 1) // 2, _power(M)))
  rows, split = mesh.size * C, NamedSharding(mesh, Spec(AXIS))

  def pad(x, value):
    edge = [(0, rows - len(x)), *[(0, 0)] * (x.ndim - 1)]
    return np.pad(x, edge, constant_values=value) if edge[0][1] else x

  for first in range(0, M, rows):
    part = slice(first, min(first + rows, M))
    x = np.asarray(gallery.x_MxW[part], dtype)
    if not np.isfinite(x).all():
      raise InputError(
        f"gallery: items {part.start} to {part.stop - 1} hold NaN or infinity"
      )
    square = gallery.square_M
    if square is not None:
      square = pad(np.asarray(square[part], dtype), 1)
    index = pad(np.arange(part.start, part.stop, dtype=np.int32), PADDING)
    yield jax.device_put(Chunk(pad(x, 0), square, index), split)


def _power(number: int) -> int:
  """The smallest power of two that is at least `number`."""
  return 1 << (number - 1).bit_length()


def _blocks(mesh, x_QxX):
  """(Q, X) -> (G, B, X) on every device, the last block padded with zeros."""
  B = min(BLOCK, _power(len(x_QxX)))
  x_QxX = np.pad(x_QxX, [(0, -len(x_QxX) % B), (0, 0)])
  blocks = x_QxX.reshape(-1, B, x_QxX.shape[1])
  return jax.device_put(blocks, NamedSharding(mesh, Spec()))


def _check(query: Items, gallery: Items):
  """Checks both, and returns the type of the scores."""
  for name, items in (("query", query), ("gallery", gallery)):
    shape = np.shape(items.x_MxW)
    if len(shape) != 2 or not all(shape):
      raise InputError(f"{name}: {shape} is not one or more items of a width")
    if items.x_MxW.dtype.kind not in "fiub":
      raise InputError(f"{name} must hold numbers, got {items.x_MxW.dtype}")
  widths = [items.x_MxW.shape[1] for items in (query, gallery)]
  if widths[0] != widths[1]:
    raise InputError(f"queries of width {widths[0]}, a gallery of {widths[1]}")
  if not np.isfinite(query.x_MxW).all():
    raise InputError("query holds NaN or infinity")
  double = np.float64 in (query.x_MxW.dtype, gallery.x_MxW.dtype)
  return np.dtype(np.float64 if double else np.float32)
