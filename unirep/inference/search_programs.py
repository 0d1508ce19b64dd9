"""Compiled programs of `nearest`: each device scores a chunk of the gallery.

Dimensions: queries in G blocks of B, W width, P positives of a query. On each
device there are C items in H groups of S; L groups and X items are candidates.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as Spec

AXIS = "data"
GROUP = 32  # items in a group, of which the best one is compared first
PADDING = 2**31 - 1  # index of items that fill up a chunk


class Chunk(NamedTuple):
  """Items on a device; those at the end may be padding, by their index."""

  x_CxW: Any
  square_C: Any
  index_C: Any


@functools.partial(jax.jit, static_argnums=(0, 1))
def best(mesh, k, carry, chunk, query_GxBxW):
  """The k best items of those found so far and of one more chunk.

  Args:
    mesh: mesh of the devices.
    k: number of items to keep.
    carry: scores and indices found so far, (devices, G, B, k) each.
    chunk: C items on each device.
    query_GxBxW: queries, the same on every device.

  Returns:
    The new carry.
  """

  @_on_each(mesh)
  def on_device(carry, chunk, query_GxBxW):
    C = len(chunk.index_C)
    S = GROUP if k <= C // GROUP else 1
    # A group is S consecutive items. Reordered to (S, H), so that the maximum
    # of a group is one of whole rows, which is fast.
    reordered = jax.tree.map(
      lambda x: x.reshape(-1, S, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape),
      chunk,
    )

    def of_block(inputs):
      (best_Bxk, idx_Bxk), query_BxW = inputs
      score_BxSxH = _scores(query_BxW, reordered).reshape(len(query_BxW), S, -1)
      score_BxX, place_BxX = _top(score_BxSxH, k)
      # Items of earlier chunks have lower indices: they come first on ties.
      score_BxX = jnp.concatenate([best_Bxk, score_BxX], 1)
      idx_BxX = jnp.concatenate([idx_Bxk, chunk.index_C[place_BxX]], 1)
      best_Bxk, place_Bxk = jax.lax.top_k(score_BxX, k)
      return best_Bxk, jnp.take_along_axis(idx_BxX, place_Bxk, 1)

    return jax.lax.map(of_block, (carry, query_GxBxW))

  return on_device(carry, chunk, query_GxBxW)


def _top(score_BxSxH, k):
  """The k best scores of a chunk, and places in it, the lower first on ties.

  The k best items are in the k groups with the best maximum. Of groups that tie
  the first are taken, since items of later groups have higher indices.
  """
  B, S, H = score_BxSxH.shape
  group_BxL = jnp.sort(jax.lax.top_k(score_BxSxH.max(1), min(k, H))[1], 1)
  some_BxSxL = jnp.take_along_axis(score_BxSxH, group_BxL[:, None], 2)
  some_BxX = some_BxSxL.swapaxes(1, 2).reshape(B, -1)
  best_BxX, place_BxX = jax.lax.top_k(some_BxX, min(k, some_BxX.shape[1]))
  group_BxX = jnp.take_along_axis(group_BxL, place_BxX // S, 1)
  return best_BxX, group_BxX * S + place_BxX % S


@functools.partial(jax.jit, static_argnums=0)
def tally(mesh, carry, chunk, query_GxBxW, positive_GxBxP, threshold_GxBxP):
  """Counts the items of one more chunk above and at a threshold.

  Also takes the scores of the positives in the chunk. All arguments after
  `chunk` are the same on every device.

  Args:
    mesh: mesh of the devices.
    carry: number of items above the threshold, number at it, and scores of the
      positives, so far; (devices, G, B, P) each.
    chunk: C items on each device.
    query_GxBxW: queries.
    positive_GxBxP: indices of the positives.
    threshold_GxBxP: scores to compare with.

  Returns:
    The new carry.
  """

  @_on_each(mesh)
  def on_device(carry, chunk, query_GxBxW, positive_GxBxP, threshold_GxBxP):
    last = len(chunk.index_C) - 1

    def of_block(inputs):
      (above_BxP, at_BxP, own_BxP), query_BxW, positive_BxP, bar_BxP = inputs
      score_BxC = _scores(query_BxW, chunk)

      def compare(bar_B):
        bar_Bx1 = bar_B[:, None]
        return (
          (score_BxC > bar_Bx1).sum(1, dtype=jnp.int32),
          (score_BxC == bar_Bx1).sum(1, dtype=jnp.int32),
        )

      more_PxB, same_PxB = jax.lax.map(compare, bar_BxP.T)
      place_BxP = jnp.clip(positive_BxP - chunk.index_C[0], 0, last)
      here_BxP = chunk.index_C[place_BxP] == positive_BxP
      score_BxP = jnp.take_along_axis(score_BxC, place_BxP, 1)
      return (
        above_BxP + more_PxB.T,
        at_BxP + same_PxB.T,
        jnp.where(here_BxP, score_BxP, own_BxP),
      )

    return jax.lax.map(
      of_block, (carry, query_GxBxW, positive_GxBxP, threshold_GxBxP)
    )

  return on_device(carry, chunk, query_GxBxW, positive_GxBxP, threshold_GxBxP)


def _on_each(mesh):
  """A decorator: runs (carry, chunk, *rest) -> carry on each device.

  The carry and the chunk are split over devices, the rest is the same on all.
  Outside, carries have a leading axis of devices.
  """

  def decorate(program):
    def on_shard(carry, chunk, *rest):
      carry = program(jax.tree.map(lambda x: x[0], carry), chunk, *rest)
      return jax.tree.map(lambda x: x[None], carry)

    def on_mesh(carry, chunk, *rest):
      specs = (Spec(AXIS), Spec(AXIS), *[Spec()] * len(rest))
      return jax.shard_map(
        on_shard, mesh=mesh, in_specs=specs, out_specs=Spec(AXIS)
      )(carry, chunk, *rest)

    return on_mesh

  return decorate


def _scores(query_BxW, chunk):
  """Scores (B, C), -inf for padding; signed squares instead of cosines."""
  score_BxC = jnp.matmul(query_BxW, chunk.x_CxW.T, precision="highest")
  if chunk.square_C is not None:
    # The square is a quotient of integers: equal cosines tie exactly.
    score_BxC = score_BxC * jnp.abs(score_BxC) / jnp.maximum(chunk.square_C, 1)
  score_BxC = jnp.where(score_BxC == 0, 0, score_BxC)  # -0 sorts below 0
  return jnp.where(chunk.index_C == PADDING, -jnp.inf, score_BxC)
