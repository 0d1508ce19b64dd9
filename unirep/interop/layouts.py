"""How the official scripts lay out their checkpoints.

A file holds a state dict for each of their networks: FCID's the encoder alone,
DCID's all of them. Codes need the encoder, and DCID's the LSTM that reads text.
"""

import re

from unirep.interop import official, official_dcid
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
    encoder = official_dcid.encoder(order, layers)
    decoder = official_dcid.decoder(order)
  book = {
    f"{BOOKS[method]}.{theirs}": (f"codebook/{ours}", official.SAME)
    for ours, theirs in BOOK.items()
  }
  tables = {
    ENCODER: {**book, **within("", "params/encoder/", encoder)},
    DECODER: within("", "params/decoder/", decoder),
  }
  if method == "dcid" and "text" in order:
    tables[FRONT] = within("", "params/encoder/", official_dcid.FRONT)
  return tables


def attention(method: str, modality: str) -> str:
  """The official module that attends over time."""
  return f"{modality[0] if method == 'fcid' else modality}_self_att"
