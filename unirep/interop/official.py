"""Names and layouts of the official PyTorch parameters and checkpoints.

Only names and layouts are translated: the arrays may be weights, gradients or
anything else of the same shapes. No PyTorch is needed.

Layouts: Linear (out, in) -> (in, out); convolution (out, in, h, w) -> (h, w,
in, out); transposed convolution (in, out, h, w) -> (h, w, in, out).

A checkpoint holds a state dict for each official network: FCID's holds the
encoder alone, DCID's holds all of them. Codes need the encoder, and for DCID
also the LSTM that reads text.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.interop.model import flat, nested

Array = np.ndarray

ENCODER_PART = "Encoder_parameters"
FRONT_PART = "Text_ar_lstm_parameters"
DECODER_PART = "Decoder_parameters"
MODALITIES = {  # in the order of the codebook's update
  "fcid": ("video", "audio", "text"),
  "dcid": ("audio", "video", "text"),
}
BOOKS = {"fcid": "Cross_quantizer_coarse", "dcid": "Cross_quantizer"}
POOLS = {"fcid": "v_gen_encoder", "dcid": "video_semantic_encoder"}
BOOK = {  # our field of the codebook -> the official name
  "code_KxD": "embedding",
  "count_K": "ema_count",
  "sum_KxD": "ema_weight",
  "age": "unactivated_count",
}
# Parameters that the official networks have, and never use.
UNUSED = re.compile(
  rf"{ENCODER_PART}/(\w+_self_att\.encoder_layer\..*"
  r"|(v_gen_encoder|video_semantic_encoder)\."
  r"(affine_video_ave|affine_video_self|ave_v_att)\.(weight|bias))"
  rf"|{DECODER_PART}/(video|audio|text)_semantic_decoder\..*"
)


class Layout(NamedTuple):
  """Two transposes of an array: to our layout, and to the official one."""

  ours: Callable[[Array], Array]
  official: Callable[[Array], Array]


SAME = Layout(lambda x: x, lambda x: x)
LINEAR = Layout(lambda x: x.T, lambda x: x.T)
CONV = Layout(
  lambda x: x.transpose(2, 3, 1, 0), lambda x: x.transpose(3, 2, 0, 1)
)
TRANSPOSED = Layout(
  lambda x: x.transpose(2, 3, 0, 1), lambda x: x.transpose(2, 3, 0, 1)
)

Names = dict[str, tuple[str, Layout]]  # official name -> our path, layout


def weight_bias(official: str, ours: str, layout: Layout = LINEAR) -> Names:
  """Names of a layer with a weight and a bias."""
  return {
    f"{official}.weight": (f"{ours}/kernel", layout),
    f"{official}.bias": (f"{ours}/bias", SAME),
  }


def within(official: str, ours: str, names: Names) -> Names:
  """The same names, each behind a prefix: the official one, and ours."""
  return {
    f"{official}{name}": (f"{ours}{path}", layout)
    for name, (path, layout) in names.items()
  }


GRID_POOL: Names = {
  "se_layer.0.weight": ("Linear_0/kernel", LINEAR),
  "se_layer.2.weight": ("Linear_1/kernel", LINEAR),
}
ATTENTION_POOL: Names = GRID_POOL | {
  **weight_bias("affine_video_ave", "query"),
  **weight_bias("affine_video_self", "key"),
  **weight_bias("ave_v_att", "score"),
}


def _layer(official: str, ours: str) -> Names:
  return {
    f"{official}.self_attn.in_proj_weight": (
      f"{ours}/attention/in_kernel",
      LINEAR,
    ),
    f"{official}.self_attn.in_proj_bias": (f"{ours}/attention/in_bias", SAME),
    f"{official}.self_attn.out_proj.weight": (
      f"{ours}/attention/out/kernel",
      LINEAR,
    ),
    f"{official}.self_attn.out_proj.bias": (f"{ours}/attention/out_bias", SAME),
    **weight_bias(f"{official}.linear1", f"{ours}/linear1"),
    **weight_bias(f"{official}.linear2", f"{ours}/linear2"),
    f"{official}.norm1.weight": (f"{ours}/norm1/scale", SAME),
    f"{official}.norm1.bias": (f"{ours}/norm1/bias", SAME),
    f"{official}.norm2.weight": (f"{ours}/norm2/scale", SAME),
    f"{official}.norm2.bias": (f"{ours}/norm2/bias", SAME),
  }


def temporal(layers: int) -> Names:
  """Names of the encoder that attends over time."""
  names = weight_bias("affine_matrix", "embed")
  for i in range(layers):
    names |= _layer(f"encoder.layers.{i}", f"layer{i}")
  return names


TEMPORAL: Names = temporal(1)
_BLOCK: Names = {
  "stack.0.res_block.1.weight": ("residual/Conv_0/kernel", CONV),
  "stack.0.res_block.3.weight": ("residual/Conv_1/kernel", CONV),
}
GRID_SPECIFIC: Names = {
  **weight_bias("conv_stack.0", "conv0", CONV),
  **weight_bias("conv_stack.2", "conv1", CONV),
  **weight_bias("conv_stack.4", "conv2", CONV),
  **within("conv_stack.5.", "", _BLOCK),
  **weight_bias("feed_forward.0", "linear1"),
  **weight_bias("feed_forward.2", "linear2"),
}
GRID_DECODER: Names = {
  **weight_bias("video_linear", "linear"),
  **weight_bias("inverse_conv_block.0", "conv0", TRANSPOSED),
  **within("inverse_conv_block.1.", "", _BLOCK),
  **weight_bias("inverse_conv_block.2", "conv1", TRANSPOSED),
  **weight_bias("inverse_conv_block.4", "conv2", TRANSPOSED),
}
AUDIO_SPECIFIC = weight_bias("audio_linear", "linear")
HEAD = weight_bias("input_linear", "linear")
COARSE = {"linear.weight": ("kernel", LINEAR), "linear.bias": ("bias", SAME)}
AUDIO_DECODER = {
  **weight_bias("audio_linear", "embed"),
  **weight_bias("audio_rec", "out"),
}
COARSE_DECODER = {
  **weight_bias("simple_linear", "embed"),
  **weight_bias("simple_rec", "out"),
}
CLUB: Names = {
  name: entry
  for i in range(4)
  for official, ours in [("p_mu", "mean"), ("p_logvar", "log_variance")]
  for name, entry in weight_bias(f"{official}.{2 * i}", f"{ours}{i}").items()
}


def lstm(official: str, ours: str) -> Names:
  """Names of a layer of an LSTM; `official` has {} in place of the part."""
  return {
    official.format("weight_ih"): (f"{ours}/in_kernel", LINEAR),
    official.format("weight_hh"): (f"{ours}/state_kernel", LINEAR),
    official.format("bias_ih"): (f"{ours}/in_bias", SAME),
    official.format("bias_hh"): (f"{ours}/state_bias", SAME),
  }


def _predictor(letter: str) -> Names:
  names = weight_bias(f"{letter}_predictors.0", "predict")
  for i in range(2):
    names |= lstm(f"{letter}_ar_lstm.{{}}_l{i}", f"lstm{i}")
  return names


CPC: Names = {
  **within("", "video/", _predictor("video")),
  **within("", "audio/", _predictor("audio")),
}
COARSE_HEADS = [("va", "video+audio"), ("t", "text")]


def encoder(layers: int) -> Names:
  """Names of FCID's encoder."""
  names = {
    **within("v_gen_encoder.", "tokens/video/pool/", GRID_POOL),
    **within("v_spe_encoder.", "specific/video/", GRID_SPECIFIC),
    **within("a_spe_encoder.", "specific/audio/", AUDIO_SPECIFIC),
  }
  for m in ("video", "audio", "text"):
    names |= within(f"{m[0]}_self_att.", f"tokens/{m}/", temporal(layers))
  for letter, group in COARSE_HEADS:
    names |= {
      **within(f"{letter}2vat.", f"coarse/{group}/", COARSE),
      **within(f"{letter}_gen_encoder.", f"general/{group}/", HEAD),
      **within(f"{letter}_spe_encoder.", f"specific_head/{group}/", HEAD),
    }
  return names


