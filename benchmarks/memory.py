"""Memory of a device, for contrastive losses and a sharded codebook.

XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m benchmarks.memory

Prints two tables from XLA's memory analysis of programs for eight devices. The
programs are compiled and not run. One table is of losses with their gradients:
MiB of temporary memory per device. The other is of a whole training step: MiB
of arguments and of temporary memory.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from absl import app
from jax.sharding import PartitionSpec

from unirep.configs import pretrain
from unirep.configuration import build
from unirep.losses import contrast
from unirep.parallel import collectives
from unirep.parallel import mesh as mesh_lib
from unirep.train import state as state_lib
from unirep.train import step as step_lib

WIDTH = 256
BATCHES = (1024, 2048, 4096, 8192, 16384)
CODES, DIM = 65_536, 256
METHODS = {
  "dense": contrast.dense,
  "chunked": functools.partial(contrast.chunked, chunk=256),
  "ring": contrast.ring,
}


def of_loss(method, batch: int) -> int:
  """Temporary bytes of a device for one contrast and its gradient."""
  mesh = mesh_lib.make(batch)
  axis, spread = mesh_lib.AXIS, PartitionSpec(mesh_lib.AXIS)

  def local(q_BxF, k_BxF):
    loss_B, _ = method(q_BxF, k_BxF, axis_name=axis)
    return collectives.pmean(loss_B.mean(), axis)

  loss = jax.shard_map(
    local, mesh=mesh, in_specs=spread, out_specs=PartitionSpec()
  )
  x_BxF = jax.ShapeDtypeStruct((batch, WIDTH), jnp.float32)
  compiled = jax.jit(jax.grad(loss, (0, 1))).lower(x_BxF, x_BxF).compile()
  memory: Any = compiled.memory_analysis()
  return memory.temp_size_in_bytes


def of_step(model: int, batch: int = 64) -> tuple[int, int]:
  """(argument, temporary) bytes of a device for a step with many codes."""
  config: Any = pretrain.get_config("size=tiny")
  config.batch_size, config.codebook.size = batch, CODES
  config.model.dim = DIM
  training = build.training(config)
  mesh = mesh_lib.make(batch, model=model)
  shapes = {"video": (6, 5, 5, 8), "audio": (6, 8), "text": (6, 8)}
  one = {m: jnp.zeros((1, *x)) for m, x in shapes.items()}
  state = jax.eval_shape(
    lambda key: state_lib.init(training, key, {"features": one}),
    jax.random.key(0),
  )
  where = mesh_lib.state_sharding(mesh, state)

  def place(x, sharding):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  features = {
    m: jax.ShapeDtypeStruct((batch, *x), jnp.float32) for m, x in shapes.items()
  }
  features = jax.tree.map(lambda x: place(x, mesh_lib.split(mesh)), features)
  step: Any = step_lib.build(
    training, mesh, sharding=where if model > 1 else None
  )
  lowered = step.lower(
    jax.tree.map(place, state, where),
    {"features": features, "lengths": {}},
    state_lib.run_args(0, 1),
  )
  memory: Any = lowered.compile().memory_analysis()
  return memory.argument_size_in_bytes, memory.temp_size_in_bytes


def main(argv):
  """Prints both tables as Markdown."""
  del argv
  print(f"| batch on {jax.device_count()} devices |", " | ".join(METHODS), "|")
  print("|---" * (len(METHODS) + 1) + "|")
  for batch in BATCHES:
    row = [of_loss(method, batch) / 2**20 for method in METHODS.values()]
    print(f"| {batch} |", " | ".join(f"{x:.1f}" for x in row), "|")
  print(f"\n| devices that share {CODES} codes | arguments | temporary |")
  print("|---|---|---|")
  for model in (1, 2, 4, 8):
    row = [f"{x / 2**20:.0f}" for x in of_step(model)]
    print(f"| {model} |", " | ".join(row), "|")


if __name__ == "__main__":
  app.run(main)
