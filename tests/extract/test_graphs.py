"""Any ONNX model: what it takes is read from it."""

import hashlib

import numpy as np
import oneline
import pytest

from unirep.extract import registry
from unirep.runtime.errors import InputError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

FLOAT = TensorProto.FLOAT
KERNEL = np.random.default_rng(0).normal(size=(5, 3, 4, 4)).astype(np.float32)


def model(nodes, shape, kind=FLOAT, weights=(), inputs=(), **metadata):
  """A graph from "x" to "y"."""
  graph = helper.make_graph(
    nodes,
    "g",
    [helper.make_tensor_value_info("x", kind, shape), *inputs],
    [helper.make_empty_tensor_value_info("y")],
    [numpy_helper.from_array(x, name) for name, x in dict(weights).items()],
  )
  made = helper.make_model(
    graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
  )
  helper.set_model_props(made, metadata)
  return made


def convolution(shape, **metadata):
  node = helper.make_node("Conv", ["x", "k"], ["y"], strides=[4, 4])
  return model([node], shape, weights={"k": KERNEL}, **metadata)


def one(operator, shape, kind=FLOAT, **attributes):
  return model(
    [helper.make_node(operator, ["x"], ["y"], **attributes)], shape, kind
  )


@pytest.fixture
def opened(tmp_path):
  def save(made):
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    e = registry.extractor("extractors.x", f"onnx:{path}")
    loaded = e.load()
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    return e, loaded.run

  return save


def images(count, height=8, width=12):
  rng = np.random.default_rng(1)
  return rng.integers(0, 256, (count, height, width, 3), np.uint8)


def waves(count, samples):
  rng = np.random.default_rng(2)
  return rng.uniform(-1, 1, (count, samples)).astype(np.float32)


@pytest.mark.parametrize("batch", ["n", None, 1, 3])
@pytest.mark.parametrize(
  "metadata", [{}, {"mean": "0.5,0.4,0.3", "std": "2,3,4"}]
)
def test_images_with_channels_first(batch, metadata, opened):
  e, run = opened(convolution([batch, 3, 8, 12], **metadata))
  assert (e.takes, e.size, e.shape) == ("image", (8, 12), (2, 3, 5))
  x = images(20)
  scaled = x / 255
  if metadata:
    scaled = (scaled - [0.5, 0.4, 0.3]) / [2, 3, 4]
  blocks = scaled.reshape(20, 2, 4, 3, 4, 3)
  expected = np.einsum("nhiwjc,ocij->nhwo", blocks, KERNEL)
  np.testing.assert_allclose(run(x), expected, rtol=0, atol=1e-5)


def test_images_with_channels_last_in_bytes(opened):
  cast = helper.make_node("Cast", ["x"], ["f"], to=FLOAT)
  mean = helper.make_node("ReduceMean", ["f"], ["y"], axes=[1, 2], keepdims=0)
  e, run = opened(model([cast, mean], ["n", 8, 12, 3], TensorProto.UINT8))
  assert (e.takes, e.size, e.shape) == ("image", (8, 12), (3,))
  x = images(3)
  np.testing.assert_allclose(run(x), x.mean((1, 2)), atol=1e-4)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_floats(kind, opened):
  e, run = opened(one("Neg", ["n", 500], kind))
  assert (e.takes, e.rate, e.window) == ("waveform", 16000, 500 / 16000)
  x = waves(2, 500)
  assert run(x).dtype == np.float32
  np.testing.assert_allclose(run(x), -x, atol=1e-3)


@pytest.mark.parametrize("shape", [["n", 500], [4, 500], ["n", 1, 500], [500]])
def test_waveforms_of_fixed_length_are_the_middle(shape, opened):
  made = one("Neg", shape)
  helper.set_model_props(made, {"rate": "8000"})
  e, run = opened(made)
  assert (e.takes, e.rate, e.window) == ("waveform", 8000, 0.0625)
  x = waves(5, 700)
  found = run(x)
  assert found.shape[1:] == e.shape
  np.testing.assert_array_equal(found.reshape(5, 500), -x[:, 100:600])
  with pytest.raises(InputError, match="takes"):
    run(x[:, :300])


