"""Models of strangers: one line, nothing run, nothing read elsewhere."""

import json
import logging
import os
import shutil
import sys

import jax.numpy as jnp
import numpy as np
import pytest

import unirep
from unirep.runtime.errors import InputError
from unirep.train import digests
from unirep.train import state as states


@pytest.fixture
def copy(trained, tmp_path):
  """A copy of a tiny run, and its last step."""
  shutil.copytree(trained, tmp_path / "run")
  return tmp_path / "run", tmp_path / "run" / "checkpoints" / "2"


def sign(step):
  """Digests that fit: a stranger can write these as well."""
  digests.write(step.parent, int(step.name))


def refused(run, match):
  with pytest.raises(InputError, match=match) as error:
    unirep.load(run)
  assert "\n" not in str(error.value)


def settings(step, change):
  """Rewrites the configuration within a checkpoint."""
  path = step / "config" / "metadata"
  found = json.loads(path.read_text())
  change(found)
  path.write_text(json.dumps(found))
  sign(step)


def test_as_it_is(copy, trained):
  run, step = copy
  sign(step)
  whole = unirep.load(trained)
  np.testing.assert_array_equal(unirep.load(run).codebook, whole.codebook)
  assert unirep.load(step).digest == whole.digest


def test_without_digests_it_says_so(copy, caplog):
  run, step = copy
  (step.parent / digests.FILE).unlink()
  with caplog.at_level(logging.WARNING):
    unirep.load(run)
  assert "no digest vouches for" in caplog.text
  caplog.clear()
  sign(step)
  with caplog.at_level(logging.WARNING):
    unirep.load(run)
  assert not caplog.text


@pytest.mark.parametrize("name", ["/dev/zero", "/etc/passwd", "../../x"])
def test_digests_that_name_other_files(copy, name):
  run, step = copy
  record = {"2": {name: "0" * 64}}
  (step.parent / digests.FILE).write_text(json.dumps(record))
  refused(run, "is no file of a step")


@pytest.mark.parametrize("to", ["/dev/zero", "/etc/passwd", "../../../../x"])
def test_links(copy, to):
  run, step = copy
  path = step / "model" / "_METADATA"
  path.unlink()
  path.symlink_to(to)
  refused(run, "is a link")


def test_a_pipe(copy):
  run, step = copy
  path = step / "config" / "metadata"
  path.unlink()
  os.mkfifo(path)
  refused(run, "no file")


@pytest.mark.parametrize(
  ("key", "value"),
  [
    *(("model.dim", 2**40), ("model.dim", 8), ("model.dim", "8")),
    *(("codebook.size", 10**12), ("codebook.size", 3), ("method", "exec")),
    *(("model.layers", -1), ("modalities", []), ("modalities", ["smell"])),
    *(("encoders", {}), ("encoders.audio.kind", "__import__"), ("model", None)),
    *(("model.heads", 0), ("dropout", None), ("dtype", "object")),
    *(("fine", 5), ("encoders.audio.specific", 2**60), ("mask_padding", [])),
  ],
)
def test_a_configuration_that_is_not_of_its_arrays(copy, key, value):
  run, step = copy

  def change(found):
    *parts, last = key.split(".")
    for part in parts:
      found = found[part]
    found[last] = value

  settings(step, change)
  refused(run, "=|shape|lacks|describes|missing")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, "null", "5"])
@pytest.mark.parametrize(
  "name", ["config/metadata", "model/_METADATA", "model/_sharding"]
)
def test_texts_that_are_none(copy, name, text):
  run, step = copy
  (step / name).write_text(text)
  sign(step)
  refused(run, "checkpoints")


def test_a_text_that_is_endless(copy):
  run, step = copy
  with (step / "config" / "metadata").open("r+b") as file:
    file.truncate(2**40)  # no byte of it is on the disk
  record = digests.known(step.parent)
  record["2"].pop("config/metadata", None)
  (step.parent / digests.FILE).write_text(json.dumps(record))
  refused(run, "too large")


def metadata(step, change):
  path = step / "model" / "_METADATA"
  found = json.loads(path.read_text())
  change(found["tree_metadata"])
  path.write_text(json.dumps(found))
  sign(step)


def test_sizes_in_the_description(copy, trained):
  run, step = copy

  def grow(tree):
    for entry in tree.values():
      entry["value_metadata"]["write_shape"] = [2**40]

  metadata(step, grow)
  # The arrays' own say is what counts.
  assert unirep.load(run).digest == unirep.load(trained).digest


def arrays(step, change):
  """Rewrites the metadata of an array."""
  import tensorstore

  base = {"driver": "ocdbt", "base": f"file://{step / 'model'}/"}
  store = tensorstore.KvStore.open(base).result()
  key = b"codebook.code_KxD/.zarray"
  found = json.loads(store.read(key).result().value)
  change(found)
  store.write(key, json.dumps(found).encode()).result()
  sign(step)


@pytest.mark.parametrize(
  ("key", "value"),
  [
    *(("shape", [10**7, 10**7]), ("chunks", [10**7, 10**7])),
    *(("shape", [1]), ("chunks", [0, 0]), ("dtype", "|O"), ("shape", "x")),
    *(("chunks", []), ("compressor", {"id": "exec"}), ("filters", [{}])),
  ],
)
def test_arrays_that_are_stored_in_other_sizes(copy, key, value):
  run, step = copy
  arrays(step, lambda found: found.update({key: value}))
  refused(run, "checkpoints")


def test_numbers_that_are_not_finite():
  tree = {"params": {"a": jnp.ones(3)}, "codebook": {"b": jnp.array([np.inf])}}
  assert states.nonfinite(tree) == "codebook/b"
  assert not states.nonfinite({"a": jnp.ones(3, jnp.int32)})


def test_any_bit_of_what_is_read(copy):
  """With digests, each flip is found; the model is that or none."""
  run, step = copy
  sign(step)
  draw = np.random.default_rng(0)
  names = [
    x
    for item in ("model", "config")
    for x, size in digests.listing(step, item).items()
    if size
  ]
  for _ in range(12):
    path = step / str(draw.choice(names))
    whole = path.read_bytes()
    data = bytearray(whole)
    data[draw.integers(len(data))] ^= 1 << int(draw.integers(8))
    path.write_bytes(data)
    refused(step, "has changed since it was written")
    path.write_bytes(whole)
  assert unirep.load(run)


def test_nothing_is_run(copy):
  """Names of modules and pickles in a checkpoint stay text."""
  run, step = copy
  (step / "model" / "__init__.py").write_text("raise SystemExit")
  (step / "model" / "data.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
  sign(step)
  before = {*sys.modules}
  unirep.load(run)
  assert not [x for x in {*sys.modules} - before if "data" in x.split(".")]
