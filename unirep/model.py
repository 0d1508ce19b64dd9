"""Encoders, codebook and decoders wired as FCID wires them.

FCID (fine- and coarse-grained cross-modal information disentangling) is the
method of "Enhancing Multimodal Unified Representations for Cross Modal
Generalization", ACL 2025 Findings. Fine-aligned modalities share a time axis
and one set of coarse heads; every other modality joins at the coarse level with
heads of its own. All of them share one codebook.

Dimensions: B batch, T time, D code width, K codes, F raw feature width, S width
of specific features. Features, codes and parameters are mappings from modality.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from unirep import codebook
from unirep.errors import InputError
from unirep.nn import decoders, encoders
from unirep.nn.blocks import Dtype, Linear, draw

Arrays = Mapping[str, jax.Array]
Params = Mapping[str, Any]


class Modality(NamedTuple):
  """What the model must know of one modality.

  Attributes:
    kind: "grid", "sequence" or "vector", see `encoders.Tokens`.
    fine: whether it shares the time axis of the fine-aligned modalities.
    specific: width S of its specific features (fine-aligned ones only).
  """

  kind: str
  fine: bool
  specific: int = 256


class Outputs(NamedTuple):
  """All that a loss may look at, as mappings from modality.

  The first four and `general_steps` hold the fine-aligned modalities, the
  others all of them.
  """

  tokens: Arrays  # (B, T, D) general features, one a time step
  specific: Arrays  # (B, T, S) or (B, T, h, w, S)
  summary: Arrays  # (B, T, Y) specific features as CLUB sees them
  fine_reconstruction: Arrays  # of the shape of the raw features
  coarse: Arrays  # (B, D) what the coarse decoders restore
  general: Arrays  # (B, D) what is quantized, never negative
  general_steps: Arrays  # (B, T, D) the same of single steps, if they matter
  coarse_specific: Arrays  # (B, D) what general leaves out
  idx: Arrays  # (B,) chosen codes
  code: Arrays  # (B, D) those codes, without a gradient
  coarse_reconstruction: Arrays  # (B, D)


@dataclasses.dataclass(frozen=True)
class Model:
  """A description of the network; its methods are pure functions.

  Attributes:
    modalities: name -> Modality. Their order is the codebook's update order.
    dim: code width D.
    heads: attention heads of a temporal encoder.
    hidden: width of its feed-forward layer.
    layers: its depth.
    dropout: its dropout rate.
    pool: how a grid becomes a vector, see `encoders.GridPool`.
    sphere: whether what is quantized is scaled to the sphere that the codes lie
      on, see `codebook.on_sphere`.
    steps: whether training sees what single steps are quantized from.
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
  steps: bool = True
  dtype: Dtype = None

  @property
  def order(self) -> tuple[str, ...]:
    """All modality names."""
    return tuple(self.modalities)

  @property
  def fine(self) -> tuple[str, ...]:
    """Names of the fine-aligned modalities."""
    return tuple(m for m, spec in self.modalities.items() if spec.fine)

  @property
  def groups(self) -> dict[str, tuple[str, ...]]:
    """Coarse head -> the modalities that share it."""
    groups = {"+".join(self.fine): self.fine} if self.fine else {}
    return groups | {m: (m,) for m in self.order if m not in self.fine}

  def group(self, modality: str) -> str:
    """The coarse head of a modality."""
    return next(g for g, ms in self.groups.items() if modality in ms)

  def check(self, features: Mapping[str, Any]) -> None:
    """Raises InputError where features (B, T, ...) do not fit the encoders."""
    for m, spec in self.modalities.items():
      if m not in features:
        raise InputError(f"no modality {m!r} in the data, only {[*features]}")
      shape, grid = features[m].shape[1:], spec.kind == "grid"
      if len(shape) != (4 if grid else 2):
        raise InputError(
          f"encoders.{m}.kind={spec.kind!r} wants (T, {'H, W, ' * grid}F) "
          f"features, but {m!r} has shape {shape}"
        )
      if spec.fine and grid and min(shape[1:3]) < 5:
        raise InputError(
          f"{m!r}: a grid needs 5 x 5 positions, got {shape[1:3]}"
        )
    times = {m: features[m].shape[1] for m in self.fine}
    if len(set(times.values())) > 1:
      raise InputError(f"fine-aligned modalities differ in time steps: {times}")

  def init(self, key: jax.Array, features: Arrays) -> dict[str, Params]:
    """Parameters {"encoder": ..., "decoder": ...} for features (B, T, ...)."""
    rows = {m: jnp.asarray(features[m])[:1] for m in self.order}
    sites: dict[str, Params] = {}

    def make(path, module, *inputs):
      if path in sites:  # a head that modalities share
        return module.apply({"params": sites[path]}, *inputs)
      y, variables = module.init_with_output(key, *inputs)
      sites[path] = variables["params"]
      return y

    self._run(make, codes=None, features=rows, mask={}, keys_B=None)
    return draw(key, nest(sites))

  def forward(
    self,
    params: Params,
    code_KxD: jax.Array,
    features: Arrays,
    mask: Arrays | None = None,
    keys_B: jax.Array | None = None,
  ) -> Outputs:
    """Runs everything once.

    Args:
      params: from `init`.
      code_KxD: the codebook's codes; they get no gradient.
      features: modality -> (B, T, ...).
      mask: modality -> (B, T), False at padding; absent where nothing is.
      keys_B: one dropout key a sample, or None for none.
    """
    outputs = self._run(
      self._apply(params), code_KxD, features, mask or {}, keys_B
    )
    return jax.tree.map(_at_least_float32, outputs)

  def general(
    self,
    params: Params,
    features: Arrays,
    mask: Arrays | None = None,
    keys_B: jax.Array | None = None,
    *,
    clip: bool = False,
  ) -> dict[str, jax.Array]:
    """What is quantized downstream, per step: modality -> (B, T, D).

    A fine-aligned modality gives one row a time step; any other, like text, one
    row a clip (T = 1), as it did in pretraining, and so do all with `clip`.
    `features` may hold a part of the modalities; `keys_B` as in `forward`.
    """
    run, mask, general = self._apply(params), mask or {}, {}
    for m, own_keys_B in self._split(keys_B).items():
      if m not in features:
        continue
      z_BxTxD: Any = self._tokens(run, m, features[m], mask.get(m), own_keys_B)
      if clip or m not in self.fine:
        z_BxTxD = encoders.mean_over_time(z_BxTxD, mask.get(m))[:, None]
      general[m] = self._heads(run, m, z_BxTxD)[1]
    return jax.tree.map(_at_least_float32, general)

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
    """Codes per step: modality -> (B, T) int32, see `general`."""
    general = self.general(params, features, mask, keys_B, clip=clip)
    return {m: codebook.assign(code_KxD, x) for m, x in general.items()}

  def _heads(self, run, m, z):
    """Tokens or their mean -> what is decoded, and what is quantized."""
    g = self.group(m)
    coarse = run(f"encoder/coarse/{g}", self._linear(), z)
    general = run(f"encoder/general/{g}", self._head(), coarse)
    if self.sphere:
      general = codebook.on_sphere(_at_least_float32(general))
      general = general.astype(coarse.dtype)
    return coarse, general

  def _run(self, run, codes, features, mask, keys_B) -> Outputs:
    tokens, specific, summary, fine_reconstruction = {}, {}, {}, {}
    coarse, general, general_steps, coarse_specific = {}, {}, {}, {}
    for m, own_keys_B in self._split(keys_B).items():
      spec, x, g = self.modalities[m], features[m], self.group(m)
      x = x if self.dtype is None else x.astype(self.dtype)
      z = self._tokens(run, m, x, mask.get(m), own_keys_B)
      if spec.fine:
        encoder = encoders.specific(spec.kind, spec.specific, self.dtype)
        tokens[m] = z
        specific[m], summary[m] = run(f"encoder/specific/{m}", encoder, x)
        decoder = decoders.decoder(spec.kind, x.shape[-1], self.dtype)
        fine_reconstruction[m] = run(
          f"decoder/fine/{m}", decoder, z, specific[m]
        )
      mean = encoders.mean_over_time(z, mask.get(m))
      coarse[m], general[m] = self._heads(run, m, mean)
      if self.steps and m in self.fine and len(self.fine) > 1:
        general_steps[m] = self._heads(run, m, z)[1]
      coarse_specific[m] = run(
        f"encoder/specific_head/{g}", self._head(), coarse[m]
      )
    idx, code, coarse_reconstruction = {}, {}, {}
    for m in self.order:
      x = _at_least_float32(general[m])
      if codes is None:  # only shapes matter to `init`
        idx[m], code[m] = jnp.zeros(x.shape[:1], jnp.int32), x
      else:
        idx[m] = codebook.assign(codes, x)
        code[m] = jax.lax.stop_gradient(codes)[idx[m]]
      quantized = codebook.straight_through(x, code[m])
      decoder = decoders.LinearDecoder(self.dim, self.dtype)
      coarse_reconstruction[m] = run(
        f"decoder/coarse/{m}", decoder, quantized, coarse_specific[m]
      )
    return Outputs(
      tokens,
      specific,
      summary,
      fine_reconstruction,
      coarse,
      general,
      general_steps,
      coarse_specific,
      idx,
      code,
      coarse_reconstruction,
    )

  def _split(self, keys_B) -> dict[str, jax.Array | None]:
    """One dropout key a sample and modality."""
    if keys_B is None:
      return dict.fromkeys(self.order)
    split = functools.partial(jax.random.split, num=len(self.order))
    keys_MxB = jax.vmap(split, out_axes=1)(keys_B)
    return dict(zip(self.order, keys_MxB, strict=True))

  def _tokens(self, run, m, x, mask_BxT, keys_B=None):
    encoder = encoders.Tokens(
      kind=self.modalities[m].kind,
      dim=self.dim,
      heads=self.heads,
      hidden=self.hidden,
      layers=self.layers,
      rate=self.dropout,
      pool=self.pool,
      dtype=self.dtype,
    )
    return run(f"encoder/tokens/{m}", encoder, x, mask_BxT, keys_B)

  def _linear(self):
    return Linear(self.dim, dtype=self.dtype)

  def _head(self):
    return encoders.Head(self.dim, self.dtype)

  def _apply(self, params):
    def run(path, module: nn.Module, *inputs):
      part = params
      for name in path.split("/"):
        part = part[name]
      return module.apply({"params": part}, *inputs)

    return run


def nest(flat: Mapping[str, Params]) -> dict[str, Any]:
  """{"a/b": x} -> {"a": {"b": x}}."""
  tree: dict[str, Any] = {}
  for path, leaf in flat.items():
    *parents, name = path.split("/")
    place = tree
    for parent in parents:
      place = place.setdefault(parent, {})
    place[name] = leaf
  return tree


def _at_least_float32(x):
  if not jnp.issubdtype(x.dtype, jnp.floating):
    return x
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))
