r"""How the paper's training step scales on TPUs, without a TPU.

TPU_SKIP_MDS_QUERY=1 JAX_PLATFORMS=cpu python -m benchmarks.scaling --out=DIR

Compiles the whole step of `size=paper` with the real TPU compiler (install
`.[tpu]`) for slices of 1 to 256 chips. Compiled, and so facts: that it
compiles, memory per chip, collectives and their bytes, FLOP of the products.
Predicted from them, at published peak rates: times. A step takes as long as
its products or its memory traffic, whichever is longer, plus its communication
on a ring over all links of a chip (which small slices don't have all of);
nothing overlaps and nothing is late.

Writes `scaling.jsonl` (a line per program; finished ones are not repeated),
`scaling.md` and `scaling.png`. `--check` compiles both presets in both types
for five slices at the paper's batch per chip, and fails if one doesn't fit or
holds a collective that the design does not name.
"""

import collections
import gzip
import json
import math
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
from absl import app, flags
from jax.experimental import topologies

from benchmarks import programs
from benchmarks.step import SHAPES
from configs import pretrain
from unirep.experiment import build
from unirep.train import mesh as mesh_lib
from unirep.train import state as state_lib
from unirep.train import step as step_lib

PAPER_BATCH = 80  # of one chip
OUT = flags.DEFINE_string("out", "scaling", "Where the results go.")
CHECK = flags.DEFINE_bool("check", False, "Compile, judge and exit.")


class Chip(NamedTuple):
  """Published rates: bf16 FLOP/s, bytes, bytes/s, bytes/s one way over links.

  From the system architecture pages of the Cloud TPU documentation.
  """

  flops: float
  memory: float
  bandwidth: float
  links: float


CHIPS = {
  "v4": Chip(275e12, 32e9, 1228e9, 300e9),
  "v5e": Chip(197e12, 16e9, 819e9, 200e9),
  "v5p": Chip(459e12, 95e9, 2765e9, 600e9),
  "v6e": Chip(918e12, 32e9, 1638e9, 400e9),
}


class Case(NamedTuple):
  """One program."""

  topology: str
  batch: int
  preset: str = "clean"
  dtype: str = "bfloat16"
  contrast: str = "dense"
  size: str = "paper"


def chips(topology: str) -> int:
  """How many chips `kind:AxB` or `kind:AxBxC` has."""
  return math.prod(int(n) for n in topology.split(":")[1].split("x"))


SLICES = ("v5e:2x2", "v5e:16x16", "v6e:16x16", "v4:4x4x4", "v5p:4x4x4")
CHECKS = [
  Case(topology, PAPER_BATCH * chips(topology), preset, dtype)
  for topology in SLICES
  for preset in ("clean", "released")
  for dtype in ("bfloat16", "float32")
]
WEAK = [
  Case(x, PAPER_BATCH * chips(x))
  for x in ("v5e:1x1", "v5e:2x2", "v5e:4x4", "v5e:8x8", "v5e:16x16")
]
STRONG = [
  *(Case(x, 80) for x in ("v5e:1x1", "v5e:2x2", "v5e:4x4")),
  *(Case(x, 5120) for x in ("v5e:4x4", "v5e:16x16")),
]
LARGE = [
  Case("v5e:16x16", 65_536, contrast=x) for x in ("dense", "chunked", "ring")
]
# What crosses devices, and how many programs' worth of it at most: XLA merges
# what it can. Gathers of rows to compare, sums of gradients, of the codebook
# and of metrics; blocks that go around.
# (The compiler permutes a few rows to pad a reduce-scatter's shards.)
GATHERING = ("all-gather", "all-reduce", "reduce-scatter", "collective-permute")
DESIGN = {
  "dense": GATHERING,
  "chunked": GATHERING,
  "ring": ("all-reduce", "collective-permute"),
}
MOST = 64
HOST = ("infeed", "outfeed", "callback", "SendToHost", "RecvFromHost")


