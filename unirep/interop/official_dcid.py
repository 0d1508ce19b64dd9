"""Names of the official DCID; see `official`.

Its AV, AT and AVT forms have the same names, but for the modalities that they
lack.
"""

from collections.abc import Sequence

from unirep.interop import official
from unirep.interop.official import Names

FRONT: Names = {  # the LSTM that reads text
  name: entry
  for i in range(2)
  for end, back in [("", ""), ("_reverse", "_back")]
  for name, entry in official.lstm(
    f"{{}}_l{i}{end}", f"front/text/lstm{i}{back}"
  ).items()
}


def encoder(modalities: Sequence[str], layers: int) -> Names:
  """For any two of its modalities or all."""
  names: Names = {}
  for m in modalities:
    inner = (
      official.GRID_SPECIFIC
      if m == "video"
      else official.weight_bias(f"{m}_linear", "linear")
    )
    names |= official.within(f"{m.title()}_encoder.", f"specific/{m}/", inner)
    names |= official.within(
      f"{m}_self_att.", f"tokens/{m}/", official.temporal(layers)
    )
    if m == "video":
      names |= official.within(
        "video_semantic_encoder.", "tokens/video/pool/", official.GRID_POOL
      )
  return names


def decoder(modalities: Sequence[str]) -> Names:
  """Classes of its decoders are in no loss, and left out."""
  names: Names = {}
  for m in modalities:
    linear = {
      **official.weight_bias(f"{m}_linear", "embed"),
      **official.weight_bias(f"{m}_rec", "out"),
    }
    inner = official.GRID_DECODER if m == "video" else linear
    names |= official.within(f"{m.title()}_decoder.", f"fine/{m}/", inner)
  return names
