"""Networks in torch, from state dicts as they are published: references."""

import math

import torch
import torch.nn.functional as F

STAGES = [  # EfficientNet-Lite0: repeats, kernel, stride, expansion
  (1, 3, 1, 1),
  (2, 3, 2, 6),
  (2, 5, 2, 6),
  (3, 3, 2, 6),
  (3, 5, 1, 6),
  (4, 5, 2, 6),
  (1, 3, 1, 6),
]


def same(x, weight, stride, groups=1):
  """A convolution padded as TensorFlow does: more at the end."""
  kernel = weight.shape[-1]
  rows, columns = (
    max((math.ceil(n / stride) - 1) * stride + kernel - n, 0)
    for n in x.shape[2:]
  )
  x = F.pad(
    x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
  )
  return F.conv2d(x, weight, stride=stride, groups=groups)


def efficientnet(state, image):
  """(N, 224, 224, 3) uint8 -> grid (N, 7, 7, 320), vector (N, 1280)."""

  def norm(x, name):
    return F.batch_norm(
      x,
      state[f"{name}.running_mean"],
      state[f"{name}.running_var"],
      state[f"{name}.weight"],
      state[f"{name}.bias"],
      eps=1e-3,
    )

  x = (torch.as_tensor(image).permute(0, 3, 1, 2).float() - 127) / 128
  x = F.relu6(norm(same(x, state["_conv_stem.weight"], 2), "_bn0"))
  block = 0
  for repeats, _, first, expansion in STAGES:
    for stride in [first] + [1] * (repeats - 1):
      name, before = f"_blocks.{block}", x
      if expansion > 1:
        x = F.conv2d(x, state[f"{name}._expand_conv.weight"])
        x = F.relu6(norm(x, f"{name}._bn0"))
      weight = state[f"{name}._depthwise_conv.weight"]
      x = same(x, weight, stride, groups=len(weight))
      x = F.relu6(norm(x, f"{name}._bn1"))
      x = F.conv2d(x, state[f"{name}._project_conv.weight"])
      x = norm(x, f"{name}._bn2")
      x = x + before if before.shape == x.shape else x
      block += 1
  head = F.relu6(norm(F.conv2d(x, state["_conv_head.weight"]), "_bn1"))
  return x.permute(0, 2, 3, 1), head.mean((2, 3))


def _convolutions(state, x, plan):
  layer = 0
  for count in plan:
    for _ in range(count):
      name = f"features.{layer}"
      x = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)
      x = F.relu(x)
      layer += 2
    x = F.max_pool2d(x, 2, 2)
    layer += 1
  return x


def vgg19(state, image):
  """(N, H, W, 3) uint8 -> (N, H/32, W/32, 512), by torchvision's names."""
  x = torch.as_tensor(image).permute(0, 3, 1, 2).float() / 255
  mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
  deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
  x = (x - mean) / deviation
  return _convolutions(state, x, (2, 2, 4, 4, 4)).permute(0, 2, 3, 1)


def vggish(state, mel):
  """(N, 96, 64) -> (N, 128), by torchvggish's names."""
  x = _convolutions(state, torch.as_tensor(mel)[:, None], (1, 1, 2, 2))
  x = x.permute(0, 2, 3, 1).flatten(1)
  for i in (0, 2, 4):
    name = f"embeddings.{i}"
    x = F.relu(F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"]))
  return x


def bert(state, pieces, layers, heads=12):
  """Pieces of one text, (L,), to the last layer, (L, D), by HF's names."""

  def linear(x, name):
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

  def norm(x, name):
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return F.layer_norm(x, x.shape[-1:], weight, bias, 1e-12)

  pieces = torch.as_tensor(pieces).long()
  table = "embeddings.{}_embeddings.weight".format
  x = state[table("word")][pieces]
  x = (
    x + state[table("position")][: len(pieces)] + state[table("token_type")][0]
  )
  x = norm(x, "embeddings.LayerNorm")
  for i in range(layers):
    name = f"encoder.layer.{i}"
    query, key, value = (
      linear(x, f"{name}.attention.self.{part}")
      .unflatten(-1, (heads, -1))
      .transpose(0, 1)
      for part in ("query", "key", "value")
    )
    y = F.scaled_dot_product_attention(query[None], key[None], value[None])[0]
    y = linear(y.transpose(0, 1).flatten(1), f"{name}.attention.output.dense")
    x = norm(x + y, f"{name}.attention.output.LayerNorm")
    y = F.gelu(linear(x, f"{name}.intermediate.dense"))
    y = linear(y, f"{name}.output.dense")
    x = norm(x + y, f"{name}.output.LayerNorm")
  return x
