"""Search of galleries of any size: in chunks, by all devices of this process.

A score is an inner product or, with squared lengths of the items, a cosine. Of
integers below 2^24 (float32) or 2^53 (float64) it is exact, and so are ties, on
however many devices. No chunk depends on their number, so that other scores are
the same as well.

Dimensions: Q queries in G blocks of B, M items, C of them in a chunk, W width,
P positives of a query.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

from unirep.inference import search_programs
from unirep.inference.search_programs import AXIS, GROUP, NOBODY, Chunk
from unirep.runtime.errors import InputError

BLOCK = 256  # queries at a time
CHUNK = 2**22  # numbers of a chunk at most: 16 MB of float32
ITEMS = 8192  # items of a chunk at most


class Items(NamedTuple):
  """Items to be compared.

  Attributes:
    x_MxW: their vectors; a memory-mapped file will do.
    square_M: their squared lengths, for scores that are cosines; None for
      inner products.
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
    k: how many to find, 1 to M.
    devices: that share the work; by default all of this process.

  Returns:
    Scores (Q, k), best first, and indices (Q, k) int32. Of items that tie the
    lower index comes first.

  Raises:
    InputError: for an empty gallery or another k, widths that differ, or
      numbers that are not finite.
  """
  dtype = _check(query, gallery)
  Q, M = len(query.x_MxW), len(gallery.x_MxW)
  if not 1 <= k <= M:
    raise InputError(f"k={k} must lie in 1..{M}, the size of the gallery")
  mesh = _mesh(devices)
  with jax.enable_x64(dtype == np.float64):
    asked = _blocks(mesh, np.asarray(query.x_MxW, dtype))
    shape = (*asked.shape[:2], k)
    carry = _start(mesh, shape, (-np.inf, dtype), (NOBODY, np.int32))
    score, idx = _through(
      _chunks(mesh, gallery, dtype),
      carry,
      lambda carry, chunk: search_programs.best(mesh, k, carry, chunk, asked),
    )
  # Of each query all that the devices found.
  score, idx = (
    x.reshape(mesh.size, -1, k).swapaxes(0, 1).reshape(-1, mesh.size * k)[:Q]
    for x in (score, idx)
  )
  order = np.lexsort((idx, -score))[:, :k]
  score, idx = (np.take_along_axis(x, order, 1) for x in (score, idx))
  return _cosine(score, query, gallery), idx


def similarity(query: Items, gallery: Items) -> np.ndarray:
  """All scores at once, (Q, M): for a few items."""
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
  """How many items are better than each positive, and how many as good.

  Args:
    query: Q items.
    gallery: M items; it is read twice, chunk by chunk.
    positive_QxP: indices of items; below 0 there is none.
    devices: as in `search`.

  Returns:
    int32 (Q, P) each: items with a higher score, and with the same, itself
    included. They mean nothing where there is no positive.

  Raises:
    InputError: as `search`.
  """
  dtype, mesh = _check(query, gallery), _mesh(devices)
  positive_QxP = np.asarray(positive_QxP, np.int32)
  with jax.enable_x64(dtype == np.float64):
    asked = _blocks(mesh, np.asarray(query.x_MxW, dtype))
    wanted = _blocks(mesh, positive_QxP)
    zero = (0, np.int32)
    start = _start(mesh, wanted.shape, zero, zero, (-np.inf, dtype))

    def counted(bar_GxBxP):
      return _through(
        _chunks(mesh, gallery, dtype),
        start,
        lambda carry, chunk: search_programs.tally(
          mesh, carry, chunk, asked, wanted, bar_GxBxP
        ),
      )

    # First the scores of the positives, by the program that counts.
    own = counted(np.zeros(wanted.shape, dtype))[2].max(0)
    better, tied = (x.sum(0) for x in counted(own)[:2])
  Q, P = positive_QxP.shape
  return better.reshape(-1, P)[:Q], tied.reshape(-1, P)[:Q]


def _mesh(devices) -> Mesh:
  devices = jax.local_devices() if devices is None else devices
  return Mesh(np.asarray(devices), (AXIS,), axis_types=(AxisType.Auto,))


def _through(chunks, carry, program):
  """What is carried through all chunks, on the host."""
  for chunk in chunks:
    done, carry = carry, program(carry, chunk)
    jax.block_until_ready(done)  # chunks must not pile up
  return jax.device_get(carry)


def _start(mesh, shape, *leaves):
  """Carries of all devices, each of one value and type."""
  carry = tuple(np.full((mesh.size, *shape), *leaf) for leaf in leaves)
  return jax.device_put(carry, NamedSharding(mesh, Spec(AXIS)))


def _cosine(score_QxX, query, gallery):
  """What `_scores` makes of cosines, back to cosines."""
  if gallery.square_M is None:
    return score_QxX
  square_Qx1 = np.maximum(np.asarray(query.square_M), 1)[:, None]
  size_QxX = np.sqrt(np.abs(score_QxX) / square_Qx1)
  return np.copysign(size_QxX, score_QxX).astype(score_QxX.dtype)


def _chunks(mesh, gallery: Items, dtype) -> Iterator[Chunk]:
  """Chunks of all devices, one behind the other, as many at a time."""
  M, W = gallery.x_MxW.shape
  C = max(GROUP, min(ITEMS, _power(CHUNK // W + 1) // 2, _power(M)))
  rows, split = mesh.size * C, NamedSharding(mesh, Spec(AXIS))

  def filled(x, value):
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
      square = filled(np.asarray(square[part], dtype), 1)
    index = filled(np.arange(part.start, part.stop, dtype=np.int32), NOBODY)
    yield jax.device_put(Chunk(filled(x, 0), square, index), split)


def _power(number: int) -> int:
  """The least power of two that is not below it."""
  return 1 << (number - 1).bit_length()


def _blocks(mesh, x_QxX):
  """(Q, X) -> (G, B, X) on every device, the last block filled up."""
  B = min(BLOCK, _power(len(x_QxX)))
  x_QxX = np.pad(x_QxX, [(0, -len(x_QxX) % B), (0, 0)])
  blocks = x_QxX.reshape(-1, B, x_QxX.shape[1])
  return jax.device_put(blocks, NamedSharding(mesh, Spec()))


def _check(query: Items, gallery: Items):
  """The type that scores have, once both fit."""
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
