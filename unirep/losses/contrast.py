"""Cross-entropy of inner products against the matching row, in three ways.

InfoNCE, Cross-CPC and CMCM contrast each row of one modality (a query) with the
rows of another (keys), over the whole batch of all devices. They differ only in
how they make rows. The loss of query i is

    -log softmax_j(q_i . k_j)_i = log sum_j exp(q_i . k_j) - q_i . k_i.

All three functions give the same values and gradients. They differ in the
memory that a device needs at once:

  dense    all logits, B x G, several times over for the gradient
  chunked  all keys, G x F, and logits of B x chunk
  ring     one block of keys, B x F, and its logits, B x B; the blocks travel
           around the ring of devices, twice: for the loss, and with their
           gradients

Dimensions: B rows of this device, G rows of all devices, F width of a row.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unirep.parallel import collectives

Contrast = Callable[..., tuple[jax.Array, jax.Array]]


class Keys(NamedTuple):
  """The keys of this device, of all devices, or a block of them.

  Attributes:
    row: (B, F) vectors.
    number: (B,) number of the row in the global batch; -1 for a row that is no
      candidate. So the mask needs no array, which would have to travel.
    group: (B,) int; a row of the query's own group is no negative. None if
      every row is a group of its own.
  """

  row: jax.Array
  number: jax.Array
  group: jax.Array | None


class Sums(NamedTuple):
  """Running sums over the keys seen so far, each (B,), for every query.

  Attributes:
    top: the largest logit.
    total: the sum of exp(logit - top).
    own: the logit of the matching key, 0 before it was seen.
    best: the number of the key with the largest logit, the lowest on a tie.
  """

  top: jax.Array
  total: jax.Array
  own: jax.Array
  best: jax.Array


def dense(
  query_BxF: jax.Array,
  key_BxF: jax.Array,
  *,
  valid_B: jax.Array | None = None,
  group_B: jax.Array | None = None,
  axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Loss -log softmax_j(q_i . k_j)_i of each row, and whether i is the argmax.

  Args:
    query_BxF: rows of one modality.
    key_BxF: the matching rows of the other.
    valid_B: False for keys that are no candidates, such as padding; None for
      none.
    group_B: integers. Samples with the same one mean the same (an identical
      caption) and are no negatives of each other.
    axis_name: the device axis over which the batch is spread.

  Returns:
    The losses (B,), log G at ignorance and 0 for a row whose own key is no
    candidate; and (B,) bool.
  """
  own = _keys(key_BxF, valid_B, group_B, axis_name)
  keys = _gathered(own, axis_name)
  logits_BxG = _logits(query_BxF, own, keys)
  log_p_BxG = jax.nn.log_softmax(logits_BxG)
  loss_B = -jnp.take_along_axis(log_p_BxG, own.number[:, None], 1)[:, 0]
  right_B = logits_BxG.argmax(1) == own.number
  return _counted(loss_B, own), right_B


