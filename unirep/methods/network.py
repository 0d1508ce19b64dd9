"""The base class of the methods' networks.

Dimensions: B samples, T time, D code width, K codes, F raw feature width.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from unirep.losses import club
from unirep.losses.base import Arrays, Outputs
from unirep.nn import encoders, sites
from unirep.nn.blocks import Dtype
from unirep.nn.kinds import KINDS, Kind
from unirep.quantizer import codebook
from unirep.runtime.errors import InputError

Params = Mapping[str, Any]


class Modality(NamedTuple):
  """The description of one modality.

  Attributes:
    kind: one of `nn.kinds.KINDS`.
    fine: whether it shares the time axis of the fine-aligned modalities.
    specific: width S of its specific features.
  """

  kind: str
  fine: bool
  specific: int = 256


@dataclasses.dataclass(frozen=True)
class Network:
  """A description of a network; its methods are pure functions.

  A subclass writes `run`, `quantized`, `left_out`, `decode`, `assign`,
  `club_rows` and `club_pairs`.

  Attributes:
    modalities: name -> Modality. Their order is the codebook's update order.
    dim: code width D.
    heads: attention heads of the temporal encoders.
    hidden: width of their feed-forward layers.
    layers: their depth.
    dropout: their dropout rate.
    pool: how grids become vectors, see `encoders.GridPool`.
    sphere: whether vectors before quantization are scaled to the sphere on
      which the codes lie, see `codebook.on_sphere`.
    dtype: computation type (None: that of the features).
  """

  modalities: Mapping[str, Modality]
  dim: int = 256
  heads: int = 4
  hidden: int = 1024
  layers: int = 1
  dropout: float = 0.1
  pool: str = "sum"
  sphere: bool = True
  dtype: Dtype = None

  @property
  def order(self) -> tuple[str, ...]:
    """All modality names."""
    return tuple(self.modalities)

  @property
  def fine(self) -> tuple[str, ...]:
    """Names of the fine-aligned modalities, which have a code for each step."""
    return tuple(m for m, spec in self.modalities.items() if spec.fine)

  def kind(self, modality: str) -> Kind:
    """The kind of a modality: its layers and the shape of its features."""
    return KINDS[self.modalities[modality].kind]

  def aligns_in_time(self, features: Mapping[str, Any]) -> bool:
    """Whether there are two fine-aligned modalities of enough steps for CPC."""
    # A context of two tokens, and one token to predict.
    return len(self.fine) > 1 and features[self.fine[0]].shape[1] >= 3

  def check(self, features: Mapping[str, Any]) -> None:
    """Raises InputError where features (B, T, ...) do not fit the encoders."""
    for m, spec in self.modalities.items():
      if m not in features:
        raise InputError(f"no modality {m!r} in the data, only {[*features]}")
      shape, kind = features[m].shape[2:], self.kind(m)
      if features[m].ndim < 2 or len(shape) != len(kind.axes):
        raise InputError(
          f"encoders.{m}.kind={spec.kind!r} wants (T, {', '.join(kind.axes)}) "
          f"features, but {m!r} has shape {features[m].shape[1:]}"
        )
      grid = shape[:-1]
      small = [n < k for n, k in zip(grid, kind.least, strict=True)]
      if spec.fine and any(small):
        least = " x ".join(map(str, kind.least))
        raise InputError(
          f"{m!r}: a {spec.kind} needs {least} positions, got {grid}"
        )
    times = {m: features[m].shape[1] for m in self.fine}
    if len(set(times.values())) > 1:
      raise InputError(
        f"fine-aligned modalities differ in time steps: {times}; with features"
        " of your own data.resample=mean (or nearest, linear) makes them agree"
      )

  def width(self, params: Params, modality: str) -> int:
    """Raw feature width F of the trained encoder's inputs."""
    # From the parameters, so that a checkpoint says it without its data.
    tokens = params["encoder"]["tokens"][modality]
    return tokens["embed"]["kernel"].shape[0]

  def init(self, key: jax.Array, features: Arrays) -> dict[str, Any]:
    """Parameters {"encoder": ..., "decoder": ...} for features (B, T, ...)."""
    # One sample is enough, since no parameter depends on B or T.
    rows = {m: jnp.asarray(features[m])[:1] for m in self.order}
    return sites.init(key, lambda run: self.run(run, None, rows, {}, None))

  def forward(
    self,
    params: Params,
    code_KxD: jax.Array,
    features: Arrays,
    mask: Arrays | None = None,
    keys_B: jax.Array | None = None,
  ) -> Outputs:
    """The forward pass of training.

    Args:
      params: from `init`.
      code_KxD: the codebook's codes; they get no gradient.
      features: modality -> (B, T, ...).
      mask: modality -> (B, T), False at padding; without an entry for a
        modality without padding.
      keys_B: one dropout key for each sample, or None for no dropout.
    """
    run = sites.apply(params)
    outputs = self.run(run, code_KxD, features, mask or {}, keys_B)
    # Layers may compute in 16 bits; losses and codes do not.
    return jax.tree.map(sites.at_least_float32, outputs)

  def general(
    self,
    params: Params,
    features: Arrays,
    mask: Arrays | None = None,
    keys_B: jax.Array | None = None,
    *,
    clip: bool = False,
  ) -> dict[str, jax.Array]:
    """Vectors before quantization, for downstream use: modality -> (B, T, D).

    Args:
      params: from `init`.
      features: modality -> (B, T, ...), of some or all modalities.
      mask: as in `forward`.
      keys_B: as in `forward`.
      clip: gives one vector for each sample (T = 1).
    """
    run, mask, general = sites.apply(params), mask or {}, {}
    for m, own_keys_B in self.split_keys(keys_B).items():
      if m in features:
        general[m] = self.quantized(
          run, m, features[m], mask.get(m), own_keys_B, clip=clip
        )
    return jax.tree.map(sites.at_least_float32, general)

  def encode(
    self,
    params: Params,
    code_KxD: jax.Array,
    features: Arrays,
    mask: Arrays | None = None,
    keys_B: jax.Array | None = None,
    *,
    clip: bool = False,
  ) -> dict[str, jax.Array]:
    """Nearest codes: modality -> (B, T) int32; arguments as in `general`."""
    general = self.general(params, features, mask, keys_B, clip=clip)
    return {m: codebook.assign(code_KxD, x) for m, x in general.items()}

  def tokens(self, run, m, x, mask_BxT, keys_B=None):
    """General features of each step: (B, T, D)."""
    kind = self.kind(m)
    pool = kind.pool(self.pool, dtype=self.dtype) if kind.pool else None
    encoder = encoders.Tokens(
      pool=pool,
      attends=kind.attends,
      dim=self.dim,
      heads=self.heads,
      hidden=self.hidden,
      layers=self.layers,
      rate=self.dropout,
      dtype=self.dtype,
    )
    return run(f"encoder/tokens/{m}", encoder, x, mask_BxT, keys_B)

  def specific(self, run, m, x):
    """Specific features of steps, and their summary for CLUB."""
    width = self.modalities[m].specific
    encoder = self.kind(m).specific(width, dtype=self.dtype)
    return run(f"encoder/specific/{m}", encoder, x)

  def restored(self, run, m, tokens, specific, width):
    """Features (B, T, ..., width) decoded from tokens and specific features."""
    decoder = self.kind(m).decoder(width, dtype=self.dtype)
    return run(f"decoder/fine/{m}", decoder, tokens, specific)

  def on_sphere(self, x):
    """Vectors on the codes' sphere, if the codes lie on one."""
    if not self.sphere:
      return x
    # The mean of squares in 16 bits would put vectors off the sphere.
    return codebook.on_sphere(sites.at_least_float32(x)).astype(x.dtype)

  def quantize(self, codes, x):
    """Indices, codes, and codes with the gradient of x (straight-through)."""
    if codes is None:  # `init` needs only shapes
      return jnp.zeros(x.shape[:-1], jnp.int32), x, x
    idx = codebook.assign(codes, x)
    code = jax.lax.stop_gradient(codes)[idx]
    return idx, code, codebook.straight_through(x, code)

  def split_keys(self, keys_B) -> dict[str, jax.Array | None]:
    """One dropout key for each sample and modality."""
    if keys_B is None:
      return dict.fromkeys(self.order)
    # By position in `order`, so that a modality's draws do not depend on the
    # modalities that a call encodes.
    split = functools.partial(jax.random.split, num=len(self.order))
    keys_MxB = jax.vmap(split, out_axes=1)(keys_B)
    return dict(zip(self.order, keys_MxB, strict=True))

  def run(self, run, codes, features, mask, keys_B) -> Outputs:
    """The forward pass: calls `run(path, layer, *inputs)` for every layer.

    Args:
      run: see `nn.sites`.
      codes: (K, D), or None if only shapes matter.
      features: modality -> (B, T, ...).
      mask: as in `forward`.
      keys_B: as in `forward`.
    """
    raise NotImplementedError

  def quantized(self, run, m, x, mask_BxT, keys_B, *, clip):
    """Vectors before quantization of one modality: (B, T, D)."""
    raise NotImplementedError

  def left_out(self, params: Params, m: str, x, mask_BxT=None) -> Arrays:
    """The specific features that `decode` takes beside codes: name -> (B, ...).

    They may come from another sample than the codes.
    """
    raise NotImplementedError

  def decode(
    self, params: Params, m: str, code_BxTxD, left_out: Arrays
  ) -> jax.Array:
    """Features (B, T, ...) decoded from codes, by the decoders of pretraining.

    Args:
      params: from `init`.
      m: the modality to decode to.
      code_BxTxD: the codes, as vectors.
      left_out: from `left_out`.
    """
    raise NotImplementedError

  def assign(
    self,
    outputs: Outputs,
    mask: Arrays,
    code_KxD: jax.Array,
    nearest,
    present: Arrays | None = None,
  ) -> dict[str, codebook.Assignment]:
    """Assigns codes in training: granularity ("clip", "step") -> Assignment.

    Args:
      outputs: of `forward`.
      mask: as in `forward`.
      code_KxD: the codes before their update.
      nearest: `codebook.nearest_jointly` or `codebook.nearest_each`.
      present: modality -> (B,), see `LossInputs`; None if none is missing.
    """
    raise NotImplementedError

  @property
  def club_rows(self) -> dict[str, int]:
    """CLUB pair -> number of rows of each sample; see `club.Pair`."""
    raise NotImplementedError

  def club_pairs(
    self, outputs: Outputs, mask: Arrays, present: Arrays
  ) -> dict[str, club.Pair]:
    """The pairs that CLUB separates; masks as in `losses.base.LossInputs`."""
    raise NotImplementedError
