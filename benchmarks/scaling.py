r"""Scaling of the paper's training step on TPUs, computed without a TPU.

python -m benchmarks.scaling --out=DIR

Compiles the whole step of `size=paper` with the real TPU compiler (install
`.[tpu]`) for slices of 1 to 256 chips. The compiler gives facts: that it
compiles, memory per chip, collectives and their bytes, FLOP of the products.
Times are predicted from these, at published peak rates: a step takes the longer
time of its products and its memory traffic, plus its communication on rings of
the links, without overlap and without delays. Memory traffic is XLA's count,
which counts the body of a loop once. The table also has the compiler's own
estimate of cycles, with loops as often as they run.

Writes `scaling.jsonl` (a line per program; finished ones are not repeated),
`scaling.md` and `scaling.png`. `--check` compiles both presets in both types
for five slices at the paper's batch per chip, and fails if one doesn't fit or
holds a collective that the design does not name. `--only="v5e:2x2 released"`
takes programs with all these words in their description.
"""

import concurrent.futures
import json
import multiprocessing
import pathlib
from typing import Any

import matplotlib.pyplot as plt
from absl import app, flags

from benchmarks import chips, slices
from benchmarks.slices import Case

PAPER_BATCH = 80  # of one chip
OUT = flags.DEFINE_string("out", "scaling", "Where the results go.")
CHECK = flags.DEFINE_bool("check", False, "Compile, judge and exit.")
ONLY = flags.DEFINE_string("only", "", "Words that name the programs.")

SLICES = ("v5e:2x2", "v5e:16x16", "v6e:16x16", "v4:4x4x4", "v5p:4x4x4")
CHECKS = [
  Case(topology, PAPER_BATCH * chips.count(topology), preset, dtype)
  for topology in SLICES
  for preset in ("clean", "released")
  for dtype in ("bfloat16", "float32")
]
WEAK = [
  Case(x, PAPER_BATCH * chips.count(x))
  for x in ("v5e:1x1", "v5e:2x2", "v5e:4x4", "v5e:8x8", "v5e:16x16")
]
STRONG = [
  *(Case(x, 80) for x in ("v5e:1x1", "v5e:2x2", "v5e:4x4")),
  *(Case(x, 5120) for x in ("v5e:4x4", "v5e:16x16")),
]
LARGE = [
  Case("v5e:16x16", 65_536, contrast=x) for x in ("dense", "chunked", "ring")
]


def table(rows: list[dict[str, Any]]) -> str:
  """Markdown: compiled facts to the left, predictions to the right."""
  lines = [
    "| slice | batch | a chip | preset | type | losses | GiB a chip | TFLOP "
    "| MB sent | collectives | compute ms | memory ms | links ms | samples/s "
    "| XLA's Mcycles |",
    "|" + "---|" * 15,
  ]
  for x in rows:
    head = (
      f"| {x['topology']} | {x['batch']} | {x['batch'] / x['chips']:g} "
      f"| {x['preset']} | {x['dtype']} | {x['contrast']} |"
    )
    if "collectives" not in x:
      wanted = x.get("memory_bytes", 0) / 2**30
      lines.append(f"{head} {wanted:.2f}: does not fit |" + " |" * 8)
      continue
    cycles = "-" if x["cycles"] is None else f"{x['cycles'] / 1e6:.0f}"
    kinds = ", ".join(f"{n} {k}" for k, n in sorted(x["collectives"].items()))
    lines.append(
      f"{head} {x['memory_bytes'] / 2**30:.2f} | {x['flops'] / 1e12:.2f} "
      f"| {x['wire_bytes'] / 1e6:.0f} | {kinds} "
      f"| {1e3 * x['compute_seconds']:.1f} | {1e3 * x['memory_seconds']:.1f} "
      f"| {1e3 * x['wire_seconds']:.1f} "
      f"| {x['batch'] / x['step_seconds']:.0f} | {cycles} |"
    )
  return "\n".join(lines) + "\n"


def picture(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
  """Predicted throughput over chips, and memory over the kind of losses."""
  done = {key(x): x for x in rows}
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
  right.axhline(chips.CHIPS["v5e"].memory / 2**30, color="k", ls=":")
  right.set(ylabel="GiB a chip (compiled), 256 chips", xlabel="losses, batch")
  figure.tight_layout()
  figure.savefig(path, dpi=120)
  plt.close(figure)


def run(cases: list[Case], log: pathlib.Path) -> list[dict[str, Any]]:
  """Compiles programs that the log lacks, each in a process of its own."""
  lines = log.read_text().splitlines() if log.exists() else []
  rows = {key(x): x for x in map(json.loads, lines)}
  spawn = multiprocessing.get_context("spawn")
  for case in cases:
    if case in rows:
      continue
    print(" ".join(map(str, case)), flush=True)
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as pool:
      rows[case] = pool.submit(slices.describe, case).result()
    with log.open("a") as file:
      file.write(json.dumps(rows[case]) + "\n")
  return [rows[case] for case in cases]


def key(row: dict[str, Any]) -> Case:
  """The program that a row describes."""
  return Case(*(row[name] for name in Case._fields))


def main(argv):
  """Compiles missing programs, and writes the table and the figure."""
  del argv
  out = pathlib.Path(OUT.value)
  out.mkdir(parents=True, exist_ok=True)
  wanted = CHECKS if CHECK.value else [*WEAK, *STRONG, *LARGE, *CHECKS]
  words = ONLY.value.split()
  cases = [c for c in dict.fromkeys(wanted) if {*words} <= {*map(str, c)}]
  rows = run(cases, out / "scaling.jsonl")
  (out / "scaling.md").write_text(table(rows))
  picture(rows, out / "scaling.png")
  print(table(rows))
  if not CHECK.value:
    return 0
  bad = [(x, fault) for x in rows for fault in slices.faults(x)]
  for row, fault in bad:
    print(f"{' '.join(map(str, key(row)))}: {fault}")
  print(f"{len(rows)} programs, {len(bad)} faults")
  return 1 if bad else 0


if __name__ == "__main__":
  app.run(main)
