"""DCID: every second of every modality is quantized, all aligned alike.

DCID (dual cross-modal information disentanglement) is the method of "Achieving
Cross Modal Generalization with Multimodal Unified Representation", NeurIPS
2023, and FCID's predecessor. All modalities share one time axis, text by the
places of its words. Tokens are quantized as they are, without coarse heads;
raw features are restored from codes and specific features; CLUB separates codes
from specific features.

Dimensions: B batch, T time, D code width, K codes.
"""

import dataclasses

import jax

from unirep.losses import club
from unirep.losses.base import Arrays, Outputs, counted
from unirep.methods import levels
from unirep.methods.network import Network
from unirep.nn import encoders, sites
from unirep.nn.recurrent import BiLSTM
from unirep.nn.sites import at_least_float32
from unirep.quantizer import codebook


@dataclasses.dataclass(frozen=True)
class DCID(Network):
  """A description of the network; its methods are pure functions.

  Attributes:
    front: modalities that a bidirectional LSTM reads first, of D outputs; it
      is what their decoder restores.
  """

  front: tuple[str, ...] = ("text",)

  def width(self, params, modality: str) -> int:
    """Raw feature width F that a trained encoder takes."""
    if modality not in self.front:
      return super().width(params, modality)
    lstm = params["encoder"]["front"][modality]["lstm0"]
    return lstm["in_kernel"].shape[0]

  @property
  def club_rows(self) -> dict[str, int]:
    """CLUB pair -> rows of its long batch, a sample; see `club.Pair`."""
    return dict.fromkeys(self.order, 1)

  def club_pairs(
    self, outputs: Outputs, mask: Arrays, present: Arrays
  ) -> dict[str, club.Pair]:
    """What CLUB separates: codes from specific features."""
    pairs = {}
    for m in self.order:
      code = codebook.straight_through(outputs.general[m], outputs.code[m])
      masks = (counted(mask.get(m), present.get(m)),)
      pairs[m] = club.relate((code,), (outputs.summary[m],), masks)
    return pairs

  def levels(
    self,
    outputs: Outputs,
    mask: Arrays,
    code_KxD: jax.Array,
    nearest,
    present: Arrays | None = None,
  ) -> dict[str, codebook.Rows]:
    """Seconds, of all modalities."""
    x = {m: outputs.general[m] for m in self.order}
    return {"step": levels.steps(x, mask, code_KxD, nearest, present)}

  def quantized(self, run, m, x, mask_BxT, keys_B, *, clip):
    """One row a time step; with `clip` the mean of the sample's tokens."""
    z_BxTxD = self.tokens(run, m, self._read(run, m, x), mask_BxT, keys_B)
    if clip:
      z_BxTxD = encoders.mean_over_time(z_BxTxD, mask_BxT)[:, None]
    return self.on_sphere(z_BxTxD)

  def left_out(self, params, m, x, mask_BxT=None) -> Arrays:
    """Specific features of each step."""
    del mask_BxT
    run = sites.apply(params)
    return {"fine": self.specific(run, m, self._read(run, m, x))[0]}

  def decode(self, params, m, code_BxTxD, left_out) -> jax.Array:
    """What the modality's front reads, or its features, of codes."""
    width = self.dim if m in self.front else self.width(params, m)
    run = sites.apply(params)
    return self.restored(run, m, code_BxTxD, left_out["fine"], width)

  def run(self, run, codes, features, mask, keys_B) -> Outputs:
    """The network itself; without codes only shapes are right."""
    tokens, general, idx, code, specific, summary = {}, {}, {}, {}, {}, {}
    target, reconstruction = {}, {}
    for m, own_keys_B in self.split_keys(keys_B).items():
      x = features[m]
      x = x if self.dtype is None else x.astype(self.dtype)
      x = self._read(run, m, x)
      target[m] = x if m in self.front else features[m]
      tokens[m] = self.tokens(run, m, x, mask.get(m), own_keys_B)
      general[m] = self.on_sphere(tokens[m])
      y = at_least_float32(general[m])
      idx[m], code[m], quantized = self.quantize(codes, y)
      specific[m], summary[m] = self.specific(run, m, x)
      reconstruction[m] = self.restored(
        run, m, quantized, specific[m], x.shape[-1]
      )
    return Outputs(
      tokens=tokens,
      specific=specific,
      summary=summary,
      fine_reconstruction=reconstruction,
      fine_target=target,
      coarse={},
      general=general,
      general_steps={},
      coarse_specific={},
      idx=idx,
      code=code,
      coarse_reconstruction={},
    )

  def _read(self, run, m, x):
    if m not in self.front:
      return x
    layer = BiLSTM(self.dim // 2, dtype=self.dtype)
    return run(f"encoder/front/{m}", layer, x)
