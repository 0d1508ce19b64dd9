"""Eight simulated devices, programs that compile quickly, x64 where wanted."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
flags = os.environ.get("XLA_FLAGS", "")
if "host_platform_device_count" not in flags:
  # Tests compile for minutes what runs for seconds: optimize it less.
  os.environ["XLA_FLAGS"] = (
    f"{flags} --xla_force_host_platform_device_count=8"
    " --xla_backend_optimization_level=0"
    " --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_use_fusion_emitters=false"
  )
import jax  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture
def x64():
  with jax.enable_x64(True):
    yield