@pytest.mark.parametrize(
  "shape", [["n", "s"], ["n", 1, "s"], ["s"], [None, None]]
)
def test_waveforms_of_any_length(shape, opened):
  e, run = opened(one("ReduceMax", shape, axes=[-1], keepdims=1))
  assert (e.takes, e.window) == ("waveform", 0.0)
  for x in (waves(3, 321), waves(1, 1)):
    found = run(x)
    assert found.shape[1:] == e.shape
    np.testing.assert_array_equal(found.reshape(len(x)), x.max(1))


def test_series(opened):
  e, run = opened(one("ReduceMax", ["n", 50, 6], axes=[1], keepdims=0))
  assert (e.takes, e.rate, e.shape) == ("series", None, (6,))
  x = np.random.default_rng(3).normal(size=(40, 50, 6)).astype(np.float32)
  np.testing.assert_array_equal(run(x), x.max(1))
  with pytest.raises(InputError, match=r"takes \(50, 6\), not \(49, 6\)"):
    run(x[:, 1:])


def test_one_number_a_segment_is_a_vector(opened):
  e, run = opened(one("ReduceMax", ["n", "s"], axes=[1], keepdims=0))
  assert e.shape == (1,)
  assert run(waves(3, 9)).shape == (3, 1)


SECOND = helper.make_tensor_value_info("z", FLOAT, [1])
PAIR = [helper.make_node("Add", ["x", "z"], ["y"])]
REFUSED = {
  "tokens": (one("Neg", ["n", 9], TensorProto.INT64), "allowed is one input"),
  "text": (one("Identity", ["n"], TensorProto.STRING), "allowed is one input"),
  "two": (model(PAIR, ["n", 9], inputs=[SECOND]), "z tensor.float."),
  "no size": (convolution(["n", 3, "h", "w"]), "of fixed size"),
  "colours": (one("Neg", ["n", 4, 8, 8]), "allowed is one input"),
  "large": (one("Neg", ["n", 3, 10**6, 10**6]), "allowed is one input"),
  "rank": (one("Neg", ["n", 1, 3, 8, 8]), "allowed is one input"),
  "scalar": (one("Neg", []), "allowed is one input"),
  "bytes": (one("Not", ["n", 9], TensorProto.BOOL), "allowed is one input"),
  "mean": (convolution(["n", 3, 8, 8], mean="0.5,0.5"), "is not 3 numbers"),
  "nan": (convolution(["n", 3, 8, 8], mean="0,0,nan"), "is not 3 numbers"),
  "std": (convolution(["n", 3, 8, 8], std="0,1,1"), "std in its metadata"),
  "sum": (one("ReduceSum", ["n", 9], keepdims=0), "for 2 segments"),
  "bool": (one("IsNaN", ["n", 9]), "no array of numbers"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_models_are_refused(kind, opened):
  made, match = REFUSED[kind]
  with pytest.raises(InputError, match=match) as caught:
    opened(made)
  oneline.check(caught.value)


@pytest.mark.parametrize("rate", ["", "fast", "0", "1e9", "16000.5", "1,2"])
def test_rates_that_are_none(rate, opened):
  made = one("Neg", ["n", 9])
  helper.set_model_props(made, {"rate": rate})
  with pytest.raises(InputError, match="rate="):
    opened(made)


def test_a_batch_that_is_fixed_in_secret_is_refused(opened):
  shape = np.array([1, 9])
  node = helper.make_node("Reshape", ["x", "s"], ["y"])
  with pytest.raises(InputError, match="failed"):
    opened(model([node], ["n", 9], weights={"s": shape}))


def test_arrays_in_other_files_are_refused(opened, tmp_path, monkeypatch):
  made = convolution(["n", 3, 8, 8])
  (tmp_path / "secret").write_bytes(KERNEL.tobytes())
  tensor = made.graph.initializer[0]
  onnx.external_data_helper.set_external_data(tensor, str(tmp_path / "secret"))
  tensor.ClearField("raw_data")
  monkeypatch.chdir(tmp_path)
  for place in ("secret", str(tmp_path / "secret"), "../x"):
    tensor.external_data[0].value = place
    with pytest.raises(InputError, match="no ONNX model in one file"):
      opened(made)


def test_a_cut_model_is_refused(tmp_path):
  data = convolution(["n", 3, 8, 8]).SerializeToString()
  path = tmp_path / "cut.onnx"
  for length in range(0, len(data) - 1, 37):
    path.write_bytes(data[:length])
    with pytest.raises(InputError) as caught:
      registry.extractor("extractors.x", f"onnx:{path}")
    oneline.check(caught.value)