ENCODER: Names = encoder(1)
DECODER: Names = {
  **within("v_fine_decoder.", "fine/video/", GRID_DECODER),
  **within("a_fine_decoder.", "fine/audio/", AUDIO_DECODER),
  **within("v_coarse_decoder.", "coarse/video/", COARSE_DECODER),
  **within("a_coarse_decoder.", "coarse/audio/", COARSE_DECODER),
  **within("t_coarse_decoder.", "coarse/text/", COARSE_DECODER),
}


def tables_of(
  method: str, order: tuple[str, ...], layers: int
) -> dict[str, Names]:
  """Part of a checkpoint -> its official names, with our paths.

  Args:
    method: "fcid" or "dcid".
    order: modalities, in the order of the codebook's update.
    layers: of the encoders that attend over time.
  """
  names, decoder = encoder(layers), DECODER
  if method == "dcid":
    names, decoder = dcid_encoder(order, layers), dcid_decoder(order)
  book = {
    f"{BOOKS[method]}.{theirs}": (f"codebook/{ours}", SAME)
    for ours, theirs in BOOK.items()
  }
  tables = {
    ENCODER_PART: {**book, **within("", "params/encoder/", names)},
    DECODER_PART: within("", "params/decoder/", decoder),
  }
  if method == "dcid" and "text" in order:
    tables[FRONT_PART] = within("", "params/encoder/", DCID_FRONT)
  return tables


