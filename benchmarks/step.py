"""Speed of one training step on the devices at hand.

python -m benchmarks.step --config=configs/pretrain.py:size=paper
python -m benchmarks.step --config=configs/pretrain.py --config.dtype=bfloat16

Prints compile time, median step time, FLOPs of the products and convolutions,
achieved FLOP/s and peak memory. XLA's own count of FLOPs leaves out calls of
libraries, on a GPU nearly all of them. The batch is random and stays on the
devices, so that reading data does not count.
"""

import dataclasses
import json
import time
from typing import Any

import jax
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from benchmarks import inputs, programs
from unirep.configuration import build
from unirep.data import sources
from unirep.parallel import mesh as mesh_lib
from unirep.train import state as state_lib
from unirep.train import step as step_lib

CONFIG = config_flags.DEFINE_config_file("config", "configs/pretrain.py")
STEPS = flags.DEFINE_integer("steps", 20, "Timed steps.", lower_bound=20)

# Published peak of dense matrix products, FLOP/s; for a share of it.
PEAK = {
  ("NVIDIA H200", "bfloat16"): 989e12,
  ("NVIDIA H100 80GB HBM3", "bfloat16"): 989e12,
  ("NVIDIA A100-SXM4-80GB", "bfloat16"): 312e12,
}


@dataclasses.dataclass
class Result:
  """Measurements, in seconds, FLOP and bytes."""

  device: str
  devices: int
  dtype: str
  batch_size: int
  parameters: int
  compile_seconds: float
  step_seconds: float
  steps_per_second: float
  flops: int
  flops_per_second: float
  peak_share: float | None
  peak_memory: int | None


def measure(config, steps: int) -> Result:
  """Compiles and times one step of `config`."""
  training = build.training(config)
  mesh = mesh_lib.make(config.batch_size)
  batch = random_batch(config, build.network(config))
  everywhere = mesh_lib.replicated(mesh)
  init = jax.jit(
    lambda key, batch: state_lib.init(training, key, batch),
    out_shardings=everywhere,
  )
  one = jax.tree.map(lambda x: x[:1], batch)
  state = init(jax.random.key(config.seed), one)
  batch = mesh_lib.put_batch(mesh, batch)
  run_args = state_lib.run_args(config.seed, config.steps)
  run_args = jax.device_put(run_args, everywhere)
  began = time.perf_counter()
  step: Any = step_lib.build(training, mesh)
  traced = step.trace(state, batch, run_args)
  compiled = traced.lower().compile()
  compile_seconds = time.perf_counter() - began
  for _ in range(3):
    state, _ = compiled(state, batch, run_args)
  jax.block_until_ready(state)
  times = []
  for _ in range(steps):
    began = time.perf_counter()
    state, metrics = compiled(state, batch, run_args)
    jax.block_until_ready(metrics)
    times.append(time.perf_counter() - began)
  seconds = float(np.median(times))
  device = jax.devices()[0]
  flops = programs.products(traced.jaxpr.jaxpr) * mesh.size
  peak = PEAK.get((device.device_kind, config.dtype))
  memory = device.memory_stats() or {}
  return Result(
    device=device.device_kind,
    devices=mesh.size,
    dtype=config.dtype,
    batch_size=config.batch_size,
    parameters=sum(x.size for x in jax.tree.leaves(state.params)),
    compile_seconds=compile_seconds,
    step_seconds=seconds,
    steps_per_second=1 / seconds,
    flops=flops,
    flops_per_second=flops / seconds,
    peak_share=flops / seconds / peak / mesh.size if peak else None,
    peak_memory=memory.get("peak_bytes_in_use"),
  )


def random_batch(config, network):
  """Features of the right shapes; grids are non-negative, as after a ReLU."""
  rng = np.random.default_rng(0)
  if config.encoders.video.specific >= 2048:
    shapes = inputs.PAPER
  else:
    train, _ = sources.pair(config.data, config.modalities)
    shapes = {m: x.shape for m, x in train[0]["features"].items()}
  features = {}
  for m in network.order:
    shape = (config.batch_size, *shapes[m])
    x = rng.standard_normal(shape, np.float32)
    grid = network.modalities[m].kind == "grid"
    features[m] = np.maximum(x, 0) if grid else x
  return {"features": features, "lengths": {}}


def main(argv):
  """Prints one JSON object."""
  del argv
  result = measure(CONFIG.value, STEPS.value)
  print(json.dumps(dataclasses.asdict(result), indent=1))


if __name__ == "__main__":
  app.run(main)
