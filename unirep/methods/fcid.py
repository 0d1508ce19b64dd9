"""FCID: fine alignment of seconds, coarse alignment of clips, one codebook.

FCID (fine- and coarse-grained cross-modal information disentangling) is the
method of "Enhancing Multimodal Unified Representations for Cross Modal
Generalization", ACL 2025 Findings. Fine-aligned modalities share a time axis
and one set of coarse heads; every other modality joins at the coarse level with
heads of its own. What is quantized in training is the clip.

Dimensions: B batch, T time, D code width, K codes, F raw feature width, S width
of specific features. Features, codes and parameters are mappings from modality.
"""

import dataclasses

import jax
import jax.numpy as jnp

from unirep.losses import club
from unirep.losses.base import Arrays, Outputs, counted
from unirep.methods import levels
from unirep.methods.network import Network
from unirep.nn import decoders, encoders, sites
from unirep.nn.blocks import Linear
from unirep.nn.sites import at_least_float32
from unirep.quantizer import codebook


@dataclasses.dataclass(frozen=True)
class FCID(Network):
  """A description of the network; its methods are pure functions.

  Attributes:
    steps: whether training sees what single steps are quantized from.
  """

  steps: bool = True

  @property
  def groups(self) -> dict[str, tuple[str, ...]]:
    """Coarse head -> the modalities that share it."""
    groups = {"+".join(self.fine): self.fine} if self.fine else {}
    return groups | {m: (m,) for m in self.order if m not in self.fine}

  def group(self, modality: str) -> str:
    """The coarse head of a modality."""
    return next(g for g, ms in self.groups.items() if modality in ms)

  @property
  def club_rows(self) -> dict[str, int]:
    """CLUB pair -> rows of its long batch, a sample; see `club.Pair`."""
    rows = {f"fine/{m}": 1 for m in self.fine}
    return rows | {f"coarse/{g}": len(ms) for g, ms in self.groups.items()}

  def club_pairs(
    self, outputs: Outputs, mask: Arrays, present: Arrays
  ) -> dict[str, club.Pair]:
    """What CLUB separates: general from specific, fine and coarse."""
    pairs = {}
    for m in self.fine:
      pairs[f"fine/{m}"] = club.relate(
        (outputs.tokens[m],),
        (outputs.summary[m],),
        (counted(mask.get(m), present.get(m)),),
      )
    for group, members in self.groups.items():
      pairs[f"coarse/{group}"] = club.relate(
        tuple(outputs.general[m] for m in members),
        tuple(outputs.coarse_specific[m] for m in members),
        tuple(present.get(m) for m in members),
      )
    return pairs

  def levels(
    self,
    outputs: Outputs,
    mask: Arrays,
    code_KxD: jax.Array,
    nearest,
    present: Arrays | None = None,
  ) -> dict[str, codebook.Rows]:
    """Clips, of all modalities, and steps, of the fine-aligned ones."""
    x = {m: outputs.general[m] for m in self.order}
    found = {"clip": levels.clips(x, code_KxD, nearest, present)}
    if outputs.general_steps:
      x = {m: outputs.general_steps[m] for m in self.fine}
      found["step"] = levels.steps(x, mask, code_KxD, nearest, present)
    return found

  def quantized(self, run, m, x, mask_BxT, keys_B, *, clip):
    """What is quantized downstream, see `Network.general`.

    A fine-aligned modality gives one row a time step; any other, like text, one
    row a clip (T = 1), as it did in pretraining, and so do all with `clip`.
    """
    z_BxTxD = self.tokens(run, m, x, mask_BxT, keys_B)
    if clip or m not in self.fine:
      z_BxTxD = encoders.mean_over_time(z_BxTxD, mask_BxT)[:, None]
    return self._heads(run, m, z_BxTxD)[1]

  def left_out(self, params, m, x, mask_BxT=None) -> Arrays:
    """Fine specific features of each step, and coarse ones of the clip."""
    run = sites.apply(params)
    mean = encoders.mean_over_time(self.tokens(run, m, x, mask_BxT), mask_BxT)
    coarse, _ = self._heads(run, m, mean)
    head = f"encoder/specific_head/{self.group(m)}"
    found = {"coarse": run(head, self._head(), coarse)}
    if m in self.fine:
      found["fine"] = self.specific(run, m, x)[0]
    return found

  def decode(self, params, m, code_BxTxD, left_out) -> jax.Array:
    """Coarse features of codes, tokens that have these, and their features.

    A linear head made coarse features of tokens. It is undone in the directions
    that it keeps; what it all but drops would be noise, much enlarged.
    """
    run, T = sites.apply(params), code_BxTxD.shape[1]
    coarse_BxTxD = jnp.repeat(left_out["coarse"][:, None], T, 1)
    decoder = decoders.LinearDecoder(self.dim, self.dtype)
    made = run(f"decoder/coarse/{m}", decoder, code_BxTxD, coarse_BxTxD)
    if m not in self.fine:
      return made
    linear = params["encoder"]["coarse"][self.group(m)]
    tokens = (made - linear["bias"]) @ jnp.linalg.pinv(
      linear["kernel"], rtol=0.1
    )
    width = self.width(params, m)
    return self.restored(run, m, tokens, left_out["fine"], width)

  def run(self, run, codes, features, mask, keys_B) -> Outputs:
    """The network itself; without codes only shapes are right."""
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
      # A clip is the mean of its tokens; a step goes through the same heads.
      mean = encoders.mean_over_time(z, mask.get(m))
      coarse[m], general[m] = self._heads(run, m, mean)
      if self.steps and m in self.fine and len(self.fine) > 1:
        general_steps[m] = self._heads(run, m, z)[1]
      coarse_specific[m] = run(
        f"encoder/specific_head/{self.group(m)}", self._head(), coarse[m]
      )
    idx, code, coarse_reconstruction = {}, {}, {}
    for m in self.order:
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
    """Tokens or their mean -> what is decoded, and what is quantized."""
    g = self.group(m)
    linear = Linear(self.dim, dtype=self.dtype)
    coarse = run(f"encoder/coarse/{g}", linear, z)
    general = run(f"encoder/general/{g}", self._head(), coarse)
    return coarse, self.on_sphere(general)

  def _head(self):
    return encoders.Head(self.dim, self.dtype)
