"""The compiled programs of a frozen model, and the shapes of their calls.

Compiling takes longer than running. Calls are therefore padded to a few shapes
(buckets), so that any number and length of samples share programs.

Dimensions: B samples, T time, K codes, D code width.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unirep.configuration import build
from unirep.methods.network import Network
from unirep.quantizer.codebook import assign, distances

ROWS = (1, 8, 64)  # buckets of samples
SMALL = 16  # up to this number of steps, each number is a bucket


class Programs:
  """Programs of one network, one set of weights and one codebook.

  Attributes:
    network: the description of the network.
    params: its weights.
    code_KxD: the codebook.
    masked: whether the model was trained with masks of padding. Otherwise
      padding counts as part of the sample.
    encode: (params, codebook, features, mask, *, clip) -> codes of steps, or of
      clips if `clip`.
    encode_both: (params, codebook, features, mask, dropout keys or None) ->
      codes of steps, codes of clips. Computations in common are done once.
  """

  def __init__(
    self,
    network: Network,
    params: Mapping[str, Any],
    code_KxD: np.ndarray,
    settings: Mapping[str, Any],
  ):
    self.network, self.params, self.code_KxD = network, params, code_KxD
    self.masked = settings["mask_padding"]
    self._settings = settings

    @jax.jit
    def encode_both(params, code_KxD, features, mask, keys_B):
      clips = network.encode(
        params, code_KxD, features, mask, keys_B, clip=True
      )
      steps = network.encode(params, code_KxD, features, mask, keys_B)
      return steps, {m: x[:, 0] for m, x in clips.items()}

    @functools.partial(jax.jit, static_argnames="clip")
    def encode(params, code_KxD, features, mask, *, clip):
      return network.encode(params, code_KxD, features, mask, clip=clip)

    self.encode_both, self.encode = encode_both, encode

  @functools.cached_property
  def states(self) -> Callable[..., Any]:
    """(params, codebook, features, mask) -> modality -> [of steps, of clips].

    Each of the two is (codes, vectors before quantization, distributions over
    codes).
    """
    network = self.network
    distribution = build.distribution(build.from_json(self._settings))

    @jax.jit
    def states(params, code_KxD, features, mask):
      results = {}
      for clip in (False, True):
        general = network.general(params, features, mask, clip=clip)
        for m, x_BxTxD in general.items():
          distance_BxTxK = distances(code_KxD, x_BxTxD)
          soft_BxTxK = distribution(distance_BxTxK, network.dim)
          idx_BxT = assign(code_KxD, x_BxTxD)
          results.setdefault(m, []).append((idx_BxT, x_BxTxD, soft_BxTxK))
      return results

    return states

  @functools.cached_property
  def _decode(self) -> Callable[..., Any]:
    @functools.partial(jax.jit, static_argnums=1)
    def decode(params, m, code_KxD, idx_BxT, mean):
      specific = {
        n: jnp.repeat(y[None], len(idx_BxT), 0) for n, y in mean.items()
      }
      return self.network.decode(params, m, code_KxD[idx_BxT], specific)

    return decode

  @functools.cached_property
  def _mean_specific(self) -> Callable[..., Any]:
    """(params, modality, features) -> mean specific features, by their name."""

    @functools.partial(jax.jit, static_argnums=1)
    def mean_specific(params, m, x):
      mean = {}
      for name, y in self.network.left_out(params, m, x, None).items():
        mean[name] = y.mean(0)
        if name == "fine":  # averaged over steps as well: equal at all steps
          mean[name] = jnp.broadcast_to(y.mean((0, 1)), y.shape[1:])
      return mean

    return mean_specific

  def decode(
    self, m: str, idx_BxT: np.ndarray, like: np.ndarray, rows: int
  ) -> np.ndarray:
    """Features of codes, 0 where the code is -1; see `Tokenizer.decode`."""
    mean = self._mean_specific(self.params, m, like[:rows])
    parts = [
      np.asarray(
        self._decode(self.params, m, self.code_KxD, np.maximum(part, 0), mean)
      )
      for part in np.split(idx_BxT, range(rows, len(idx_BxT), rows))
    ]
    decoded = np.concatenate(parts)
    padding = idx_BxT.reshape(idx_BxT.shape + (1,) * (decoded.ndim - 2)) < 0
    return np.where(padding, 0, decoded)

  def in_buckets(
    self, m: str, x: np.ndarray, length_B: np.ndarray, program: Callable
  ) -> Any:
    """Results of a program on any number of samples, called in buckets.

    Args:
      m: the modality.
      x: its features (B, T, ...).
      length_B: number of valid steps of each sample.
      program: (params, codebook, features, masks) -> modality -> a tree of
        arrays (B, T, ...), or (B, 1, ...) of clips.

    Returns:
      The tree of the modality, for all samples.
    """
    T = x.shape[1]
    # Without masks, padding to a bucket of steps would change the results.
    steps = bucket_steps(T) if self.masked else T
    parts, first = [], 0
    while first < len(x):
      count = bucket_rows(len(x) - first)
      part = slice(first, first + count)
      rows = fill(x[part], count, steps)
      valid_B = fill(length_B[part][:, None], count, 1)[:, 0]
      mask = self.mask({m: rows}, {m: valid_B})
      # Weights are arguments: as constants they would slow compilation down.
      result = program(self.params, self.code_KxD, {m: rows}, mask)[m]
      valid = min(count, len(x) - first)
      parts.append(
        jax.tree.map(lambda y, n=valid: np.asarray(y)[:n, :T], result)
      )
      first += count
    return jax.tree.map(lambda *y: np.concatenate(y), *parts)

  def mask(self, features: Any, lengths: Any) -> dict[str, np.ndarray]:
    """Masks of padding (B, T), by modality; none if the model takes none.

    Args:
      features: modality -> (B, T, ...).
      lengths: modality -> (B,) valid steps.
    """
    if not self.masked:
      return {}
    return {
      m: np.arange(features[m].shape[1]) < np.asarray(n)[:, None]
      for m, n in lengths.items()
      if m in features
    }


def bucket_rows(samples: int) -> int:
  """Samples of the next call: the smallest bucket that fits, or the largest."""
  return next((n for n in ROWS if samples <= n), ROWS[-1])


def bucket_steps(steps: int) -> int:
  """Time steps of a call: `steps` up to `SMALL`, then the next power of two."""
  return steps if steps <= SMALL else 1 << (steps - 1).bit_length()


def fill(x: np.ndarray, count: int, steps: int) -> np.ndarray:
  """(B, T, ...) -> (count, steps, ...): repeats the last sample, adds zeros."""
  missing = count - len(x)
  if missing:
    x = np.concatenate([x, np.repeat(x[-1:], missing, 0)])
  if steps > x.shape[1]:
    edge = [(0, 0), (0, steps - x.shape[1]), *[(0, 0)] * (x.ndim - 2)]
    x = np.pad(x, edge)
  return x
