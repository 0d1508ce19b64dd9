"""Layers with the initial distributions of the published method.

Dimensions: B samples, T time, H/W grid, F features in, D features out, N heads
(of attention) or numbers, R rows. Every layer computes in `dtype` (None: that
of its input) and stores its parameters in float32, or in float64 with x64 on.
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
  """Declares U(-bound, bound), as an array of `bound`; `draw` makes draws."""

  def init(key, shape, dtype=float):
    del key
    return jnp.full(shape, bound, dtype)

  return init


def draw(key: jax.Array, declared: Any) -> Any:
  """Turns declared half widths into draws; scales of norms stay as they are.

  Args:
    key: PRNG key.
    declared: parameters as the layers' own `init` returns them.
  """
  # One long draw for the whole tree compiles in a second; a draw for every
  # parameter took half a minute.
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

  The kernel's gradient is summed in the kernel's own type.
  """
  # One axis of rows: for the gradient of a product over several axes, a CPU
  # transposes all rows first.
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
  # The sum over many rows, and later over devices, would lose the most to the
  # 8 bits of bfloat16; so it is the one product that is not in the type of x.
  d_FxD = jax.lax.dot_general(
    x_RxF, dy_RxD, rows, preferred_element_type=kernel_FxD.dtype
  )
  return dx_RxF, d_FxD


_mixed_product.defvjp(
  lambda x, kernel: (_mixed_product(x, kernel), (x, kernel)), _mixed_backward
)


def add(y: jax.Array, bias: jax.Array) -> jax.Array:
  """Adds a bias, in the type of y; its gradient is summed in its own type."""
  return (y + bias).astype(y.dtype)


class Linear(nn.Module):
  """x @ kernel + bias, drawn from U(±1/sqrt(fan_in)): (..., F) -> (..., D).

  Attributes:
    width: D.
    use_bias: whether there is a bias.
    bound: half width of the draws instead of 1/sqrt(fan_in).
    dtype: computation type.
  """

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

  Grids are tiny here and features wide, so a convolution is mostly one matrix
  product: of gathered neighborhoods, or, if `transposed`, followed by adding
  the products up over neighborhoods,

      y[p + i, q + j] += x[p, q] @ kernel[i, j],

  which grows the grid by size - 1. On CPU this is several times faster than
  the library's convolution and its gradients.

  A transposed convolution may get its first features as `everywhere` (..., E).
  They are the same at all positions of the grid, so they are multiplied once.

  Attributes:
    width: D.
    size: of the kernel.
    padding: zeros on each side of the grid; not if `transposed`.
    use_bias: whether there is a bias.
    transposed: see above.
    dtype: computation type.
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
    # Neighborhoods and products are size^2 times as large as x: see `chunks`.
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
  # Shifted grids side by side, in the order of the kernel's flattened axes.
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
  # Padded sums instead of scatters into slices, whose gradients copy the grid.
  edge = [(0, 0)] * (x.ndim - 3)
  y = jnp.zeros((), y.dtype)
  for n, part in enumerate(parts):
    i, j = divmod(n, size)
    pad = [*edge, (i, size - 1 - i), (j, size - 1 - j), (0, 0)]
    y += jnp.pad(part, pad)
  return y


class ResidualBlock(nn.Module):
  """relu(r + conv1x1(relu(conv3x3(r)))) with r = relu(x); no biases.

  The skip carries relu(x), not x, because the released code rectifies in place.
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
  """Multi-head self-attention over time: (B, T, D) -> (B, T, D).

  Vaswani et al. 2017, "Attention Is All You Need", with a packed projection to
  q, k and v. Steps that are False in the mask get no attention.
  """

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
    # A softmax in 16 bits would not add up to 1.
    score = score.astype(jnp.promote_types(score.dtype, jnp.float32))
    if mask_BxT is not None:
      # Not -inf: a row without any valid step would be NaN.
      low = jnp.finfo(score.dtype).min
      score = jnp.where(mask_BxT[:, None, None, :], score, low)
    weight = drop(jax.nn.softmax(score).astype(x.dtype))
    mixed = jnp.einsum("bnts,bsnd->btnd", weight, v).reshape(B, T, D)
    # The bias apart, since it begins at zero, unlike that of `Linear`.
    out_bias = self.param("out_bias", nn.initializers.zeros, (D,), float)
    y = Linear(D, use_bias=False, dtype=self.dtype, name="out")(mixed)
    return add(y, out_bias)


def dropout(
  keys_B: jax.Array, rate: float, shapes: Sequence[tuple[int, ...]]
) -> list[Callable[[jax.Array], jax.Array]]:
  """Dropout functions, one for each shape (without the batch axis).

  Each sample draws from its own key, so that its zeros do not depend on the
  device that holds it.

  Args:
    keys_B: one PRNG key for each sample.
    rate: probability of a zero; kept entries are scaled by 1 / (1 - rate).
    shapes: of the arrays to drop from.
  """
  sizes = [math.prod(shape) for shape in shapes]

  def draw(key):
    # One draw for all shapes compiles faster. Each half of a word decides one
    # entry, because a CPU takes longer to draw than to drop.
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
  """A post-norm encoder layer without positions: (B, T, D) -> (B, T, D).

  Dropout acts on attention weights, on the outputs of attention, on hidden
  units and on their outputs.
  """

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
  """Layer normalization over the last axis, with PyTorch's epsilon."""
  return nn.LayerNorm(
    epsilon=1e-5,
    dtype=dtype,
    param_dtype=jnp.result_type(float),
    use_fast_variance=False,  # E[x^2] - E[x]^2 cancels
    name=name,
  )