def chunked(
  query_BxF: jax.Array,
  key_BxF: jax.Array,
  *,
  chunk: int = 1024,
  valid_B: jax.Array | None = None,
  group_B: jax.Array | None = None,
  axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """As `dense`, over `chunk` keys at a time; computes all logits twice."""
  own = _keys(key_BxF, valid_B, group_B, axis_name)
  keys = _gathered(own, axis_name)
  rows = keys.number.shape[0]
  count = -(-rows // chunk)
  extra = count * chunk - rows  # filled up with keys that are no candidates

  def fold(x):
    x = jnp.pad(x, [(0, extra)] + [(0, 0)] * (x.ndim - 1))
    return x.reshape(count, -1, *x.shape[1:])

  # Padding makes zeros, and 0 is the number of a true row: numbers are shifted
  # while they are padded, so that an extra key has the number -1.
  filled = keys._replace(number=keys.number + 1)
  filled = jax.tree.map(fold, filled)
  filled = filled._replace(number=filled.number - 1)

  # Without the checkpoint the scan would keep the logits of all chunks for the
  # gradient, and nothing would be saved.
  @jax.checkpoint
  def step(sums, block):
    return _add(sums, _logits(query_BxF, own, block), own, block), None

  sums, _ = jax.lax.scan(step, _nothing(query_BxF, own), filled)
  return _result(sums, own)


def ring(
  query_BxF: jax.Array,
  key_BxF: jax.Array,
  *,
  valid_B: jax.Array | None = None,
  group_B: jax.Array | None = None,
  axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array]:
  """As `dense`, with the keys of one device at a time in memory."""
  own = _keys(key_BxF, valid_B, group_B, axis_name)
  # Numbers take the place of the rows, so that `about` holds no floats: only
  # query and key get a gradient.
  about = own._replace(row=own.number)
  pair: Any = _ring(query_BxF, own.row, about, axis_name)
  return pair[0], pair[1] > 0


CONTRASTS = {"dense": dense, "chunked": chunked, "ring": ring}


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _ring(query_BxF, key_BxF, about, axis_name):
  """(loss, 1.0 where the own key scores highest); `about` has no rows."""
  # The gradient is written out: that of the scan would keep every block and
  # all logits, B x G, as `dense` does.
  own = about._replace(row=key_BxF)
  return _forward(query_BxF, own, axis_name)[0]


def _forward(query_BxF, own, axis_name):
  def step(carry, _):
    block, sums = carry
    sums = _add(sums, _logits(query_BxF, own, block), own, block)
    return (collectives.rotate(block, axis_name), sums), None

  start = (own, _nothing(query_BxF, own))
  devices = collectives.devices(axis_name)
  (_, sums), _ = jax.lax.scan(step, start, length=devices)
  loss_B, right_B = _result(sums, own)
  right_B = right_B.astype(loss_B.dtype)
  # The log of the normalizer is all that the backward pass needs of the logits,
  # which it computes again.
  return (loss_B, right_B), sums.top + jnp.log(sums.total)


def _ring_forward(query_BxF, key_BxF, about, axis_name):
  own = about._replace(row=key_BxF)
  outputs, normal_B = _forward(query_BxF, own, axis_name)
  return outputs, (query_BxF, own, normal_B)


def _ring_backward(axis_name, kept, cotangents):
  """Gradients by d loss_i / d logit_ij = softmax_j(logits)_ij - (i = j)."""
  query_BxF, own, normal_B = kept
  weight_B, _ = cotangents

  def step(carry, _):
    block, grad_block, grad_BxF = carry
    slope = jnp.exp(_logits(query_BxF, own, block) - normal_B[:, None])
    slope -= own.number[:, None] == block.number
    slope *= _counted(weight_B, own)[:, None]
    grad_BxF += jnp.matmul(slope, block.row, precision="highest")
    # A block's gradient travels with it, and is back after a whole turn.
    grad_block += jnp.matmul(slope.T, query_BxF, precision="highest")
    block, grad_block = collectives.rotate((block, grad_block), axis_name)
    return (block, grad_block, grad_BxF), None

  start = (own, jnp.zeros_like(own.row), jnp.zeros_like(query_BxF))
  devices = collectives.devices(axis_name)
  (_, grad_key, grad_query), _ = jax.lax.scan(step, start, length=devices)
  return grad_query, grad_key, None


_ring.defvjp(_ring_forward, _ring_backward)


def _keys(key_BxF, valid_B, group_B, axis_name):
  number_B = collectives.local_rows(key_BxF.shape[0], axis_name)
  # The zeros make it vary over the same mesh axes as the keys: the carry of a
  # scan must keep its type when a block is rotated.
  number_B += jnp.zeros_like(key_BxF[:, 0], jnp.int32)
  if valid_B is None:
    valid_B = jnp.ones_like(key_BxF[:, 0], bool)
  return Keys(key_BxF, jnp.where(valid_B, number_B, -1), group_B)


def _gathered(own, axis_name):
  return jax.tree.map(lambda x: collectives.gather(x, axis_name), own)


def _logits(query_BxF, own, keys):
  logits = jnp.matmul(query_BxF, keys.row.T, precision="highest")
  low = jnp.finfo(logits.dtype).min
  if keys.group is not None:
    # The matching key is of the query's group, and yet its positive.
    me = own.number[:, None] == keys.number
    same = own.group[:, None] == keys.group
    logits = jnp.where(me | ~same, logits, low)
  # Not -inf: of a query without any candidate inf - inf would be NaN.
  return jnp.where(keys.number >= 0, logits, low)


def _nothing(query_BxF, own):
  zero_B = jnp.zeros_like(query_BxF[:, 0])
  low_B = zero_B + jnp.finfo(zero_B.dtype).min
  return Sums(low_B, zero_B, zero_B, jnp.zeros_like(own.number))


def _add(sums, logits, own, block):
  """The running sums after one more block of keys."""
  here_B = logits.max(1)
  best_B = block.number[logits.argmax(1)]
  # The sum is scaled to the largest logit seen so far, so that no exp
  # overflows. The scale cancels, hence it needs no gradient.
  top_B = jax.lax.stop_gradient(jnp.maximum(sums.top, here_B))
  fresh_B = (here_B > sums.top) | ((here_B == sums.top) & (best_B < sums.best))
  me = own.number[:, None] == block.number
  return Sums(
    top=top_B,
    total=sums.total * jnp.exp(sums.top - top_B)
    + jnp.exp(logits - top_B[:, None]).sum(1),
    own=sums.own + jnp.where(me, logits, 0).sum(1),
    best=jnp.where(fresh_B, best_B, sums.best),
  )


def _result(sums, own):
  loss_B = sums.top + jnp.log(sums.total) - sums.own
  return _counted(loss_B, own), sums.best == own.number


def _counted(x_B, own):
  return jnp.where(own.number >= 0, x_B, 0)
