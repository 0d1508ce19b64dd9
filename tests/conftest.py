"""Eight simulated devices, and x64 where wanted."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
flags = os.environ.get("XLA_FLAGS", "")
if "host_platform_device_count" not in flags:
  os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=8"
import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield
