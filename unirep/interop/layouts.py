"""How the official scripts lay out their checkpoints.

A file holds a state dict for each of their networks: FCID's the encoder alone,
DCID's all of them. Codes need the encoder, and DCID's the LSTM that reads text.
"""

import re
from collections.abc import Sequence

from unirep.interop import official
from unirep.interop.official import Names

ENCODER = "Encoder_parameters"
FRONT = "Text_ar_lstm_parameters"
DECODER = "Decoder_parameters"
MODALITIES = {  # in the order of the codebook's update
  "fcid": ("video", "audio", "text"),
  "dcid": ("audio", "video", "text"),
}
BOOKS = {"fcid": "Cross_quantizer_coarse", "dcid": "Cross_quantizer"}
POOLS = {"fcid": "v_gen_encoder", "dcid": "video_semantic_encoder"}
BOOK = {  # a field of ours -> theirs
  "code_KxD": "embedding",
  "count_K": "ema_count",
  "sum_KxD": "ema_weight",
  "age": "unactivated_count",
}
# What the official networks have, and never use.
UNUSED = re.compile(
  rf"{ENCODER}/(\w+_self_att\.encoder_layer\..*"
  r"|(v_gen_encoder|video_semantic_encoder)\."
  r"(affine_video_ave|affine_video_self|ave_v_att)\.(weight|bias))"
  rf"|{DECODER}/(video|audio|text)_semantic_decoder\..*"
)


def tables_of(
  method: str, order: tuple[str, ...], layers: int
) -> dict[str, Names]:
  """Part of a file -> its names, with our paths."""
  within = official.within
  if method == "fcid":
    encoder, decoder = official.encoder(layers), official.DECODER
  else:
    encoder, decoder = dcid_encoder(order, layers), dcid_decoder(order)
  book = {
    f"{BOOKS[method]}.{theirs}": (f"codebook/{ours}", official.SAME)
    for ours, theirs in BOOK.items()
  }
  tables = {
    ENCODER: {**book, **within("", "params/encoder/", encoder)},
    DECODER: within("", "params/decoder/", decoder),
  }
  if method == "dcid" and "text" in order:
    tables[FRONT] = within("", "params/encoder/", DCID_FRONT)
  return tables


def attention(method: str, modality: str) -> str:
  """The official module that attends over time."""
  return f"{modality[0] if method == 'fcid' else modality}_self_att"


DCID_FRONT: Names = {  # the LSTM that reads text
  name: entry
  for i in range(2)
  for end, back in [("", ""), ("_reverse", "_back")]
  for name, entry in official.lstm(
    f"{{}}_l{i}{end}", f"front/text/lstm{i}{back}"
  ).items()
}


def dcid_encoder(modalities: Sequence[str], layers: int) -> Names:
  """Names of the official DCID's encoder, for any two modalities or all."""
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


def dcid_decoder(modalities: Sequence[str]) -> Names:
  """Names of its decoders; the classifiers in them are in no loss, left out."""
  names: Names = {}
  for m in modalities:
    linear = {
      **official.weight_bias(f"{m}_linear", "embed"),
      **official.weight_bias(f"{m}_rec", "out"),
    }
    inner = official.GRID_DECODER if m == "video" else linear
    names |= official.within(f"{m.title()}_decoder.", f"fine/{m}/", inner)
  return names