def attention(method: str, modality: str) -> str:
  """The official module that attends over time."""
  return f"{modality[0] if method == 'fcid' else modality}_self_att"


DCID_FRONT: Names = {  # the LSTM that reads text
  name: entry
  for i in range(2)
  for end, back in [("", ""), ("_reverse", "_back")]
  for name, entry in lstm(
    f"{{}}_l{i}{end}", f"front/text/lstm{i}{back}"
  ).items()
}


def dcid_encoder(modalities: Sequence[str], layers: int) -> Names:
  """Names of the official DCID's encoder, for any two modalities or all."""
  names: Names = {}
  for m in modalities:
    inner = (
      GRID_SPECIFIC if m == "video" else weight_bias(f"{m}_linear", "linear")
    )
    names |= within(f"{m.title()}_encoder.", f"specific/{m}/", inner)
    names |= within(f"{m}_self_att.", f"tokens/{m}/", temporal(layers))
    if m == "video":
      names |= within(
        "video_semantic_encoder.", "tokens/video/pool/", GRID_POOL
      )
  return names


def dcid_decoder(modalities: Sequence[str]) -> Names:
  """Names of the official DCID's decoders.

  Their classifiers are left out: no loss has them.
  """
  names: Names = {}
  for m in modalities:
    linear = {
      **weight_bias(f"{m}_linear", "embed"),
      **weight_bias(f"{m}_rec", "out"),
    }
    inner = GRID_DECODER if m == "video" else linear
    names |= within(f"{m.title()}_decoder.", f"fine/{m}/", inner)
  return names


def to_ours(names: Names, arrays: Mapping[str, Array]) -> dict[str, Any]:
  """Our nested tree of official name -> array.

  Arrays that have no place in our tree (unused copies of a layer, an attention
  without influence) are left out.

  Raises:
    KeyError: if an array that we need is missing.
  """
  return nested(
    {
      path: np.ascontiguousarray(layout.ours(np.asarray(arrays[name])))
      for name, (path, layout) in names.items()
    }
  )


def to_official(names: Names, tree: Mapping[str, Any]) -> dict[str, Array]:
  """Official name -> array of our nested tree."""
  leaves = flat(tree)
  return {
    name: np.ascontiguousarray(layout.official(np.asarray(leaves[path])))
    for name, (path, layout) in names.items()
  }
