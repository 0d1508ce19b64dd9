"""Eight simulated devices, one cache of compiled programs, x64 where wanted."""

import os
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
flags = os.environ.get("XLA_FLAGS", "")
if "host_platform_device_count" not in flags:
  os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=8"
# Many tests start the command line, which would compile the same step anew.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  _cache = tempfile.TemporaryDirectory(prefix="unirep-tests-")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
  os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"
  os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield
