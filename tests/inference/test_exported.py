"""Exported models: the same codes, without this package."""

import concurrent.futures
import hashlib
import itertools
import json
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

import unirep
from unirep.inference import export
from unirep.runtime.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]


def loader():
  """The loader of the documentation, as printed."""
  text = (ROOT / "docs/serving.md").read_text()
  (code,) = (
    block
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    if "serve.py" in block
  )
  return code


@pytest.fixture(scope="module")
def model(trained):
  return unirep.load(trained)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
  place = tmp_path_factory.mktemp("exported")
  model.export(place)
  return place


def drawn(model, m, samples, steps, seed=0):
  rng = np.random.default_rng(seed)
  kind, width = model.network.kind(m), model.network.width(model.params, m)
  shape = samples, steps, *[max(7, n) for n in kind.least], width
  return rng.standard_normal(shape).astype(np.float32)


def test_what_is_written(model, folder):
  about = json.loads((folder / "model.json").read_text())
  assert about["codes"] == len(model.codebook)
  assert {*about["modalities"]} == {*model.modalities}
  for m, entry in about["modalities"].items():
    data = (folder / entry["program"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    assert export.CODEBOOK in entry["weights"]
    assert not any(name.startswith("decoder") for name in entry["weights"])
    assert entry["stepwise"] == (m != "text")
    assert entry["features"][-1] == model.network.width(model.params, m)
    program = jax.export.deserialize(bytearray(data))
    assert {*program.platforms} == {"cpu", "cuda", "tpu"}


def test_the_documented_loader_needs_no_unirep(model, folder, tmp_path):
  script = tmp_path / "serve.py"
  lines = [line for line in loader().splitlines() if line.strip()]
  assert len(lines) <= 40
  save = "np.savez('found.npz', steps=steps, clip=clip, "
  save += "alone='unirep' not in sys.modules)"
  script.write_text(loader().replace("print(steps, clip)", save))
  for m in model.modalities:
    x = drawn(model, m, 5, 6)
    np.save(tmp_path / "features.npy", x)
    argv = [sys.executable, str(script), str(folder), m, "features.npy"]
    subprocess.run(argv, cwd=tmp_path, check=True)
    found = np.load(tmp_path / "found.npz")
    assert found["alone"]
    np.testing.assert_array_equal(found["steps"], model.encode({m: x})[m])
    np.testing.assert_array_equal(found["clip"], model.encode_clips({m: x})[m])


def test_padding_has_no_code(model, folder):
  space: dict = {"__name__": "serve"}
  exec(loader(), space)
  x, lengths = drawn(model, "audio", 3, 6), [6, 2, 4]
  codes = space["Codes"](folder, "audio")
  steps, clip = codes(x, lengths)
  expected = model.encode({"audio": x}, {"audio": lengths})["audio"]
  np.testing.assert_array_equal(steps, expected)
  assert (steps[1, 2:] == -1).all()
  expected = model.encode_clips({"audio": x}, {"audio": lengths})["audio"]
  np.testing.assert_array_equal(clip, expected)


@pytest.mark.slow
def test_all_ways_give_the_codes_of_the_model_from_threads(model, folder):
  """500 inputs: encode, search and export beside the forward of training."""
  space: dict = {"__name__": "serve"}
  exec(loader(), space)
  programs = {m: space["Codes"](folder, m) for m in model.modalities}
  forward = jax.jit(model.network.encode, static_argnames="clip")
  shapes = [*itertools.product(model.modalities, (1, 3, 8, 30), (1, 4, 10, 20))]
  rng = np.random.default_rng(0)
  asked = [shapes[i] for i in rng.integers(len(shapes), size=500)]

  def one(number):
    m, samples, steps = asked[number]
    x = drawn(model, m, samples, steps, number)
    args = model.params, model.codebook, {m: x}
    expected = np.asarray(forward(*args)[m])
    np.testing.assert_array_equal(model.encode({m: x})[m], expected)
    found, clip = programs[m](x)
    np.testing.assert_array_equal(found, expected)
    whole = np.asarray(forward(*args, clip=True)[m])[:, 0]
    np.testing.assert_array_equal(clip, whole)
    np.testing.assert_array_equal(model.encode_clips({m: x})[m], whole)
    _, best = model.search({m: x}, {m: x}, k=1, representation="code")
    np.testing.assert_array_equal(whole[best[:, 0]], whole)

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    assert len([*pool.map(one, range(500))]) == 500


def test_warm_calls_compile_nothing(model, folder):
  space: dict = {"__name__": "serve"}
  exec(loader(), space)
  programs = {m: space["Codes"](folder, m) for m in model.modalities}
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda name, _, **__: compiled.append("backend_compile" in name)
  )

  def ask(counts, seed):
    for m, samples in itertools.product(model.modalities, counts):
      x = drawn(model, m, samples, 4, seed)
      model.encode({m: x})
      model.encode_clips({m: x})
      model.search({m: x}, {m: drawn(model, m, 8, 4)}, k=2)
      programs[m](drawn(model, m, 8, 4, seed))

  try:
    ask((1, 8, 2, 5), 0)
    assert any(compiled)
    compiled.clear()
    ask((1, 8, 2, 5), 1)
    assert not any(compiled)
  finally:
    jax.monitoring.clear_event_listeners()


def test_a_damaged_checkpoint_is_one_line(trained, tmp_path):
  copy = tmp_path / "run"
  shutil.copytree(trained, copy)
  for path in (p for p in (copy / "checkpoints").rglob("d/*") if p.is_file()):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
  with pytest.raises(InputError, match=r"checkpoint") as caught:
    unirep.load(copy).export(tmp_path / "new")
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "new").exists()


def test_a_missing_package_is_named(model, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
  with pytest.raises(InputError, match=r"safetensors: pip install 'unirep\["):
    model.export(tmp_path / "new")
  assert not (tmp_path / "new").exists()
