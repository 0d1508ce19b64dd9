"""State dicts with the names and shapes of the official networks."""

from typing import NamedTuple

import numpy as np

LAYER = ("self_attn", "linear1", "linear2", "norm1", "norm2")


class Widths(NamedTuple):
  video: int = 8
  audio: int = 6
  text: int = 8
  specific: int = 16  # of video; that of audio and text is `dim`
  dim: int = 8
  hidden: int = 12
  codes: int = 10


FULL = Widths(512, 128, 768, 2048, 256, 1024, 400)


def linear(name, out, into, bias=True):
  shapes = {f"{name}.weight": (out, into)}
  return shapes | ({f"{name}.bias": (out,)} if bias else {})


def conv(name, out, into, size):
  return {f"{name}.weight": (out, into, size, size), f"{name}.bias": (out,)}


def layer(name, w):
  return {
    f"{name}.self_attn.in_proj_weight": (3 * w.dim, w.dim),
    f"{name}.self_attn.in_proj_bias": (3 * w.dim,),
    **linear(f"{name}.self_attn.out_proj", w.dim, w.dim),
    **linear(f"{name}.linear1", w.hidden, w.dim),
    **linear(f"{name}.linear2", w.dim, w.hidden),
    **{
      f"{name}.norm{i}.{x}": (w.dim,)
      for i in (1, 2)
      for x in ("weight", "bias")
    },
  }


def attention(name, into, layers, w):
  shapes = layer(f"{name}.encoder_layer", w)
  for i in range(layers):
    shapes |= layer(f"{name}.encoder.layers.{i}", w)
  return shapes | linear(f"{name}.affine_matrix", w.dim, into)


def book(name, w):
  return {
    f"{name}.embedding": (w.codes, w.dim),
    f"{name}.ema_count": (w.codes,),
    f"{name}.ema_weight": (w.codes, w.dim),
    f"{name}.unactivated_count": (w.codes,),
  }


def video_specific(name, w):
  S = w.specific
  block = f"{name}.conv_stack.5.stack.0.res_block"
  return {
    **conv(f"{name}.conv_stack.0", S // 2, w.video, 3),
    **conv(f"{name}.conv_stack.2", S, S // 2, 3),
    **conv(f"{name}.conv_stack.4", S, S, 1),
    f"{block}.1.weight": (S, S, 3, 3),
    f"{block}.3.weight": (S, S, 1, 1),
    **linear(f"{name}.feed_forward.0", S // 2, S),
    **linear(f"{name}.feed_forward.2", w.video, S // 2),
  }


def pool(name, w):
  F = w.video
  return {
    **linear(f"{name}.se_layer.0", F // 8, F, bias=False),
    **linear(f"{name}.se_layer.2", F, F // 8, bias=False),
    **linear(f"{name}.affine_video_ave", F // 2, F),
    **linear(f"{name}.affine_video_self", F // 2, F),
    **linear(f"{name}.ave_v_att", 1, F // 2),
  }


def fcid(w):
  shapes = {
    **book("Cross_quantizer_coarse", w),
    **video_specific("v_spe_encoder", w),
    **linear("a_spe_encoder.audio_linear", w.dim, w.audio),
    **pool("v_gen_encoder", w),
  }
  for letter, width in zip("vat", (w.video, w.audio, w.text), strict=True):
    shapes |= attention(f"{letter}_self_att", width, 1, w)
  for head in ("va", "t"):
    shapes |= linear(f"{head}2vat.linear", w.dim, w.dim)
    shapes |= linear(f"{head}_gen_encoder.input_linear", w.dim, w.dim)
    shapes |= linear(f"{head}_spe_encoder.input_linear", w.dim, w.dim)
  return shapes


def dcid(w, modalities):
  """Text is as wide as its LSTM makes it."""
  shapes = book("Cross_quantizer", w)
  width = {"video": w.video, "audio": w.audio, "text": w.dim}
  for m in modalities:
    shapes |= attention(f"{m}_self_att", width[m], 2, w)
    if m == "video":
      shapes |= video_specific("Video_encoder", w) | pool(
        "video_semantic_encoder", w
      )
    else:
      shapes |= linear(f"{m.title()}_encoder.{m}_linear", w.dim, width[m])
  return shapes


def dcid_decoder(w, modalities):
  shapes = {}
  for m in modalities:
    if m == "video":
      S, name = w.specific, "Video_decoder.inverse_conv_block"
      block = f"{name}.1.stack.0.res_block"
      shapes |= {
        f"{name}.0.weight": (S + w.dim, S // 2, 3, 3),
        f"{name}.0.bias": (S // 2,),
        f"{block}.1.weight": (S // 2, S // 2, 3, 3),
        f"{block}.3.weight": (S // 2, S // 2, 1, 1),
        f"{name}.2.weight": (S // 2, w.video, 3, 3),
        f"{name}.2.bias": (w.video,),
        **conv(f"{name}.4", w.video, w.video, 1),
        **linear("Video_decoder.video_linear", w.dim, w.dim),
      }
    else:
      width = w.audio if m == "audio" else w.dim
      shapes |= linear(f"{m.title()}_decoder.{m}_rec", width, 2 * w.dim)
      shapes |= linear(f"{m.title()}_decoder.{m}_linear", w.dim, w.dim)
    shapes |= linear(f"{m}_semantic_decoder.linear", w.dim, w.dim)
    shapes |= linear(f"{m}_semantic_decoder.event_classifier", 141, w.dim)
  return shapes


def lstm(w):
  """Two layers, both ways, of half of `dim` each."""
  shapes, half = {}, w.dim // 2
  for i, into in enumerate((w.text, w.dim)):
    for end in ("", "_reverse"):
      shapes |= {
        f"weight_ih_l{i}{end}": (4 * half, into),
        f"weight_hh_l{i}{end}": (4 * half, half),
        f"bias_ih_l{i}{end}": (4 * half,),
        f"bias_hh_l{i}{end}": (4 * half,),
      }
  return shapes


def drawn(shapes, seed=0):
  """Random numbers, of which float32 would drop half of the digits."""
  rng = np.random.default_rng(seed)
  return {
    name: np.abs(rng.normal(size=shape))
    if "count" in name
    else rng.normal(size=shape) * min(1, 4 / max(shape[-1], 1)) ** 0.5
    for name, shape in shapes.items()
  }


def fcid_file(w=Widths(), **more):  # noqa: B008
  return {
    "Encoder_parameters": drawn(fcid(w)),
    "epoch": 3,
    "total_step": 1234,
    **more,
  }


def dcid_file(modalities, w=Widths(text=9)):  # noqa: B008
  made = {
    "Encoder_parameters": drawn(dcid(w, modalities)),
    "CPC_parameters": drawn(linear("audio_predictors.0", w.dim, w.dim)),
    "Decoder_parameters": drawn(dcid_decoder(w, modalities), 1),
    "epoch": 5,
    "total_step": 3065,
  }
  if "text" in modalities:
    made["Text_ar_lstm_parameters"] = drawn(lstm(w), 2)
  return made
