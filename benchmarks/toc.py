"""The closed form of TOC against the loop over pairs of codes.

python -m benchmarks.toc
python -m benchmarks.toc --codes=1024 --dims=128

Both sides get one core: the loop can't use a second, and for a codebook of
0.4 MB it takes longer to wake a thread than to compute. --cores=0 gives all.

Prints the median time of the compiled importance of a random codebook, the time
of the loop that it replaces, in NumPy float32 in the same process, their ratio,
and the largest difference between the two, in units of the largest score.
"""

import dataclasses
import json
import os
import time

import jax
import numpy as np
from absl import app, flags

from unirep.quantizer import toc

CODES = flags.DEFINE_integer("codes", 400, "Codes K.", lower_bound=2)
DIMS = flags.DEFINE_integer("dims", 256, "Code width D.", lower_bound=1)
CALLS = flags.DEFINE_integer("calls", 1000, "Timed calls.", lower_bound=20)
CORES = flags.DEFINE_integer("cores", 1, "CPU cores; 0: all.", lower_bound=0)
AFFINITY = hasattr(os, "sched_setaffinity")  # on Linux alone


@dataclasses.dataclass
class Result:
  """Measurements, in seconds."""

  device: str
  cores: int | None
  codes: int
  dims: int
  compile_seconds: float
  closed_form_seconds: float
  loop_products: int
  loop_seconds: float
  ratio: float
  difference: float


def loop(code_KxD: np.ndarray) -> np.ndarray:
  """The importance by a sum over ordered pairs of codes."""
  size = len(code_KxD)
  total_D = np.zeros_like(code_KxD[0])
  for i in range(size):
    for j in range(size):
      if i != j:
        total_D += code_KxD[i] * code_KxD[j]
  sim_D = total_D / (size * (size - 1))
  return -0.7 * sim_D + 0.3 * code_KxD.var(0, ddof=1)


def measure(size: int, dim: int, calls: int) -> Result:
  """Times both on the same codes."""
  rng = np.random.default_rng(0)
  code_KxD = np.maximum(rng.standard_normal((size, dim), np.float32), 0)
  on_device = jax.device_put(code_KxD)
  began = time.perf_counter()
  compiled = jax.jit(toc.importance).lower(on_device).compile()
  compile_seconds = time.perf_counter() - began
  ours_D = compiled(on_device).block_until_ready()
  times = []
  for _ in range(calls):
    began = time.perf_counter()
    compiled(on_device).block_until_ready()
    times.append(time.perf_counter() - began)
  began = time.perf_counter()
  loop_D = loop(code_KxD)
  loop_seconds = time.perf_counter() - began
  seconds = float(np.median(times))
  difference = np.abs(np.asarray(ours_D) - loop_D).max() / np.abs(loop_D).max()
  return Result(
    device=jax.devices()[0].device_kind,
    cores=len(os.sched_getaffinity(0)) if AFFINITY else None,
    codes=size,
    dims=dim,
    compile_seconds=compile_seconds,
    closed_form_seconds=seconds,
    loop_products=size * (size - 1),
    loop_seconds=loop_seconds,
    ratio=loop_seconds / seconds,
    difference=float(difference),
  )


def main(argv):
  """Prints one JSON object."""
  del argv
  if CORES.value and AFFINITY:  # before JAX counts the cores
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-CORES.value :])
  result = measure(CODES.value, DIMS.value, CALLS.value)
  print(json.dumps(dataclasses.asdict(result), indent=1))


if __name__ == "__main__":
  app.run(main)
