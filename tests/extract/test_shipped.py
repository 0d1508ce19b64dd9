"""Networks whose weights packages ship against runs of the originals."""

import importlib.metadata
import io
import pathlib
import zipfile

import numpy as np
import pytest
from scipy import special

from unirep.extract import registry
from unirep.extract.pretrained import captions, pictures, sounds

MEDIA = pathlib.Path(__file__).parents[2].parent / "shared" / "data" / "media"


def installed(shipped):
  """Where the package's file is; the test is skipped without the package."""
  try:
    distribution = importlib.metadata.distribution(shipped.package)
  except importlib.metadata.PackageNotFoundError:
    pytest.skip(shipped.command)
  return pathlib.Path(str(distribution.locate_file(shipped.file)))


def loaded(name):
  return registry.extractor("extractors.x", name).load()


def real_sounds():
  """Seconds of the wav and the mp4, (N, 16000); made ones where they lack."""
  rng = np.random.default_rng(0)
  time = np.arange(16000) / 16000
  parts = [
    rng.normal(0, 0.1, 16000),
    0.5 * np.sin(2 * np.pi * 440 * time),
    0.5 * np.sin(2 * np.pi * (200 + 1500 * time) * time) * (time % 0.25 < 0.1),
    np.zeros(16000),
  ]
  if MEDIA.is_dir():
    av = pytest.importorskip("av")
    for name in ("FwVYUHKoLtQ_000034.wav", "BjCEufrlXm4.mp4"):
      with av.open(str(MEDIA / name)) as container:
        resampler = av.AudioResampler("flt", "mono", 16000)
        frames = [
          y.to_ndarray()[0]
          for x in container.decode(audio=0)
          for y in resampler.resample(x)
        ]
      sound = np.concatenate(frames).clip(-1, 1)
      parts += [sound[16000 * i : 16000 * (i + 1)] for i in range(5)]
  return np.array(parts, np.float32)


def real_images():
  """Photos, (N, 224, 224, 3); made ones where they lack."""
  rng = np.random.default_rng(0)
  coarse = rng.integers(0, 256, (1, 7, 7, 3), np.uint8)
  images = [coarse.repeat(32, 1).repeat(32, 2)]
  image_module = pytest.importorskip("PIL.Image")
  for path in sorted(MEDIA.glob("frames/*/*.jpg"))[::4]:
    photo = image_module.open(path).convert("RGB").resize((224, 224))
    images.append(np.asarray(photo)[None])
  return np.concatenate(images)


def patches(sound_NxS, offset):
  """The middle 96 of 98 frames, by the definition, in float64."""
  time = np.arange(400)
  window = 0.5 - 0.5 * np.cos(2 * np.pi * time / 400)
  mel = 2595 * np.log10(1 + np.arange(257) * 16000 / 512 / 700)
  ends = 2595 * np.log10(1 + np.array([125, 7500]) / 700)
  corners = np.linspace(*ends, 66)
  bank = np.stack(
    [np.interp(mel, corners[i : i + 3], [0, 1, 0]) for i in range(64)], 1
  )
  frames = [
    np.abs(np.fft.rfft(sound_NxS[:, b : b + 400] * window, 512))
    for b in range(160, 160 + 96 * 160, 160)
  ]
  return np.log(np.stack(frames, 1) @ bank + offset).astype(np.float32)


def without_quantizers(data):
  """The graph of an .onnx.zip in float32, with the embedding as an output."""
  onnx = pytest.importorskip("onnx")
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    (folder,) = {x.split("/")[0] for x in archive.namelist()}
    model = onnx.load_model_from_string(archive.read(f"{folder}/model.onnx"))
    extra = archive.read(f"{folder}/model.data")
  graph = model.graph
  for tensor in graph.initializer:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
      at = {x.key: x.value for x in tensor.external_data}
      begin = int(at["offset"])
      tensor.raw_data = extra[begin : begin + int(at["length"])]
      tensor.data_location = onnx.TensorProto.DEFAULT
      del tensor.external_data[:]
  source = {}  # output of a quantizer -> what went in
  for node in graph.node:
    if node.op_type == "QuantizeLinear" or node.op_type.startswith("Dequ"):
      source[node.output[0]] = source.get(node.input[0], node.input[0])
  kept = [x for x in graph.node if "quantizelinear" not in x.op_type.lower()]
  assert len(graph.node) - len(kept) == len(source) > 100
  for node in kept:
    node.input[:] = [source.get(x, x) for x in node.input]
  del graph.node[:]
  graph.node.extend(kept)
  graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
  del graph.output[:]
  for name in (kept[-1].input[0], kept[-1].output[0]):
    graph.output.append(
      onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
    )
  return model.SerializeToString()


