"""A network with its parameters, and the programs that are compiled of it.

Dimensions: B samples, T time, K codes, D code width.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unirep import buckets, build
from unirep.codebook import assign, awake, distances
from unirep.data import presence
from unirep.methods.network import Network

ROWS = 64  # samples a call: one shape to compile, whatever comes


class Frozen:
  """What computes codes; `unirep.tokenizer` is its face.

  Attributes:
    modalities: their names.
    codebook: (K, D), the codes.
    awake: (K,) bool, which of them can be chosen.
    settings: the configuration of the run that trained it.
  """

  def __init__(
    self,
    network: Network,
    params: Mapping[str, Any],
    code_KxD: Any,
    settings: Mapping[str, Any],
    rows: int = ROWS,
  ):
    self.modalities = network.order
    self.codebook = np.asarray(code_KxD)
    self.awake = np.asarray(awake(code_KxD))
    self.settings = settings
    self._network, self._params, self._rows = network, params, rows
    # Padding is what it was in training: left out, or a part of the sample.
    self._masked = settings["mask_padding"]
    self._may_lack = presence.expected(settings["data"])

    @jax.jit
    def both(params, code_KxD, features, mask, keys_B):
      args = params, code_KxD, features, mask, keys_B
      # What both have in common is computed once: it is one program.
      clip = network.encode(*args, clip=True)
      return network.encode(*args), {m: x[:, 0] for m, x in clip.items()}

    @functools.partial(jax.jit, static_argnames="clip")
    def one(params, code_KxD, features, mask, *, clip):
      return network.encode(params, code_KxD, features, mask, clip=clip)

    self._both, self._either = both, one

  @functools.cached_property
  def digest(self) -> str:
    """Of all that codes depend on: settings, weights, codes; 16 digits."""
    text = json.dumps(self.settings, sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode())
    for keys, x in jax.tree_util.tree_leaves_with_path(self._params):
      digest.update(jax.tree_util.keystr(keys).encode())
      digest.update(np.asarray(x).tobytes())
    digest.update(self.codebook.tobytes())
    return digest.hexdigest()[:16]

  def __reduce__(self):
    """Pickles what it is made of; programs are compiled where it arrives."""
    made = self._network, self._params, self.codebook, self.settings
    return type(self), jax.device_get((*made, self._rows))

  @functools.cached_property
  def _whole(self) -> Callable[..., Any]:
    """What is quantized, of steps and of clips, and what becomes of it."""
    network = self._network
    distribution = build.distribution(build.from_json(self.settings))

    @jax.jit
    def whole(params, code_KxD, features, mask):
      found = {}
      for clip in (False, True):
        general = network.general(params, features, mask, clip=clip)
        for m, x_BxTxD in general.items():
          distance_BxTxK = distances(code_KxD, x_BxTxD)
          soft_BxTxK = distribution(distance_BxTxK, network.dim)
          idx_BxT = assign(code_KxD, x_BxTxD)
          found.setdefault(m, []).append((idx_BxT, x_BxTxD, soft_BxTxK))
      return found

    return whole

  @functools.cached_property
  def _decoding(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """What codes leave out of features on average; features of codes."""
    network = self._network

    @functools.partial(jax.jit, static_argnums=1)
    def left_out(params, m, x, mask_BxT):
      found = network.left_out(params, m, x, mask_BxT)
      # Of steps too: what is left is the same at every time.
      steps = {"fine": lambda y: jnp.broadcast_to(y.mean((0, 1)), y.shape[1:])}
      return {n: steps.get(n, lambda y: y.mean(0))(y) for n, y in found.items()}

    @functools.partial(jax.jit, static_argnums=1)
    def decode(params, m, code_KxD, idx_BxT, rest):
      rows = {n: jnp.repeat(y[None], len(idx_BxT), 0) for n, y in rest.items()}
      return network.decode(params, m, code_KxD[idx_BxT], rows)

    return left_out, decode

  def _in_buckets(self, m, x, length_B, program):
    """What a program finds, by shapes that all calls share.

    Args:
      m: the modality.
      x: its features (B, T, ...).
      length_B: valid steps.
      program: (parameters, codes, features, masks) -> modality -> a tree of
        arrays (B, T, ...), or (B, 1, ...) of clips.
    """
    T = x.shape[1]
    # Padding changes nothing only where the model was trained to leave it out.
    steps = buckets.time(T) if self._masked else T
    parts, first = [], 0
    while first < len(x):
      count = buckets.rows(len(x) - first)
      part = slice(first, first + count)
      rows = buckets.fill(x[part], count, steps)
      valid = buckets.fill(length_B[part][:, None], count, 1)[:, 0]
      mask = self._mask({m: rows}, {m: valid})
      # Weights are arguments: as constants they would slow compilation down.
      found = program(self._params, self.codebook, {m: rows}, mask)[m]
      here = slice(len(x) - first), slice(T)
      parts.append(jax.tree.map(lambda y, at=here: np.asarray(y)[at], found))
      first += count
    return jax.tree.map(lambda *y: np.concatenate(y), *parts)

  def _mask(self, features, lengths):
    """Modality -> (B, T) bool, where the model was trained with masks."""
    if not self._masked:
      return {}
    return {
      m: np.arange(features[m].shape[1]) < np.asarray(n)[:, None]
      for m, n in lengths.items()
      if m in features
    }
