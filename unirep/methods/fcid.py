"""FCID: fine alignment of steps, coarse alignment of clips, one codebook.

FCID (fine- and coarse-grained cross-modal information disentangling) is the
method of "Enhancing Multimodal Unified Representations for Cross Modal
Generalization", ACL 2025 Findings. Fine-aligned modalities share a time axis
and one pair of coarse heads. Every other modality has coarse heads of its own
and is aligned by clips only. Training quantizes clips.

Dimensions: B samples, T time, D code width, K codes, F raw feature width, S
width of specific features. Features, codes and parameters are mappings from
modality.
"""

import dataclasses

import jax
import jax.numpy as jnp

from unirep.losses import club
from unirep.losses.base import Arrays, Outputs, counted
from unirep.methods import assignment
from unirep.methods.network import Network
from unirep.nn import decoders, encoders, sites
from unirep.nn.blocks import Linear
from unirep.nn.sites import at_least_float32
from unirep.quantizer import codebook


@dataclasses.dataclass(frozen=True)
class FCID(Network):
  """A description of the network; its methods are pure functions.

  Attributes:
    steps: whether training also makes vectors of single steps, and assigns
      codes to them.
  """

  steps: bool = True

  @property
  def groups(self) -> dict[str, tuple[str, ...]]:
    """Name of a pair of coarse heads -> the modalities that share it."""
    groups = {"+".join(self.fine): self.fine} if self.fine else {}
    return groups | {m: (m,) for m in self.order if m not in self.fine}

  def group(self, modality: str) -> str:
    """The name of a modality's coarse heads."""
    return next(g for g, ms in self.groups.items() if modality in ms)

  @property
  def club_rows(self) -> dict[str, int]:
    """CLUB pair -> number of rows of each sample; see `club.Pair`."""
    rows = {f"fine/{m}": 1 for m in self.fine}
    return rows | {f"coarse/{g}": len(ms) for g, ms in self.groups.items()}

  def club_pairs(
    self, outputs: Outputs, mask: Arrays, present: Arrays
  ) -> dict[str, club.Pair]:
    """CLUB pairs: general and specific features, of steps and of clips."""
    pairs = {}
    for m in self.fine:
      pairs[f"fine/{m}"] = club.Pair(
        (outputs.tokens[m],),
        (outputs.summary[m],),
        (counted(mask.get(m), present[m]),),
      )
    # Modalities that share coarse heads share a CLUB network too, since their
    # features come from the same layers.
    for group, members in self.groups.items():
      pairs[f"coarse/{group}"] = club.Pair(
        tuple(outputs.general[m] for m in members),
        tuple(outputs.coarse_specific[m] for m in members),
        tuple(present[m] for m in members),
      )
    return pairs

  def assign(
    self,
    outputs: Outputs,
    mask: Arrays,
    code_KxD: jax.Array,
    nearest,
    present: Arrays | None = None,
  ) -> dict[str, codebook.Assignment]:
    """Assigns codes to clips, and to the steps of fine-aligned modalities."""
    x = {m: outputs.general[m] for m in self.order}
    assignments = {"clip": assignment.clips(x, code_KxD, nearest, present)}
    if outputs.general_steps:
      x = {m: outputs.general_steps[m] for m in self.fine}
      assignments["step"] = assignment.steps(
        x, mask, code_KxD, nearest, present
      )
    return assignments

  def quantized(self, run, m, x, mask_BxT, keys_B, *, clip):
    """Vectors before quantization, see `Network.general`.

    One for each step of a fine-aligned modality. Other modalities, such as
    text, give one for the clip (T = 1), as in pretraining; with `clip`, all do.
    """
    z_BxTxD = self.tokens(run, m, x, mask_BxT, keys_B)
    if clip or m not in self.fine:
      z_BxTxD = encoders.mean_over_time(z_BxTxD, mask_BxT)[:, None]
    return self._heads(run, m, z_BxTxD)[1]

  def left_out(self, params, m, x, mask_BxT=None) -> Arrays:
    """Specific features: "coarse" of the clip, and "fine" of each step."""
    run = sites.apply(params)
    mean = encoders.mean_over_time(self.tokens(run, m, x, mask_BxT), mask_BxT)
    coarse, _ = self._heads(run, m, mean)
    head = f"encoder/specific_head/{self.group(m)}"
    left_out = {"coarse": run(head, self._head(), coarse)}
    if m in self.fine:
      left_out["fine"] = self.specific(run, m, x)[0]
    return left_out

  def decode(self, params, m, code_BxTxD, left_out) -> jax.Array:
    """Features decoded from codes, in three steps.

    The coarse decoder makes coarse features of codes. The inverse of the linear
    coarse head makes tokens of these. The fine decoder makes features of tokens
    (fine-aligned modalities only; others end with their coarse features).
    """
    run, T = sites.apply(params), code_BxTxD.shape[1]
    coarse_BxTxD = jnp.repeat(left_out["coarse"][:, None], T, 1)
    decoder = decoders.LinearDecoder(self.dim, self.dtype)
    coarse = run(f"decoder/coarse/{m}", decoder, code_BxTxD, coarse_BxTxD)
    if m not in self.fine:
      return coarse
    linear = params["encoder"]["coarse"][self.group(m)]
    # Directions that the head nearly drops (singular values below a tenth of
    # the largest) are not inverted: their noise would be enlarged.
    inverse = jnp.linalg.pinv(linear["kernel"], rtol=0.1)
    tokens = (coarse - linear["bias"]) @ inverse
    width = self.width(params, m)
    return self.restored(run, m, tokens, left_out["fine"], width)

  def run(self, run, codes, features, mask, keys_B) -> Outputs:
    """The forward pass; without codes only the shapes of outputs are right."""
    tokens, specific, summary, fine_reconstruction = {}, {}, {}, {}
    coarse, general, general_steps, coarse_specific = {}, {}, {}, {}
    for m, own_keys_B in self.split_keys(keys_B).items():
      x = features[m]
      x = x if self.dtype is None else x.astype(self.dtype)
      z = self.tokens(run, m, x, mask.get(m), own_keys_B)
      if m in self.fine:
        tokens[m] = z
        specific[m], summary[m] = self.specific(run, m, x)
        width = x.shape[-1]
        fine_reconstruction[m] = self.restored(run, m, z, specific[m], width)
      # A clip is the mean of its tokens. Steps go through the same heads, so
      # that clips and steps can share codes.
      mean = encoders.mean_over_time(z, mask.get(m))
      coarse[m], general[m] = self._heads(run, m, mean)
      # A single fine-aligned modality has no other to agree with on a step.
      if self.steps and m in self.fine and len(self.fine) > 1:
        general_steps[m] = self._heads(run, m, z)[1]
      coarse_specific[m] = run(
        f"encoder/specific_head/{self.group(m)}", self._head(), coarse[m]
      )
    idx, code, coarse_reconstruction = {}, {}, {}
    for m in self.order:
      # Distances between similar vectors cancel in 16 bits.
      x = at_least_float32(general[m])
      idx[m], code[m], quantized = self.quantize(codes, x)
      decoder = decoders.LinearDecoder(self.dim, self.dtype)
      coarse_reconstruction[m] = run(
        f"decoder/coarse/{m}", decoder, quantized, coarse_specific[m]
      )
    return Outputs(
      tokens=tokens,
      specific=specific,
      summary=summary,
      fine_reconstruction=fine_reconstruction,
      fine_target={m: features[m] for m in self.fine},
      coarse=coarse,
      general=general,
      general_steps=general_steps,
      coarse_specific=coarse_specific,
      idx=idx,
      code=code,
      coarse_reconstruction=coarse_reconstruction,
    )

  def _heads(self, run, m, z):
    """Coarse features and vectors before quantization, of tokens or a mean."""
    g = self.group(m)
    linear = Linear(self.dim, dtype=self.dtype)
    coarse = run(f"encoder/coarse/{g}", linear, z)
    general = run(f"encoder/general/{g}", self._head(), coarse)
    return coarse, self.on_sphere(general)

  def _head(self):
    return encoders.Head(self.dim, self.dtype)