def test_yamnet_equals_the_original_graph():
  data = installed(sounds.YAMNET).read_bytes()
  runtime = pytest.importorskip("onnxruntime")
  session = runtime.InferenceSession(without_quantizers(data))
  sound_NxS = real_sounds()
  patch_NxFxM = patches(sound_NxS, 0.001)
  runs = [session.run(None, {"audio": x[None, None]}) for x in patch_NxFxM]
  embedding, logit = (np.concatenate(x) for x in zip(*runs, strict=True))
  assert embedding.std() > 0.1
  found = loaded("yamnet").run(sound_NxS)
  np.testing.assert_allclose(found, embedding, rtol=0, atol=1e-4)
  found = loaded("yamnet-scores").run(sound_NxS)
  np.testing.assert_allclose(found, special.expit(logit), rtol=0, atol=1e-4)


def test_longer_sounds_are_the_mean_of_patches():
  installed(sounds.YAMNET)
  run = loaded("yamnet").run
  wave = np.random.default_rng(0).normal(0, 0.1, (1, 31280)).astype("f4")
  # 194 frames: patches of 96 at 1, 49 and 97.
  one = [wave[:, 160 * i : 160 * i + 15600] for i in (1, 49, 97)]
  expected = np.mean([run(x) for x in one], 0)
  np.testing.assert_allclose(run(wave), expected, rtol=0, atol=1e-5)


def test_efficientnet_equals_torch():
  path = installed(pictures.EFFICIENTNET)
  torch = pytest.importorskip("torch")
  import torch_networks

  state = torch.load(path, weights_only=True)
  image_NxHxWx3 = real_images()
  with torch.no_grad():
    grid, vector = torch_networks.efficientnet(state, image_NxHxWx3)
  assert grid.std() > 0.1
  found = loaded("efficientnet").run(image_NxHxWx3)
  np.testing.assert_allclose(found, grid, rtol=0, atol=1e-4)
  found = loaded("efficientnet-vector").run(image_NxHxWx3)
  np.testing.assert_allclose(found, vector, rtol=0, atol=1e-4)


def test_efficientnet_gives_what_torch_gave():
  """Numbers that the test above compares all of, for where torch lacks."""
  installed(pictures.EFFICIENTNET)
  made = real_images()[:1]
  grid = [
    *([0.1113, -1.94852], [1.79707, -2.32474], [1.41765, -2.4305]),
    *([1.05331, -1.85993], [1.1793, -3.09845], [0.46957, -2.09548]),
    *([1.78662, -1.7101], [1.36011, -1.72941], [0.55933, -2.13546]),
  ]
  found = loaded("efficientnet").run(made)[0, ::3, ::3, ::160]
  np.testing.assert_allclose(found.reshape(9, 2), grid, rtol=0, atol=1e-4)


TEXTS = {  # and where the pieces of their words are
  "A dog barks at the postman.": [[1], [2], [3, 4], [5], [6], [7, 8]],
  "It isn't raining; the unbelievably grey-haired man yodels?!": [
    *([1], [2, 3, 4], [5], [7], [8, 9, 10, 11, 12], [13], [15], [16]),
    [17, 18, 19],
  ],
  "naïve café 犬 ﬁne": [[1], [2], [3], [4]],
  "a " * 300: [[i] for i in range(1, 255)],
  "?!": [],
}


@pytest.mark.slow
def test_minilm_equals_torch():
  path = installed(captions.MINILM)
  torch = pytest.importorskip("torch")
  tokenizers = pytest.importorskip("tokenizers")
  safetensors = pytest.importorskip("safetensors.torch")
  import torch_networks

  with zipfile.ZipFile(path) as archive:
    state = safetensors.load(archive.read("model.safetensors"))
    tokenizer = tokenizers.Tokenizer.from_buffer(archive.read("tokenizer.json"))
  tokenizer.no_padding()
  tokenizer.enable_truncation(256)
  by_word = loaded("minilm").run(list(TEXTS))
  by_text = loaded("minilm-sentence").run(list(TEXTS))
  for i, (text, places) in enumerate(TEXTS.items()):
    pieces = tokenizer.encode(text.replace("ﬁ", "fi")).ids
    with torch.no_grad():
      layer = torch_networks.bert(state, pieces, 6).numpy()
    mean = layer.mean(0)[None]
    mean /= np.linalg.norm(mean)
    np.testing.assert_allclose(by_text[i], mean, rtol=0, atol=1e-4)
    assert len(by_word[i]) == len(places)
    for row, place in zip(by_word[i], places, strict=True):
      np.testing.assert_allclose(row, layer[place].mean(0), rtol=0, atol=1e-4)
