"""A training step compiled for an absent TPU slice, and checks of it.

Needs `.[tpu]`, whose compiler runs on any machine.
"""

import collections
import os
import re
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies

from benchmarks import chips, inputs, programs
from unirep.configs import pretrain
from unirep.configuration import build
from unirep.parallel import mesh as mesh_lib
from unirep.train import state as state_lib
from unirep.train import step as step_lib

# Collectives that the design allows. Dense: rows to compare and negatives of
# CLUB are gathered, and their gradients scattered; gradients of parameters,
# sums of the codebook and metrics are added up. Chunked: negatives go around
# instead. Ring: all rows go around.
DESIGN = {
  "dense": ("all-gather", "reduce-scatter", "all-reduce"),
  "chunked": (
    *("all-gather", "reduce-scatter", "all-reduce", "collective-permute"),
  ),
  "ring": ("collective-permute", "all-reduce"),
}
MOST = 24  # sums: of some 270 that the source names, XLA leaves so few
HALO = 0.01  # of all bytes
HOST = ("infeed", "outfeed", "callback", "SendToHost", "RecvFromHost")
EXHAUSTED = re.compile(r"Used ([\d.]+)([KMG]) of ([\d.]+)([KMG]) hbm")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


class Case(NamedTuple):
  """One program: the step of a preset on all chips of a slice."""

  topology: str
  batch: int
  preset: str = "clean"
  dtype: str = "bfloat16"
  contrast: str = "dense"
  size: str = "paper"


class Compiled(NamedTuple):
  """A compiled step and the jaxpr that it comes from."""

  program: Any
  jaxpr: Any
  seconds: float


def compile_step(case: Case) -> Compiled:
  """Compiles a step; raises JaxRuntimeError if the compiler refuses it."""
  jax.config.update("jax_platforms", "cpu")  # there is no TPU to look for
  for name in ("TPU_SKIP_MDS_QUERY", "ALLOW_MULTIPLE_LIBTPU_LOAD"):
    os.environ.setdefault(name, "1")
  topology = topologies.get_topology_desc(
    platform="tpu",
    topology_name=case.topology,
    **chips.options(case.topology),
  )
  config: Any = pretrain.get_config(f"size={case.size},preset={case.preset}")
  config.update({"dtype": case.dtype, "contrast": case.contrast})
  config.batch_size = case.batch
  training = build.training(config)
  mesh = mesh_lib.make(case.batch, devices=topology.devices)
  state, batch, run_args = arguments(training, mesh, case.batch)
  began = time.perf_counter()
  step: Any = step_lib.build(training, mesh)
  traced = step.trace(state, batch, run_args)
  program = traced.lower().compile()
  return Compiled(program, traced.jaxpr, time.perf_counter() - began)


def arguments(training, mesh, batch_size: int):
  """Descriptions of the arguments of a step, with their shardings."""
  features = {
    m: jax.ShapeDtypeStruct((batch_size, *shape), jnp.float32)
    for m, shape in inputs.PAPER.items()
  }
  one = {m: jnp.zeros((1, *x.shape[1:])) for m, x in features.items()}
  state = jax.eval_shape(
    lambda key: state_lib.init(training, key, {"features": one}),
    jax.random.key(0),
  )

  def place(tree, sharding):
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )

  features = place(features, mesh_lib.split(mesh))
  batch = {"features": features, "lengths": {}}
  everywhere = mesh_lib.replicated(mesh)
  run_args = place(state_lib.run_args(0, 1), everywhere)
  return place(state, everywhere), batch, run_args


def describe(case: Case) -> dict[str, Any]:
  """Facts of the compiled program, and times predicted from them."""
  row: dict[str, Any] = case._asdict()
  row["chips"] = chips.count(case.topology)
  try:
    compiled = compile_step(case)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return row | refused(str(error))
  facts = measure(compiled)
  chip = chips.chip(case.topology)
  facts["fits"] = facts["memory_bytes"] <= chip.memory
  links = chips.wire(case.topology)
  compute = facts["passes_flops"] / chip.flops
  moving = facts["traffic_bytes"] / chip.bandwidth
  wire = facts["wire_bytes"] / links if links else 0.0
  return (
    row
    | facts
    | {
      "compute_seconds": compute,
      "memory_seconds": moving,
      "wire_seconds": wire,
      "step_seconds": max(compute, moving) + wire,
    }
  )


def refused(message: str) -> dict[str, Any]:
  """The row of a program that does not fit, from the compiler's message."""
  row: dict[str, Any] = {"fits": False, "error": message[:2000]}
  match = EXHAUSTED.search(message)
  if match:
    row["memory_bytes"] = round(float(match[1]) * UNITS[match[2]])
  return row


def measure(compiled: Compiled) -> dict[str, Any]:
  """Memory, FLOP and communication of one chip, as compiled."""
  program, jaxpr, seconds = compiled
  memory, hlo = program.memory_analysis(), program.as_text()
  kinds: dict[str, list[float]] = collections.defaultdict(lambda: [0, 0.0])
  for x in programs.collectives(hlo):
    kinds[x.kind][0] += 1
    kinds[x.kind][1] += x.wire
  analysis = program.cost_analysis() or {}
  return {
    "compile_seconds": round(seconds, 1),
    "memory_bytes": memory.argument_size_in_bytes
    + memory.temp_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
    + memory.generated_code_size_in_bytes,
    "argument_bytes": memory.argument_size_in_bytes,
    "temporary_bytes": memory.temp_size_in_bytes,
    "code_bytes": memory.generated_code_size_in_bytes,
    "flops": programs.products(jaxpr),
    "passes_flops": programs.products(jaxpr, passes=True),
    "xla_flops": analysis.get("flops", 0.0),
    "traffic_bytes": analysis.get("bytes accessed", 0.0),
    "cycles": programs.cycles(hlo),
    "wire_bytes": sum(size for _, size in kinds.values()),
    "wire_bytes_by_kind": {name: size for name, (_, size) in kinds.items()},
    "collectives": {name: n for name, (n, _) in kinds.items()},
    "asked": programs.asked(jaxpr),
    "host": [word for word in HOST if word in hlo],
  }


def faults(row: dict[str, Any]) -> list[str]:
  """Properties of a program that the design does not allow."""
  if not row["fits"]:
    return [row.get("error", "does not fit").splitlines()[0][:200]]
  compiled, source = collections.Counter(row["collectives"]), row["asked"]
  wrong = []
  for kind in sorted(compiled):
    named = source.get(kind, 0) if kind in DESIGN[row["contrast"]] else 0
    if compiled[kind] > named and not _halo(row, kind):
      wrong.append(
        f"{compiled[kind]} {kind}, of which the design names {named}"
      )
  # The compiler may make one sum of a scatter of sums, and slice it, or of a
  # gather, and fill it up with zeros.
  spread = source.get("reduce-scatter", 0) + source.get("all-gather", 0)
  sums = compiled["all-reduce"] + compiled["reduce-scatter"]
  if sums > MOST + spread:
    wrong.append(f"{sums} sums, more than {MOST} and {spread} spread ones")
  return wrong + [f"talks to the host: {word}" for word in row["host"]]


def _halo(row: dict[str, Any], kind: str) -> bool:
  """Whether permutes only move the edges of padded shards.

  80 rows of 800 columns are 10 x 7 tiles, which the compiler pads to scatter
  them over a 2 x 2 slice. Padding the columns ourselves costs more elsewhere.
  """
  moved = row["wire_bytes_by_kind"].get(kind, 0)
  halo = kind == "collective-permute" and row["contrast"] == "dense"
  return halo and moved < HALO * row["wire_bytes"]
