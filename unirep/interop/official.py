"""Parameters of the official PyTorch release, in our tree and back.

Only names and layouts are translated: the arrays may be weights, gradients or
anything else that is shaped like them. No PyTorch is needed.

Layouts: Linear (out, in) -> (in, out); convolution (out, in, h, w) -> (h, w,
in, out); transposed convolution (in, out, h, w) -> (h, w, in, out).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray


class Layout(NamedTuple):
  """How one array is turned, and turned back."""

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


def _weight_bias(official: str, ours: str, layout: Layout = LINEAR) -> Names:
  return {
    f"{official}.weight": (f"{ours}/kernel", layout),
    f"{official}.bias": (f"{ours}/bias", SAME),
  }


def _within(official: str, ours: str, names: Names) -> Names:
  return {
    f"{official}{name}": (f"{ours}{path}", layout)
    for name, (path, layout) in names.items()
  }


GRID_POOL: Names = {
  "se_layer.0.weight": ("Linear_0/kernel", LINEAR),
  "se_layer.2.weight": ("Linear_1/kernel", LINEAR),
}
ATTENTION_POOL: Names = GRID_POOL | {
  **_weight_bias("affine_video_ave", "query"),
  **_weight_bias("affine_video_self", "key"),
  **_weight_bias("ave_v_att", "score"),
}
_LAYER = "encoder.layers.0."
TEMPORAL: Names = {
  **_weight_bias("affine_matrix", "embed"),
  f"{_LAYER}self_attn.in_proj_weight": ("layer0/attention/in_kernel", LINEAR),
  f"{_LAYER}self_attn.in_proj_bias": ("layer0/attention/in_bias", SAME),
  f"{_LAYER}self_attn.out_proj.weight": (
    "layer0/attention/out/kernel",
    LINEAR,
  ),
  f"{_LAYER}self_attn.out_proj.bias": ("layer0/attention/out_bias", SAME),
  **_weight_bias(f"{_LAYER}linear1", "layer0/linear1"),
  **_weight_bias(f"{_LAYER}linear2", "layer0/linear2"),
  f"{_LAYER}norm1.weight": ("layer0/norm1/scale", SAME),
  f"{_LAYER}norm1.bias": ("layer0/norm1/bias", SAME),
  f"{_LAYER}norm2.weight": ("layer0/norm2/scale", SAME),
  f"{_LAYER}norm2.bias": ("layer0/norm2/bias", SAME),
}
_BLOCK: Names = {
  "stack.0.res_block.1.weight": ("residual/Conv_0/kernel", CONV),
  "stack.0.res_block.3.weight": ("residual/Conv_1/kernel", CONV),
}
GRID_SPECIFIC: Names = {
  **_weight_bias("conv_stack.0", "conv0", CONV),
  **_weight_bias("conv_stack.2", "conv1", CONV),
  **_weight_bias("conv_stack.4", "conv2", CONV),
  **_within("conv_stack.5.", "", _BLOCK),
  **_weight_bias("feed_forward.0", "linear1"),
  **_weight_bias("feed_forward.2", "linear2"),
}
GRID_DECODER: Names = {
  **_weight_bias("video_linear", "linear"),
  **_weight_bias("inverse_conv_block.0", "conv0", TRANSPOSED),
  **_within("inverse_conv_block.1.", "", _BLOCK),
  **_weight_bias("inverse_conv_block.2", "conv1", TRANSPOSED),
  **_weight_bias("inverse_conv_block.4", "conv2", TRANSPOSED),
}
AUDIO_SPECIFIC = _weight_bias("audio_linear", "linear")
HEAD = _weight_bias("input_linear", "linear")
COARSE = {"linear.weight": ("kernel", LINEAR), "linear.bias": ("bias", SAME)}
AUDIO_DECODER = {
  **_weight_bias("audio_linear", "embed"),
  **_weight_bias("audio_rec", "out"),
}
COARSE_DECODER = {
  **_weight_bias("simple_linear", "embed"),
  **_weight_bias("simple_rec", "out"),
}
CLUB: Names = {
  name: entry
  for i in range(4)
  for official, ours in [("p_mu", "mean"), ("p_logvar", "log_variance")]
  for name, entry in _weight_bias(f"{official}.{2 * i}", f"{ours}{i}").items()
}


def _predictor(letter: str) -> Names:
  names = _weight_bias(f"{letter}_predictors.0", "predict")
  for i in range(2):
    for part, ours, layout in [
      ("weight_ih", "in_kernel", LINEAR),
      ("weight_hh", "state_kernel", LINEAR),
      ("bias_ih", "in_bias", SAME),
      ("bias_hh", "state_bias", SAME),
    ]:
      official = f"{letter}_ar_lstm.{part}_l{i}"
      names[official] = (f"lstm{i}/{ours}", layout)
  return names


CPC: Names = {
  **_within("", "video/", _predictor("video")),
  **_within("", "audio/", _predictor("audio")),
}
COARSE_HEADS = [("va", "video+audio"), ("t", "text")]
ENCODER: Names = {
  **_within("v_gen_encoder.", "tokens/video/pool/", GRID_POOL),
  **_within("v_self_att.", "tokens/video/", TEMPORAL),
  **_within("a_self_att.", "tokens/audio/", TEMPORAL),
  **_within("t_self_att.", "tokens/text/", TEMPORAL),
  **_within("v_spe_encoder.", "specific/video/", GRID_SPECIFIC),
  **_within("a_spe_encoder.", "specific/audio/", AUDIO_SPECIFIC),
  **{
    name: entry
    for letter, group in COARSE_HEADS
    for name, entry in {
      **_within(f"{letter}2vat.", f"coarse/{group}/", COARSE),
      **_within(f"{letter}_gen_encoder.", f"general/{group}/", HEAD),
      **_within(f"{letter}_spe_encoder.", f"specific_head/{group}/", HEAD),
    }.items()
  },
}
DECODER: Names = {
  **_within("v_fine_decoder.", "fine/video/", GRID_DECODER),
  **_within("a_fine_decoder.", "fine/audio/", AUDIO_DECODER),
  **_within("v_coarse_decoder.", "coarse/video/", COARSE_DECODER),
  **_within("a_coarse_decoder.", "coarse/audio/", COARSE_DECODER),
  **_within("t_coarse_decoder.", "coarse/text/", COARSE_DECODER),
}


def to_ours(names: Names, arrays: Mapping[str, Array]) -> dict[str, Any]:
  """Official name -> array becomes our nested tree.

  Names that have no place in our tree (unused copies of a layer, an attention
  without influence) are left out.

  Raises:
    KeyError: if an array that we need is missing.
  """
  tree: dict[str, Any] = {}
  for name, (path, layout) in names.items():
    *parents, leaf = path.split("/")
    place = tree
    for parent in parents:
      place = place.setdefault(parent, {})
    place[leaf] = np.ascontiguousarray(layout.ours(np.asarray(arrays[name])))
  return tree


def to_official(names: Names, tree: Mapping[str, Any]) -> dict[str, Array]:
  """Our nested tree becomes official name -> array."""
  arrays = {}
  for name, (path, layout) in names.items():
    leaf: Any = tree
    for part in path.split("/"):
      leaf = leaf[part]
    arrays[name] = np.ascontiguousarray(layout.official(np.asarray(leaf)))
  return arrays
