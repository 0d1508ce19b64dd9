"""Layers with the initial distributions that the method's numbers assume.

Dimensions: B batch, T time, H/W grid, F features in, D features out, N heads.
Every layer computes in `dtype` (None: as its input) and stores its parameters
in float32, or in float64 when x64 is on.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from unirep.nn import chunks

Dtype = jnp.dtype | type | None
Initializer = Callable[..., jax.Array]


def uniform(bound: float) -> Initializer:
  """Declares U(-bound, bound): the half width everywhere, see `draw`."""

  def init(key, shape, dtype=float):
    del key
    return jnp.full(shape, bound, dtype)

  return init


def draw(key: jax.Array, declared: Any) -> Any:
  """Turns declared half widths into draws; scales of norms stay as they are.

  Layers only declare their distributions, and a whole tree is filled from one
  long draw: that compiles in a second, where one draw for every parameter took
  half a minute.

  Args:
    key: PRNG key.
    declared: parameters as the layers' own `init` returns them.
  """
  leaves, treedef = jax.tree_util.tree_flatten_with_path(declared)
  sizes = [leaf.size for _, leaf in leaves]
  noise = jax.random.uniform(key, (sum(sizes),), float, -1, 1)
  parts = jnp.split(noise, list(itertools.accumulate(sizes))[:-1])
  drawn = [
    leaf if path[-1].key == "scale" else leaf * part.reshape(leaf.shape)
    for (path, leaf), part in zip(leaves, parts, strict=True)
  ]
  return jax.tree_util.tree_unflatten(treedef, drawn)


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """The matrix product of (..., F) and (F, D), in the type of x.

  It has one axis of rows: for the gradient of one over several axes a CPU
  transposes all rows first. The kernel's gradient is summed in its own type.
  """
  rows = x.reshape(-1, x.shape[-1])
  mixed = x.dtype != kernel.dtype
  y = _mixed_product(rows, kernel) if mixed else rows @ kernel
  return y.reshape(*x.shape[:-1], kernel.shape[-1])


@jax.custom_vjp
def _mixed_product(x_RxF, kernel_FxD):
  return x_RxF @ kernel_FxD.astype(x_RxF.dtype)


def _mixed_backward(kept, dy_RxD):
  x_RxF, kernel_FxD = kept
  dx_RxF = dy_RxD @ kernel_FxD.astype(dy_RxD.dtype).T
  rows = (((0,), (0,)), ((), ()))
  # Sums of many rows, and over devices, are not rounded to 8 bits.
  d_FxD = jax.lax.dot_general(
    x_RxF, dy_RxD, rows, preferred_element_type=kernel_FxD.dtype
  )
  return dx_RxF, d_FxD


_mixed_product.defvjp(
  lambda x, kernel: (_mixed_product(x, kernel), (x, kernel)), _mixed_backward
)


def add(y: jax.Array, bias: jax.Array) -> jax.Array:
  """Of the type of y; what the bias gets as gradient is summed in its own."""
  return (y + bias).astype(y.dtype)


class Linear(nn.Module):
  """x @ kernel + bias, both drawn from U(±1/sqrt(fan_in))."""

  width: int
  use_bias: bool = True
  bound: float | None = None
  dtype: Dtype = None

  @nn.compact
  def __call__(self, x):
    bound = self.bound or 1 / math.sqrt(x.shape[-1])
    shape = (x.shape[-1], self.width)
    kernel = self.param("kernel", uniform(bound), shape, float)
    x, _ = promote_dtype(x, kernel, dtype=self.dtype)
    y = product(x, kernel)
    if self.use_bias:
      y = add(y, self.param("bias", uniform(bound), (self.width,), float))
    return y


class Conv(nn.Module):
  """Stride-1 convolution over (..., H, W, F) with a square kernel.

  The grids here are tiny and the features wide, so it is written as the one
  matrix product that it mostly is: of gathered neighborhoods (an ordinary
  convolution), or before products are spread over neighborhoods (a transposed
  one, y[p + i, q + j] += x[p, q] @ kernel[i, j], which grows the grid by
  size - 1). On CPU this is several times faster than the library's convolution
  and its gradients, and the transposed form multiplies no padding.

  A transposed one may get its first features as `everywhere` (..., E), which
  are equal at all places of the grid and multiplied once.
  """

  width: int
  size: int
  padding: int = 0
  use_bias: bool = True
  transposed: bool = False
  dtype: Dtype = None

  @nn.compact
  def __call__(self, x, everywhere=None):
    given = [x] if everywhere is None else [everywhere, x]
    features = sum(part.shape[-1] for part in given)
    # PyTorch draws transposed convolutions by their OUTPUT width.
    fan_in = self.width if self.transposed else features
    bound = 1 / math.sqrt(fan_in * self.size**2)
    shape = (self.size, self.size, features, self.width)
    kernel = self.param("kernel", uniform(bound), shape, float)
    *given, _ = promote_dtype(*given, kernel, dtype=self.dtype)
    if self.size == 1 and not self.padding and everywhere is None:
      y = product(given[0], kernel[0, 0])
    elif self.transposed:
      y = chunks.rows_on_cpu(_spread, kernel, given, self.size**2 * self.width)
    else:
      gather = functools.partial(_gather, padding=self.padding)
      y = chunks.rows_on_cpu(gather, kernel, given, self.size**2 * features)
    if self.use_bias:
      y = add(y, self.param("bias", uniform(bound), (self.width,), float))
    return y


def _gather(kernel, x, padding: int):
  size = kernel.shape[0]
  pad = [(0, 0)] * (x.ndim - 3) + [(padding, padding)] * 2 + [(0, 0)]
  x = jnp.pad(x, pad) if padding else x
  H, W = x.shape[-3] - size + 1, x.shape[-2] - size + 1
  near = [
    x[..., i : i + H, j : j + W, :] for i in range(size) for j in range(size)
  ]
  flat = kernel.reshape(-1, kernel.shape[-1])
  return product(jnp.concatenate(near, -1), flat)


def _spread(kernel, *given):
  size, _, F, _ = kernel.shape
  flat = kernel.transpose(2, 0, 1, 3).reshape(F, -1)
  x = given[-1]
  E = F - x.shape[-1]
  y = product(x, flat[E:])
  if E:
    y += product(given[0], flat[:E])[..., None, None, :]
  # A split, because its gradient is one concatenation; that of slices is not.
  parts = jnp.split(y, size**2, -1)
  edge = [(0, 0)] * (x.ndim - 3)
  y = jnp.zeros((), y.dtype)
  for n, part in enumerate(parts):
    i, j = divmod(n, size)
    pad = [*edge, (i, size - 1 - i), (j, size - 1 - j), (0, 0)]
    y += jnp.pad(part, pad)
  return y


class ResidualBlock(nn.Module):
  """relu(r + conv1x1(relu(conv3x3(r)))) with r = relu(x); no biases.

  The skip carries relu(x), not x: the released code rectifies in place.
  """

  dtype: Dtype = None

  @nn.compact
  def __call__(self, x):
    width = x.shape[-1]
    r = nn.relu(x)
    y = Conv(width, 3, padding=1, use_bias=False, dtype=self.dtype)(r)
    y = Conv(width, 1, use_bias=False, dtype=self.dtype)(nn.relu(y))
    return nn.relu(r + y)


class SelfAttention(nn.Module):
  """Multi-head self-attention over time with a packed q, k, v projection."""

  heads: int = 4
  dtype: Dtype = None

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT=None, drop=lambda x: x):
    B, T, D = x_BxTxD.shape
    bound = math.sqrt(6 / (2 * D + 2 * D))  # Xavier over the packed (D, 3D)
    kernel = self.param("in_kernel", uniform(bound), (D, 3 * D), float)
    bias = self.param("in_bias", nn.initializers.zeros, (3 * D,), float)
    x, _ = promote_dtype(x_BxTxD, kernel, dtype=self.dtype)
    qkv = add(product(x, kernel), bias)
    qkv = qkv.reshape(B, T, 3, self.heads, D // self.heads)
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    score = jnp.einsum("btnd,bsnd->bnts", q, k) / math.sqrt(D // self.heads)
    score = score.astype(jnp.promote_types(score.dtype, jnp.float32))
    if mask_BxT is not None:
      low = jnp.finfo(score.dtype).min
      score = jnp.where(mask_BxT[:, None, None, :], score, low)
    weight = drop(jax.nn.softmax(score).astype(x.dtype))
    mixed = jnp.einsum("bnts,bsnd->btnd", weight, v).reshape(B, T, D)
    out_bias = self.param("out_bias", nn.initializers.zeros, (D,), float)
    y = Linear(D, use_bias=False, dtype=self.dtype, name="out")(mixed)
    return add(y, out_bias)


def dropout(
  keys_B: jax.Array, rate: float, shapes: Sequence[tuple[int, ...]]
) -> list[Callable[[jax.Array], jax.Array]]:
  """One dropout function for each shape (without the batch axis).

  Each sample draws from its own key, so that what it loses does not depend on
  the device that holds it; all places share one draw, which compiles faster.

  Args:
    keys_B: one PRNG key a sample.
    rate: probability of a zero; kept entries are scaled by 1 / (1 - rate).
    shapes: of the arrays that will be dropped from.
  """
  sizes = [math.prod(shape) for shape in shapes]

  def draw(key):
    # Halves of words: a CPU takes longer to draw than to drop.
    word = jax.random.bits(key, (-(-sum(sizes) // 2),), jnp.uint32)
    half = jnp.concatenate([word >> 16, word & 0xFFFF])
    return half[: sum(sizes)] >= round(rate * 2**16)

  keep_BxN = jax.vmap(draw)(keys_B)
  cuts = list(itertools.accumulate(sizes))[:-1]

  def drop(keep, shape, x):
    keep = keep.reshape(-1, *shape)
    return jnp.where(keep, x / (1 - rate), 0).astype(x.dtype)

  parts = jnp.split(keep_BxN, cuts, 1)
  return [
    functools.partial(drop, keep, shape)
    for keep, shape in zip(parts, shapes, strict=True)
  ]


class TransformerLayer(nn.Module):
  """One post-norm encoder layer with four dropout sites, no positions."""

  heads: int = 4
  hidden: int = 1024
  rate: float = 0.1
  dtype: Dtype = None

  @nn.compact
  def __call__(self, x_BxTxD, mask_BxT=None, keys_B=None):
    _, T, D = x_BxTxD.shape
    drop = [lambda x: x] * 4
    if keys_B is not None and self.rate > 0:
      shapes = [(self.heads, T, T), (T, D), (T, self.hidden), (T, D)]
      drop = dropout(keys_B, self.rate, shapes)
    attention = SelfAttention(self.heads, self.dtype, name="attention")
    attended = drop[1](attention(x_BxTxD, mask_BxT, drop[0]))
    x = LayerNorm(self.dtype, name="norm1")(x_BxTxD + attended)
    y = Linear(self.hidden, dtype=self.dtype, name="linear1")(x)
    y = Linear(D, dtype=self.dtype, name="linear2")(drop[2](nn.relu(y)))
    return LayerNorm(self.dtype, name="norm2")(x + drop[3](y))


def LayerNorm(dtype: Dtype, name: str) -> nn.LayerNorm:
  """Layer normalization over the last axis with PyTorch's epsilon."""
  return nn.LayerNorm(
    epsilon=1e-5,
    dtype=dtype,
    param_dtype=jnp.result_type(float),
    use_fast_variance=False,
    name=name,
  )
