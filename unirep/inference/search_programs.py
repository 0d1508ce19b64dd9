"""Programs that score a chunk of a gallery on every device.

Dimensions: queries in G blocks of B, W width, P positives of a query; on each
device C items, as H groups of S; L groups and X items that are looked at.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as Spec

AXIS = "data"
GROUP = 32  # items of which only the best is looked at first
NOBODY = 2**31 - 1  # index of an item that is not there


class Chunk(NamedTuple):
  """Items on a device; those that fill it up have the index `NOBODY`."""

  x_CxW: Any
  square_C: Any
  index_C: Any


@functools.partial(jax.jit, static_argnums=(0, 1))
def best(mesh, k, carry, chunk, query_GxBxW):
  """The k best of what was found and of one more chunk a device.

  Args:
    mesh: of the devices.
    k: how many.
    carry: scores and indices found so far, (devices, G, B, k) each.
    chunk: C items a device.
    query_GxBxW: on every device.
  """

  @_on_each(mesh)
  def own(carry, chunk, query_GxBxW):
    C = len(chunk.index_C)
    S = GROUP if k <= C // GROUP else 1
    # Members of a group, which are neighbours, get columns far apart: their
    # maximum is one of whole rows, which is fast.
    apart = jax.tree.map(
      lambda x: x.reshape(-1, S, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape),
      chunk,
    )

    def block(given):
      (best_Bxk, idx_Bxk), query_BxW = given
      score_BxSxH = _scores(query_BxW, apart).reshape(len(query_BxW), S, -1)
      score_BxX, place_BxX = _top(score_BxSxH, k)
      # What came before has lower indices, and wins a tie.
      score_BxX = jnp.concatenate([best_Bxk, score_BxX], 1)
      idx_BxX = jnp.concatenate([idx_Bxk, chunk.index_C[place_BxX]], 1)
      best_Bxk, place_Bxk = jax.lax.top_k(score_BxX, k)
      return best_Bxk, jnp.take_along_axis(idx_BxX, place_Bxk, 1)

    return jax.lax.map(block, (carry, query_GxBxW))

  return own(carry, chunk, query_GxBxW)


def _top(score_BxSxH, k):
  """The best of a chunk and their places in it, the lower first on a tie.

  They are in the groups whose best is best. Of groups that tie the first ones
  are taken, and what tied in the others comes later.
  """
  B, S, H = score_BxSxH.shape
  group_BxL = jnp.sort(jax.lax.top_k(score_BxSxH.max(1), min(k, H))[1], 1)
  some_BxSxL = jnp.take_along_axis(score_BxSxH, group_BxL[:, None], 2)
  some_BxX = some_BxSxL.swapaxes(1, 2).reshape(B, -1)
  best_BxX, place_BxX = jax.lax.top_k(some_BxX, min(k, some_BxX.shape[1]))
  group_BxX = jnp.take_along_axis(group_BxL, place_BxX // S, 1)
  return best_BxX, group_BxX * S + place_BxX % S


@functools.partial(jax.jit, static_argnums=0)
def tally(mesh, carry, chunk, query_GxBxW, positive_GxBxP, bar_GxBxP):
  """Counts of one more chunk a device, and scores of positives in there.

  Args:
    mesh: of the devices.
    carry: items above a bar, items at it, and scores of the positives so far,
      (devices, G, B, P) each.
    chunk: C items a device.
    query_GxBxW: on every device, like the rest.
    positive_GxBxP: indices of items.
    bar_GxBxP: scores.
  """

  @_on_each(mesh)
  def own(carry, chunk, query_GxBxW, positive_GxBxP, bar_GxBxP):
    last = len(chunk.index_C) - 1

    def block(given):
      (better_BxP, tied_BxP, own_BxP), query_BxW, positive_BxP, bar_BxP = given
      score_BxC = _scores(query_BxW, chunk)

      def against(bar_B):
        bar_Bx1 = bar_B[:, None]
        return (
          (score_BxC > bar_Bx1).sum(1, dtype=jnp.int32),
          (score_BxC == bar_Bx1).sum(1, dtype=jnp.int32),
        )

      more_PxB, same_PxB = jax.lax.map(against, bar_BxP.T)
      place_BxP = jnp.clip(positive_BxP - chunk.index_C[0], 0, last)
      here_BxP = chunk.index_C[place_BxP] == positive_BxP
      found_BxP = jnp.take_along_axis(score_BxC, place_BxP, 1)
      return (
        better_BxP + more_PxB.T,
        tied_BxP + same_PxB.T,
        jnp.where(here_BxP, found_BxP, own_BxP),
      )

    return jax.lax.map(block, (carry, query_GxBxW, positive_GxBxP, bar_GxBxP))

  return own(carry, chunk, query_GxBxW, positive_GxBxP, bar_GxBxP)


def _on_each(mesh):
  """Runs a program on each device: its carry and its chunk, and what all get.

  Carries have one more axis outside, of devices.
  """

  def spread(program):
    def inside(carry, chunk, *rest):
      carry = program(jax.tree.map(lambda x: x[0], carry), chunk, *rest)
      return jax.tree.map(lambda x: x[None], carry)

    def outside(carry, chunk, *rest):
      specs = (Spec(AXIS), Spec(AXIS), *[Spec()] * len(rest))
      return jax.shard_map(
        inside, mesh=mesh, in_specs=specs, out_specs=Spec(AXIS)
      )(carry, chunk, *rest)

    return outside

  return spread


def _scores(query_BxW, chunk):
  """(B, C); the least for items that are not there."""
  score_BxC = jnp.matmul(query_BxW, chunk.x_CxW.T, precision="highest")
  if chunk.square_C is not None:
    # Its square, with its sign: a quotient of integers ties where it is equal.
    score_BxC = score_BxC * jnp.abs(score_BxC) / jnp.maximum(chunk.square_C, 1)
  score_BxC = jnp.where(score_BxC == 0, 0, score_BxC)  # -0 sorts below 0
  return jnp.where(chunk.index_C == NOBODY, -jnp.inf, score_BxC)
