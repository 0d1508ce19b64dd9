"""Networks of the field with random weights against torch."""

import json

import numpy as np
import oneline
import pytest

from unirep.extract import logmel, registry
from unirep.extract.logmel import LogMel
from unirep.extract.pretrained import captions, pieces
from unirep.files import state_dicts
from unirep.runtime.errors import InputError

torch = pytest.importorskip("torch")
import torch_networks  # noqa: E402

VOCABULARY = [
  *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
  *("a", "dog", "bark", "##s", "##ing", "loud"),
]


def normal(seed, **shapes):
  """Tensors that keep the size of what goes through them."""
  generator = torch.Generator().manual_seed(seed)
  state = {}
  for name, shape in shapes.items():
    scale = (2 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1
    state[name] = scale * torch.randn(shape, generator=generator)
    if "LayerNorm.weight" in name:
      state[name] += 1
  return state


def convolutions(plan, width):
  shapes, layer = {}, 0
  for stage in plan:
    for out in stage:
      shapes[f"features.{layer}.weight"] = (out, width, 3, 3)
      shapes[f"features.{layer}.bias"] = (out,)
      layer, width = layer + 2, out
    layer += 1
  return shapes


def vgg19_state():
  plan = [[64] * 2, [128] * 2, [256] * 4, [512] * 4, [512] * 4]
  return normal(0, **convolutions(plan, 3))


def vggish_state():
  shapes = convolutions([[64], [128], [256] * 2, [512] * 2], 1)
  sizes = [(4096, 6 * 4 * 512), (4096, 4096), (128, 4096)]
  for i, size in enumerate(sizes):
    shapes[f"embeddings.{2 * i}.weight"] = size
    shapes[f"embeddings.{2 * i}.bias"] = size[:1]
  return normal(1, **shapes)


def bert_state(vocabulary, width, layers):
  tables = {"word": vocabulary, "position": 512, "token_type": 2}
  shapes = {
    f"embeddings.{name}_embeddings.weight": (rows, width)
    for name, rows in tables.items()
  }
  norms = ["embeddings.LayerNorm"]
  for i in range(layers):
    layer = f"encoder.layer.{i}."
    linears = {
      **{f"attention.self.{x}": (width, width) for x in ("query", "key")},
      "attention.self.value": (width, width),
      "attention.output.dense": (width, width),
      "intermediate.dense": (4 * width, width),
      "output.dense": (width, 4 * width),
    }
    for name, shape in linears.items():
      shapes[f"{layer}{name}.weight"] = shape
      shapes[f"{layer}{name}.bias"] = shape[:1]
    norms += [f"{layer}{x}output.LayerNorm" for x in ("attention.", "")]
  for name in norms:
    shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
  return normal(2, **shapes)


def save(state, path):
  if path.suffix == ".safetensors":
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(state, path)
  else:
    modern = path.suffix != ".old"
    torch.save(state, path, _use_new_zipfile_serialization=modern)


@pytest.mark.parametrize("suffix", ["pth", "old", "safetensors"])
def test_files_of_torch_are_read(suffix, tmp_path):
  base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
  state = {
    "half": base.half(),
    "bfloat16": (base / 7).bfloat16(),
    "long": base.long(),
    "none": torch.zeros(0, 3),
    "scalar": torch.tensor(2.5),
    "double": base.double() / 3,
  }
  if suffix != "safetensors":  # which refuses views
    state["view"], state["turned"] = base[1:, ::2], base.T
    state["parameter"] = torch.nn.Parameter(base[2])
  path = tmp_path / f"a.{suffix}"
  save({"state_dict": state} if suffix == "pth" else state, path)
  found = state_dicts.read("x", str(path), "any").arrays
  assert found.keys() == state.keys()
  for name, tensor in state.items():
    assert found[name].shape == tuple(tensor.shape)
    expected = tensor.detach().double().numpy()
    np.testing.assert_array_equal(found[name].astype(np.float64), expected)


@pytest.mark.parametrize("suffix", ["pth", "old", "safetensors"])
def test_vgg19_equals_torch(suffix, tmp_path):
  path = tmp_path / f"vgg19.{suffix}"
  state = vgg19_state()
  save({f"module.{k}": x for k, x in state.items()}, path)
  e = registry.extractor("extractors.video", f"vgg19:{path}")
  images = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), "u1")
  with torch.no_grad():
    expected = torch_networks.vgg19(state, images)
  assert expected.std() > 0.05
  assert expected.shape[1:] == e.shape
  found = e.load().run(images)
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_vggish_equals_torch(tmp_path):
  path = tmp_path / "vggish.pth"
  state = vggish_state()
  save(state, path)
  e = registry.extractor("extractors.audio", f"vggish:{path}")
  waves = np.random.default_rng(0).normal(0, 0.1, (3, 15600)).astype("f4")
  with torch.no_grad():
    mel = logmel.log_mel(waves, LogMel())
    expected = torch_networks.vggish(state, mel)
  assert expected.std() > 0.1
  found = e.load().run(waves)
  assert found.shape[1:] == e.shape
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_a_small_bert_equals_torch():
  width, layers = 48, 2
  state = bert_state(len(VOCABULARY), width, layers)
  split = pieces.tokenizer("x", "\n".join(VOCABULARY), 512)
  run = captions.transformer(
    "x",
    {f"bert.{k}": x.numpy() for k, x in state.items()},
    split,
    width,
    layers,
    captions._mean_of_words,
  )
  texts = ["A dog, barking!", "loud", *["dog barks"] * 8, "bark " * 40]
  for text, found in zip(texts, run(texts), strict=True):
    numbers = {x: i for i, x in enumerate(VOCABULARY)}
    words = text.lower().replace(",", " ,").replace("!", " !").split()
    split_up = {"barking": ["bark", "##ing"], "barks": ["bark", "##s"]}
    inner = [p for w in words for p in split_up.get(w, [w])]
    ids = [numbers.get(p, 1) for p in ["[CLS]", *inner, "[SEP]"]]
    with torch.no_grad():
      layer = torch_networks.bert(state, ids, layers).numpy()
    rows, at = [], 1
    for word in words:
      count = len(split_up.get(word, [word]))
      if word.isalpha():
        rows.append(layer[at : at + count].mean(0))
      at += count
    np.testing.assert_allclose(found, rows, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("vocabulary", ["vocab.txt", "tokenizer.json"])
def test_bert_base_equals_torch(vocabulary, tmp_path):
  state = bert_state(len(VOCABULARY), 768, 12)
  old = {
    f"bert.{k}".replace("Norm.weight", "Norm.gamma").replace(
      "Norm.bias", "Norm.beta"
    ): x
    for k, x in state.items()
  }
  save(old, tmp_path / "pytorch_model.bin")
  text = "\n".join(VOCABULARY)
  if vocabulary == "tokenizer.json":
    text = pieces.tokenizer("x", text, 512).to_str()
    assert json.loads(text)["truncation"]
  (tmp_path / vocabulary).write_text(text)
  name = f"bert:{tmp_path / 'pytorch_model.bin'}"
  e = registry.extractor("extractors.text", name)
  (found,) = e.load().run(["dog barking"])
  with torch.no_grad():
    layer = torch_networks.bert(state, [2, 6, 7, 9, 3], 12).numpy()
  assert layer.std() > 0.1
  expected = [layer[1], layer[2:4].mean(0)]
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_wrong_weights_are_one_line(tmp_path):
  state = vgg19_state()
  path = tmp_path / "a.pth"

  def refused(match, name="vgg19", **changes):
    save({**state, **changes}, path)
    e = registry.extractor("extractors.x", f"{name}:{path}")
    with pytest.raises(InputError, match=match) as caught:
      e.load()
    oneline.check(caught.value)

  key = "features.5.weight"
  refused("'features.5.weight' has shape", **{key: torch.zeros(3)})
  turned = state[key].permute(2, 3, 1, 0)
  refused("'features.5.weight' has shape", **{key: turned})
  refused("not finite", **{key: state[key] * np.nan})
  refused("'features.0.bias' has shape", **{"features.0.bias": state[key]})
  refused("has no 'embeddings", "vggish")
  refused("there is no tokenizer.json or vocab.txt beside it", "bert")
  (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[SEP]\n")
  refused("describes no tokenizer", "bert")
  (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
  refused("no 'embeddings.word_embeddings.weight'", "bert")
  few = torch.zeros(len(VOCABULARY) - 1, 4)
  table = {"embeddings.word_embeddings.weight": few}
  refused("knows 10 word pieces; its tokenizer has number 10", "bert", **table)
  del state[key]
  refused("has no 'features.5.weight'")
  state = {"x": torch.zeros(3)}
  refused("has no 'features.0.weight'")