def compile_step(case: Case) -> tuple[Any, int, float]:
  """The compiled step, its products in FLOP per chip, and seconds it took."""
  # A v4 chip is two cores that JAX drives as one device.
  megacore = (
    {"chip_config_name": "megacore"} if case.topology[:2] == "v4" else {}
  )
  topology = topologies.get_topology_desc(
    platform="tpu", topology_name=case.topology, **megacore
  )
  config: Any = pretrain.get_config(f"size={case.size},preset={case.preset}")
  config.update({"dtype": case.dtype, "contrast": case.contrast})
  config.batch_size = case.batch
  recipe = build.recipe(config)
  mesh = mesh_lib.make(case.batch, devices=topology.devices)
  features = {
    m: jax.ShapeDtypeStruct((case.batch, *shape), jnp.float32)
    for m, shape in SHAPES["paper"].items()
  }
  one = {m: jnp.zeros((1, *x.shape[1:])) for m, x in features.items()}
  state = jax.eval_shape(
    lambda key: state_lib.init(recipe, key, {"features": one}),
    jax.random.key(0),
  )

  def place(x, sharding):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  everywhere, spread = mesh_lib.replicated(mesh), mesh_lib.split(mesh)
  state = jax.tree.map(lambda x: place(x, everywhere), state)
  features = {m: place(x, spread) for m, x in features.items()}
  began = time.perf_counter()
  step: Any = step_lib.build(recipe, mesh, seed=0)
  traced = step.trace(state, {"features": features, "lengths": {}})
  flops = programs.products(traced.jaxpr)
  compiled = traced.lower().compile()
  return compiled, flops, time.perf_counter() - began


def describe(case: Case, out: pathlib.Path) -> dict[str, Any]:
  """Facts of the compiled program, which is kept, and what they predict."""
  chip = CHIPS[case.topology.split(":")[0]]
  row: dict[str, Any] = case._asdict() | {"chips": chips(case.topology)}
  try:
    compiled, flops, seconds = compile_step(case)
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error):
      raise
    return row | {"fits": False, "error": str(error).splitlines()[0][:300]}
  memory, hlo = compiled.memory_analysis(), compiled.as_text()
  name = "-".join(map(str, case)).replace(":", "_")
  (out / f"{name}.hlo.gz").write_bytes(gzip.compress(hlo.encode()))
  used = (
    memory.argument_size_in_bytes
    + memory.temp_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes
    + memory.generated_code_size_in_bytes
  )
  kinds: dict[str, list[float]] = collections.defaultdict(lambda: [0, 0.0])
  for x in programs.collectives(hlo):
    kinds[x.kind][0] += 1
    kinds[x.kind][1] += x.wire
  wire = sum(size for _, size in kinds.values())
  traffic = float(compiled.cost_analysis().get("bytes accessed", 0))
  compute, moving = flops / chip.flops, traffic / chip.bandwidth
  return row | {
    "compile_seconds": round(seconds, 1),
    "fits": used <= chip.memory,
    "memory_bytes": used,
    "temporary_bytes": memory.temp_size_in_bytes,
    "flops": flops,
    "traffic_bytes": traffic,
    "wire_bytes": wire,
    "collectives": {name: n for name, (n, _) in kinds.items()},
    "host": [word for word in HOST if word in hlo],
    "compute_seconds": compute,
    "memory_seconds": moving,
    "wire_seconds": wire / chip.links,
    "step_seconds": max(compute, moving) + wire / chip.links,
  }


def faults(row: dict[str, Any]) -> list[str]:
  """What of a program the design does not allow."""
  if not row["fits"]:
    return [row.get("error", "does not fit")]
  others = set(row["collectives"]) - {*DESIGN[row["contrast"]]}
  count = sum(row["collectives"].values())
  return [
    *(f"{name} is not in the design" for name in sorted(others)),
    *([f"{count} collectives, more than {MOST}"] if count > MOST else []),
    *(f"talks to the host: {word}" for word in row["host"]),
  ]


