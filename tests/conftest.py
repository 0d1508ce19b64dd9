"""What tests share: eight simulated devices, quick programs, one tiny run."""

import contextlib
import fcntl
import gc
import os
import pathlib
import tempfile
import threading
from unittest import mock

os.environ.setdefault("JAX_PLATFORMS", "cpu")
flags = os.environ.get("XLA_FLAGS", "")
if "host_platform_device_count" not in flags:
  flags += " --xla_force_host_platform_device_count=8"
if "backend_optimization_level" not in flags:
  # Tests compile for minutes what runs for seconds: optimize it less, and don't
  # cut small programs into parts.
  flags += (
    " --xla_backend_optimization_level=0"
    " --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1"
  )
os.environ["XLA_FLAGS"] = flags
import jax  # noqa: E402
import pytest  # noqa: E402
from rich.console import Console  # noqa: E402

LONG = {  # seconds of files that must not start last
  **{"test_jobs": 120, "test_processes": 70, "test_sweep": 60},
  **{"test_main": 60, "test_model": 50, "test_missing": 50},
  **{"test_sharding": 45, "test_released": 45, "test_generate": 40},
  **{"test_extraction": 40, "test_golden": 40, "test_wiring": 35},
  **{"test_growth": 30, "test_configs": 25, "test_golden_tasks": 25},
  **{"test_retrieve": 25, "test_tasks": 25, "test_pipeline": 20},
}
SESSION = "UNIREP_TEST_SESSION"  # a folder of all workers: programs, a run


def pytest_configure(config):
  if SESSION not in os.environ:  # of a worker it is the session's
    folder = tempfile.TemporaryDirectory(prefix="unirep-tests-")
    os.environ[SESSION] = folder.name
    config.add_cleanup(folder.cleanup)
    config.add_cleanup(lambda: os.environ.pop(SESSION))


def pytest_collection_modifyitems(items):
  """Short files last, so that workers end at the same time."""
  if "PYTEST_XDIST_WORKER" in os.environ:
    items.sort(key=lambda item: -LONG.get(item.path.stem, 0))


def pytest_collection_finish():
  """What is there stays: no use to look through it for garbage, time and again.

  JAX holds what it has traced and compiled: a search through all of that takes
  most of a second.
  """
  gc.collect()
  gc.freeze()
  gc.set_threshold(10_000, 20, 1000)


@contextlib.contextmanager
def elsewhere():
  """Arrays are read as on a GPU: where that is disallowed, not by the way.

  On a CPU no guard is asked, since nothing is transferred.
  """
  kind, get = type(jax.numpy.zeros(())), jax.device_get
  value, local = kind._value.fget, threading.local()

  def guarded(array):
    asked = getattr(local, "asked", False)
    if jax.config.jax_transfer_guard_device_to_host == "disallow" and not asked:
      raise RuntimeError("Disallowed device-to-host transfer")
    return value(array)

  def device_get(tree):
    local.asked = True
    try:
      return get(tree)
    finally:
      local.asked = False

  with (
    mock.patch.object(kind, "_value", property(guarded)),
    mock.patch.object(jax, "device_get", device_get),
  ):
    yield


@contextlib.contextmanager
def by_one_worker(name):
  """The folder of the session, and whether `name` in it is still to be made."""
  folder = pathlib.Path(os.environ[SESSION])
  done = folder / f"{name}.done"
  with (folder / f"{name}.lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield folder, not done.exists()
    done.touch()


@pytest.fixture(scope="session")
def trained():
  """The work directory of two tiny steps, which tests only read.

  Beside it, unread.json names the keys of the configuration that nobody read.
  """
  from test_configs import Watched, leaves

  from unirep.configs import pretrain
  from unirep.configuration import build
  from unirep.jobs import dispatch
  from unirep.runtime import atomic

  config = pretrain.get_config("size=tiny")
  config.data.train_size, config.data.test_size = 24, 16
  # So that two steps wake several codes.
  config.codes.update({"threshold": 1e-6, "agreed": 0.0, "until": 1.0})
  settings, watched = build.as_json(config), Watched(config)
  devices = jax.devices()[:1]
  with by_one_worker("trained") as (folder, missing):
    if missing:
      watched.seen.clear()
      with (
        mock.patch.object(jax, "devices", return_value=devices),
        mock.patch.object(build, "as_json", return_value=settings),
        elsewhere(),
      ):
        dispatch.run(watched, folder / "trained", Console(quiet=True))
      unread = sorted({*leaves(watched)} - watched.seen)
      atomic.write_json(folder / "unread.json", unread)
  return folder / "trained"


@pytest.fixture(scope="session")
def finished():
  """A run of six tiny steps with a checkpoint after each, and its arguments.

  By the command, in a process and on a device of its own; tests only read it.
  """
  from test_main import QUICK, run

  arguments = (*QUICK, "--config.steps=6", "--config.checkpoints_kept=4")
  with by_one_worker("finished") as (folder, missing):
    if missing:
      done = run(*arguments, f"--workdir={folder / 'finished'}")
      assert done.returncode == 0, done.stdout + done.stderr
  return folder / "finished", arguments


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield
