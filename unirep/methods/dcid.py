"""DCID: every step of every modality is quantized.

DCID (dual cross-modal information disentanglement) is the method of "Achieving
Cross Modal Generalization with Multimodal Unified Representation", NeurIPS
2023, and the predecessor of FCID. All modalities share one time axis; that of
text is the order of its words. Tokens are quantized directly, without coarse
heads. Decoders restore raw features from codes and specific features, and CLUB
separates codes from specific features.

Dimensions: B samples, T time, D code width, K codes.
"""

import dataclasses

import jax

from unirep.losses import club
from unirep.losses.base import Arrays, Outputs, counted
from unirep.methods import assignment
from unirep.methods.network import Network
from unirep.nn import encoders, sites
from unirep.nn.recurrent import BiLSTM
from unirep.nn.sites import at_least_float32
from unirep.quantizer import codebook


@dataclasses.dataclass(frozen=True)
class DCID(Network):
  """A description of the network; its methods are pure functions.

  Attributes:
    front: modalities that a bidirectional LSTM of D outputs reads first; these
      outputs take the place of raw features everywhere, also as the target of
      the decoder.
  """

  front: tuple[str, ...] = ("text",)

  def width(self, params, modality: str) -> int:
    """Raw feature width F of the trained encoder's inputs."""
    if modality not in self.front:
      return super().width(params, modality)
    lstm = params["encoder"]["front"][modality]["lstm0"]
    return lstm["in_kernel"].shape[0]

  @property
  def club_rows(self) -> dict[str, int]:
    """CLUB pair -> number of rows of each sample; see `club.Pair`."""
    return dict.fromkeys(self.order, 1)

  def club_pairs(
    self, outputs: Outputs, mask: Arrays, present: Arrays
  ) -> dict[str, club.Pair]:
    """CLUB pairs: codes and specific features of each modality."""
    pairs = {}
    for m in self.order:
      # The gradient passes the code, or only specific features would move.
      code = codebook.straight_through(outputs.general[m], outputs.code[m])
      masks = (counted(mask.get(m), present[m]),)
      pairs[m] = club.Pair((code,), (outputs.summary[m],), masks)
    return pairs

  def assign(
    self,
    outputs: Outputs,
    mask: Arrays,
    code_KxD: jax.Array,
    nearest,
    present: Arrays | None = None,
  ) -> dict[str, codebook.Assignment]:
    """Assigns codes to steps, of all modalities."""
    x = {m: outputs.general[m] for m in self.order}
    return {"step": assignment.steps(x, mask, code_KxD, nearest, present)}

  def quantized(self, run, m, x, mask_BxT, keys_B, *, clip):
    """One vector for each step; with `clip`, that of the tokens' mean."""
    z_BxTxD = self.tokens(run, m, self._read(run, m, x), mask_BxT, keys_B)
    if clip:
      z_BxTxD = encoders.mean_over_time(z_BxTxD, mask_BxT)[:, None]
    return self.on_sphere(z_BxTxD)

  def left_out(self, params, m, x, mask_BxT=None) -> Arrays:
    """Specific features (B, T, ...) of each step, as "fine"."""
    del mask_BxT
    run = sites.apply(params)
    return {"fine": self.specific(run, m, self._read(run, m, x))[0]}

  def decode(self, params, m, code_BxTxD, left_out) -> jax.Array:
    """Features decoded from codes; for a `front` modality, LSTM outputs."""
    width = self.dim if m in self.front else self.width(params, m)
    run = sites.apply(params)
    return self.restored(run, m, code_BxTxD, left_out["fine"], width)

  def run(self, run, codes, features, mask, keys_B) -> Outputs:
    """The forward pass; without codes only the shapes of outputs are right."""
    tokens, general, idx, code, specific, summary = {}, {}, {}, {}, {}, {}
    target, reconstruction = {}, {}
    for m, own_keys_B in self.split_keys(keys_B).items():
      x = features[m]
      x = x if self.dtype is None else x.astype(self.dtype)
      x = self._read(run, m, x)
      # Not x: in bfloat16 the target would be rounded.
      target[m] = x if m in self.front else features[m]
      tokens[m] = self.tokens(run, m, x, mask.get(m), own_keys_B)
      general[m] = self.on_sphere(tokens[m])
      # Distances between similar vectors cancel in 16 bits.
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