def table(rows: list[dict[str, Any]]) -> str:
  """Markdown: compiled facts to the left, predictions to the right."""
  lines = [
    "| slice | batch | a chip | preset | type | losses | GiB a chip | TFLOP "
    "| MB sent | collectives | compute ms | memory ms | links ms | samples/s |",
    "|" + "---|" * 14,
  ]
  for x in rows:
    head = (
      f"| {x['topology']} | {x['batch']} | {x['batch'] / x['chips']:g} "
      f"| {x['preset']} | {x['dtype']} | {x['contrast']} |"
    )
    if "memory_bytes" not in x:
      lines.append(f"{head} does not fit |" + " |" * 7)
      continue
    kinds = ", ".join(f"{n} {k}" for k, n in sorted(x["collectives"].items()))
    lines.append(
      f"{head} {x['memory_bytes'] / 2**30:.2f} | {x['flops'] / 1e12:.2f} "
      f"| {x['wire_bytes'] / 1e6:.0f} | {kinds} "
      f"| {1e3 * x['compute_seconds']:.1f} | {1e3 * x['memory_seconds']:.1f} "
      f"| {1e3 * x['wire_seconds']:.1f} "
      f"| {x['batch'] / x['step_seconds']:.0f} |"
    )
  return "\n".join(lines) + "\n"


def picture(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
  """Predicted throughput over chips, and memory over the kind of losses."""
  done = {Case(*(x[n] for n in Case._fields)): x for x in rows}
  figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
  for cases, label in (
    (WEAK, "80 samples a chip"),
    (STRONG[:3], "80 samples in all"),
    (STRONG[3:], "5120 samples in all"),
  ):
    points = [
      (x["chips"], x["batch"] / x["step_seconds"])
      for x in (done[c] for c in cases if c in done)
      if "step_seconds" in x
    ]
    if points:
      left.loglog(*zip(*points, strict=True), "o-", label=label)
      if cases is WEAK:
        first = points[0][1] / points[0][0]
        ideal = [n for n, _ in points]
        left.loglog(ideal, [first * n for n in ideal], "k:", label="ideal")
  left.set(xlabel="v5e chips", ylabel="samples/s (predicted)")
  left.legend()
  bars = [done[c] for c in LARGE if c in done and "memory_bytes" in done[c]]
  names = [f"{x['contrast']}\n{x['batch']}" for x in bars]
  right.bar(names, [x["memory_bytes"] / 2**30 for x in bars])
  right.axhline(CHIPS["v5e"].memory / 2**30, color="k", ls=":")
  right.set(ylabel="GiB a chip (compiled), 256 chips", xlabel="losses, batch")
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)


def main(argv):
  """Compiles what is missing, and writes the table and the figure."""
  del argv
  out = pathlib.Path(OUT.value)
  out.mkdir(parents=True, exist_ok=True)
  log = out / "scaling.jsonl"
  lines = log.read_text().splitlines() if log.exists() else []
  rows = [json.loads(line) for line in lines]
  known = {tuple(x[n] for n in Case._fields) for x in rows}
  wanted = CHECKS if CHECK.value else [*WEAK, *STRONG, *LARGE, *CHECKS]
  for case in dict.fromkeys(wanted):
    if tuple(case) not in known:
      rows.append(describe(case, out))
      with log.open("a") as file:
        file.write(json.dumps(rows[-1]) + "\n")
  order = {tuple(case): i for i, case in enumerate(dict.fromkeys(wanted))}
  rows = [x for x in rows if tuple(x[n] for n in Case._fields) in order]
  rows.sort(key=lambda x: order[tuple(x[n] for n in Case._fields)])
  (out / "scaling.md").write_text(table(rows))
  picture(rows, out / "scaling.png")
  print(table(rows))
  if not CHECK.value:
    return 0
  bad = [(x, f) for x in rows for f in faults(x)]
  for row, fault in bad:
    print(f"{[row[n] for n in Case._fields]}: {fault}")
  print(f"{len(rows)} programs, {len(bad)} faults")
  return 1 if bad else 0


if __name__ == "__main__":
  app.run(main)
