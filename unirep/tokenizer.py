"""The frozen model: features in, codes and vectors out.

    model = unirep.load("runs/digits")
    codes = model.encode(audio=audio, video=video)

NumPy in and NumPy out. Dimensions: B samples, T time, F feature width, K codes,
D code width.
"""

import functools
import operator
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from unirep import buckets, build, inputs, media
from unirep import codes as coded
from unirep.codebook import awake
from unirep.codes import Codes
from unirep.data import pipeline, presence
from unirep.data.sample import PRESENT, Source
from unirep.errors import InputError
from unirep.methods.network import Network
from unirep.train import checkpoint

ROWS = 64  # samples a call: one shape to compile, whatever comes


class Tokenizer:
  """A frozen model, see `load`.

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

  def __reduce__(self):
    """Pickles what it is made of; programs are compiled where it arrives."""
    made = self._network, self._params, self.codebook, self.settings
    return type(self), jax.device_get((*made, self._rows))

  def encode(
    self,
    features: Mapping[str, Any] | None = None,
    /,
    lengths: Mapping[str, Sequence[int]] | None = None,
    **named: Any,
  ) -> dict[str, Any]:
    """Codes of any of the modalities.

    Args:
      features: modality -> an array (B, T, F), or (B, T, H, W, F) of a grid, or
        a list of B arrays that differ in T. Any B. An axis less means T = 1, as
        in training.
      lengths: modality -> valid steps of each sample, where arrays are padded.
      **named: features as keywords, instead or beside.

    Returns:
      Modality -> int32 codes (B, T), or a list of B arrays (T,) for a list. A
      modality that is not fine-aligned, like text, has one code a sample: T is
      1 then. Codes of padding are -1, and so are those of samples that are all
      NaN if the model was trained with `data.missing`.

    Raises:
      InputError: for an unknown modality, a wrong rank or width, NaN, or no
        samples.
    """
    return self._each({**(features or {}), **named}, lengths, clip=False)

  def encode_clips(
    self,
    features: Mapping[str, Any] | None = None,
    /,
    lengths: Mapping[str, Sequence[int]] | None = None,
    **named: Any,
  ) -> dict[str, np.ndarray]:
    """One code a sample, in every modality: to compare or to look up samples.

    Args:
      features: as in `encode`, like the others.
      lengths: likewise.
      **named: likewise.

    Returns:
      Modality -> int32 codes (B,), also for a list. For a modality that is not
      fine-aligned they are those of `encode`.

    Raises:
      InputError: as `encode` does.
    """
    return self._each({**(features or {}), **named}, lengths, clip=True)

  encode_files = media.encode  # codes of raw media

  def check(self, features: Mapping[str, Any]) -> dict[str, Any]:
    """The features as float32; raises InputError where `encode` would."""
    unknown = [m for m in features if m not in self.modalities]
    if unknown or not features:
      problem = f"no modality {unknown[0]!r}" if unknown else "no features"
      raise InputError(f"{problem}; give any of {', '.join(self.modalities)}")
    return {
      m: inputs.checked(
        m, x, self._network.kind(m).axes, self._network.width(self._params, m)
      )
      for m, x in features.items()
    }

  def embed(
    self,
    features: Mapping[str, Any] | None = None,
    /,
    lengths: Mapping[str, Sequence[int]] | None = None,
    *,
    keep: Any = None,
    **named: Any,
  ) -> dict[str, Any]:
    """Quantized vectors, (B, T, D) where `encode` has (B, T).

    Args:
      features: as in `encode`, like the others. Vectors of padding are zero.
      lengths: likewise.
      keep: a mask (D,) or indices of dimensions: the rest is dropped.
      **named: likewise.
    """
    code_KxD = self.codebook
    if keep is not None:
      code_KxD = code_KxD[:, inputs.dimensions(keep, code_KxD.shape[1])]
    table = np.concatenate([code_KxD, np.zeros_like(code_KxD[:1])])  # [-1]
    return {
      m: [table[i] for i in idx] if isinstance(idx, list) else table[idx]
      for m, idx in self.encode(features, lengths, **named).items()
    }

  def codes(
    self,
    source: Source,
    *,
    dropout: jax.Array | None = None,
    passes: int = 1,
    first: int = 0,
  ) -> Codes:
    """Codes of every sample of a source, in order, with its labels.

    All devices of this process take part.

    Args:
      source: N samples.
      dropout: a PRNG key; without it there is no dropout.
      passes: how often each sample is encoded, with other dropout.
      first: the number of the first sample, where `source` is a part of
        another: dropout is drawn by number.

    Returns:
      Codes of passes * N samples, pass after pass.
    """
    results: list[list[Codes]] = [[] for _ in range(passes)]
    devices = jax.local_devices()[: max(-(-len(source) // self._rows), 1)]
    model = self._params, self.codebook
    spread: Any = None
    if len(devices) > 1:
      mesh = Mesh(devices, ("data",), axis_types=(AxisType.Auto,))
      spread = NamedSharding(mesh, PartitionSpec("data"))
      model = jax.device_put(model, NamedSharding(mesh, PartitionSpec()))
    rows = self._rows * len(devices)
    for batch, valid in pipeline.in_order(source, rows):
      features, present = batch["features"], batch.get(PRESENT, {})
      known = {m: x for m, x in features.items() if m in self.modalities}
      mask = self._mask(features, batch["lengths"])
      steps = {m: mask[m][:valid] for m in {*mask} & {*self._network.fine}}
      present = {m: here_B[:valid] for m, here_B in present.items()}
      labels = {n: x[:valid] for n, x in batch["labels"].items()}
      for i, result in enumerate(results):
        keys_B = None
        if dropout is not None:
          row_B = first + jnp.arange(rows)
          key = jax.random.fold_in(dropout, i)
          keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, row_B)
        args = known, mask, keys_B
        args = args if spread is None else jax.device_put(args, spread)
        # Weights are arguments: as constants they would slow compilation down.
        found = jax.device_get(self._both(*model, *args))
        idx, clip = jax.tree.map(operator.itemgetter(slice(valid)), found)
        result.append(coded.only(Codes(idx, clip, labels), steps, present))
      first += valid
    return coded.join([codes for result in results for codes in result])

  def _each(self, features, lengths, *, clip: bool) -> dict[str, Any]:
    features, lacks = inputs.lacking(features, self._may_lack)
    lengths, features = lengths or {}, self.check(features)
    for m in lengths:
      if m not in features:
        raise InputError(f"lengths[{m!r}] has no features of that name")
    return {
      m: inputs.without(self._one(m, x, lengths.get(m), clip), lacks[m])
      for m, x in features.items()
    }

  def _one(self, m: str, x: Any, length: Any, clip: bool):
    ragged = isinstance(x, list)
    if ragged:
      x, length = buckets.stack(x)
    elif length is None:
      length = np.full(len(x), x.shape[1])
    length_B = np.asarray(length)
    if length_B.shape != x.shape[:1] or not (
      np.issubdtype(length_B.dtype, np.integer)
      and ((length_B >= 1) & (length_B <= x.shape[1])).all()
    ):
      raise InputError(
        f"lengths of {m!r} must be {len(x)} integers in 1..{x.shape[1]}"
      )
    codes = self._in_buckets(m, x, length_B, clip)
    if clip:
      return codes[:, 0]
    if m not in self._network.fine:
      return list(codes) if ragged else codes
    codes[np.arange(codes.shape[1]) >= length_B[:, None]] = -1
    if ragged:
      return [i[:n] for i, n in zip(codes, length_B, strict=True)]
    return codes

  def _in_buckets(self, m, x, length_B, clip):
    """Codes (B, T), or (B, 1) of clips, by programs that all calls share."""
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
      found = self._either(
        self._params, self.codebook, {m: rows}, mask, clip=clip
      )
      parts.append(np.asarray(found[m])[: len(x) - first, :T])
      first += count
    return np.concatenate(parts)

  def _mask(self, features, lengths):
    """Modality -> (B, T) bool, where the model was trained with masks."""
    if not self._masked:
      return {}
    return {
      m: np.arange(features[m].shape[1]) < np.asarray(n)[:, None]
      for m, n in lengths.items()
      if m in features
    }


def load(path: str | pathlib.Path) -> Tokenizer:
  """Loads a trained model.

  Args:
    path: the work directory of a pretraining run, or one of its checkpoints.

  Raises:
    InputError: if there is no checkpoint, or it is damaged.
  """
  params, codebook, settings = checkpoint.read_model(pathlib.Path(path))
  network = build.network(build.from_json(settings))
  return Tokenizer(network, params, codebook["code_KxD"], settings)
