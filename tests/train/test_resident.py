"""Data in the memory of devices: the same batches for any number of them."""

from concurrent import futures

import chex
import jax
import numpy as np
import pytest

from unirep.data import arrays, pipeline
from unirep.data.datasets import releases
from unirep.data.sample import stored
from unirep.jobs import pretrain
from unirep.parallel import mesh as meshes
from unirep.parallel import trees
from unirep.runtime.errors import InputError
from unirep.train import resident

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
    chex.assert_trees_all_equal_shapes_and_dtypes(dict(one), dict(other))
    jax.tree.map(np.testing.assert_array_equal, dict(one), dict(other))
    assert {x.sharding for x in jax.tree.leaves(other)} == {meshes.split(mesh)}


def test_one_wide_sample_widens_all(monkeypatch):
  """On whichever device it comes to lie; others have been written by then."""
  data = source(np.float16)
  data.features["audio"] = data.features["audio"].astype(np.float32)
  data.features["audio"][N - 1] = 1 / 3
  here = resident.put(data, meshes.make(B))
  assert here["features"]["audio"].dtype == np.float32
  found = np.asarray(here["features"]["audio"])[:N]
  np.testing.assert_array_equal(found, data.features["audio"])
  monkeypatch.setattr(trees, "free", lambda device: 340)
  with pytest.raises(InputError, match="leave it off"):
    resident.put(data, meshes.make(B))


def test_parts_of_several_types_lose_nothing(tmp_path):
  """The first sample is narrow, the last one is not."""
  draw = np.random.default_rng(0)
  for i, kind in enumerate((np.float16, np.float32)):
    (tmp_path / f"{i}").mkdir()
    np.save(tmp_path / f"{i}/audio.npy", draw.normal(size=(9, 4)).astype(kind))
  columns = arrays.load(tmp_path)
  parts = [arrays.load(tmp_path / f"{i}") for i in range(2)]
  for data in (columns, releases.Joined(parts)):
    here = np.asarray(resident.put(data, meshes.make(B))["features"]["audio"])
    wanted = [data[i]["features"]["audio"] for i in range(18)]
    np.testing.assert_array_equal(here[:18], np.stack(wanted))


def test_who_may_read_in_threads():
  """Sources that wrap others ask them."""
  data = source()
  assert pipeline.Subset(data, [1, 2]).concurrent
  assert releases.Joined([data, data]).concurrent
  assert not releases.Joined([data, resident.Numbers(2)]).concurrent
  assert not pipeline.Subset(resident.Numbers(3), [1]).concurrent


def test_an_unreadable_sample_is_said(monkeypatch):
  data = source()
  read = type(data).stored

  def broken(self, index):
    if index == 5:
      raise InputError("sample 5 is broken")
    return read(self, index)

  monkeypatch.setattr(type(data), "stored", broken)
  with pytest.raises(InputError, match="sample 5"):
    resident.put(data, meshes.make(B))


def test_too_little_memory_is_said_beforehand(monkeypatch):
  monkeypatch.setattr(trees, "free", lambda device: 100)
  with pytest.raises(InputError, match="leave it off"):
    resident.put(source(), meshes.make(B))


def test_the_room_that_is_needed_is_that_of_all_samples(monkeypatch):
  data, mesh = source(np.float16), meshes.make(B)
  parts = (stored(data, 0)[part] for part in resident.PARTS)
  size = sum(np.asarray(x).nbytes for x in jax.tree.leaves([*parts]))
  need = -(-N // mesh.size) * size
  monkeypatch.setattr(trees, "free", lambda device: need)
  resident.put(data, mesh)
  monkeypatch.setattr(trees, "free", lambda device: need - 1)
  with pytest.raises(InputError, match="leave it off"):
    resident.put(data, mesh)


def test_where_nothing_is_missing_nothing_is_said_of_it():
  features = np.random.default_rng(0).normal(size=(9, 4, 2))
  data = arrays.Arrays({"audio": features.astype(np.float32)})
  assert {*resident.put(data, meshes.make(B))} == {"features", "lengths"}


@pytest.mark.parametrize(("processors", "threads"), [(5, 5), (None, 1)])
def test_sources_that_may_be_are_read_by_all_processors(
  monkeypatch, processors, threads
):
  started = []

  class Pool(futures.ThreadPoolExecutor):
    def __init__(self, count):
      started.append(count)
      super().__init__(count)

  monkeypatch.setattr(resident.futures, "ThreadPoolExecutor", Pool)
  monkeypatch.setattr(resident.os, "cpu_count", lambda: processors)
  mesh = meshes.make(B)
  resident.put(source(np.float16), mesh)
  resident.put(resident.Numbers(N), mesh)  # says nothing of threads
  assert started == [threads, 1]
