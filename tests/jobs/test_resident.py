"""Data in the memory of devices: the same batches, whatever their number."""

import jax
import numpy as np
import pytest

from unirep.data import arrays, pipeline
from unirep.errors import InputError
from unirep.jobs import pretrain, resident
from unirep.parallel import mesh as meshes

N, B = 27, 8


def source(dtype=np.float32):
  draw = np.random.default_rng(0)
  features = {
    "audio": draw.normal(size=(N, 4, 3)).astype(dtype),
    "text": draw.normal(size=(N, 5, 2)).astype(np.float32),
  }
  lengths = {"text": draw.integers(1, 6, N)}
  present = {"audio": np.arange(N) % 3 > 0}
  features["audio"][~present["audio"]] = 0
  return arrays.Arrays(features, lengths, present=present)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_batches_are_those_of_the_host(monkeypatch, devices, dtype):
  found = jax.devices()[:devices]
  monkeypatch.setattr(jax, "devices", lambda: found)
  mesh, data = meshes.make(B), source(dtype)

  def stream(samples):
    return pipeline.batches(samples, batch_size=B, seed=3)

  here = resident.put(data, mesh)
  assert here["features"]["audio"].dtype == dtype
  assert here["features"]["text"].dtype == np.float32
  wanted = pretrain.on_devices(stream(data), mesh)
  found = resident.batches(stream(resident.Numbers(N)), here, mesh)
  for _ in range(7):  # of several epochs
    one, other = next(wanted), next(found)
    jax.tree.map(np.testing.assert_array_equal, dict(one), dict(other))
    assert {x.sharding for x in jax.tree.leaves(other)} == {meshes.split(mesh)}


def test_too_little_memory_is_said_beforehand(monkeypatch):
  monkeypatch.setattr(resident, "_free", lambda device: 100)
  with pytest.raises(InputError, match="leave it off"):
    resident.put(source(), meshes.make(B))
