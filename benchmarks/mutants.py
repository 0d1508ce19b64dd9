"""Mutation testing: does a test fail when a line is wrong?

python -m benchmarks.mutants --count=200 --seed=0 --jobs=2

Each mutant is one change to one numerical module in a copy of the tree: another
operator, comparison or constant, or a negated condition. It is killed if the
fast tests of the module's room fail, or do not end; they must pass without it.
Prints the survivors, which either need a test or change nothing. It is slow: a
core takes about a minute for a mutant.

Every place that can be changed has the same chance, so that a long module gets
more mutants. Not changed are text, annotations, checks of the code's own
assumptions (`raise`, `assert`, `strict=` of zips), and modules that draw, since
a picture is judged by eye.
"""

import argparse
import ast
import functools
import os
import pathlib
import queue
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from concurrent import futures
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Modules of unirep -> the tests that should see them, quick ones first.
ROOMS = {
  "quantizer/codebook.py": (
    "codebook",
    "growth",
    "shared_codes",
    "golden",
    "model",
  ),
  "quantizer/growth.py": ("growth", "shared_codes", "model"),
  "quantizer/mm_ema.py": ("mm_ema", "golden", "dcid"),
  "quantizer/toc.py": ("toc", "wiring"),
  "inference/nearest.py": ("nearest", "retrieval", "growth"),
  "inference/search_programs.py": ("nearest", "retrieval", "retrieve"),
  "inference/similarity.py": ("nearest", "retrieval", "retrieve"),
  "losses": (
    *("losses", "contrast", "step_infonce", "golden", "dcid", "wiring"),
    *("model", "missing"),
  ),
  "methods": ("dcid", "wiring", "model", "missing"),
  "train/step.py": ("wiring", "model"),
  "tasks/probing": (
    *("criteria", "scores", "golden_tasks", "probe", "table", "tasks"),
    "wiring",
  ),
  "tasks/retrieval": ("ranks", "retrieval", "retrieve"),
  "tasks/generation": ("generation", "generate"),
  "tasks": ("slots", "table", "tasks", "shared_codes", "wiring"),
  "jobs": ("evaluation", "encoding", "splits", "wiring", "jobs", "configs"),
  "jobs/checks.py": ("settings", "configs", "jobs", "missing_modalities"),
  "jobs/convert.py": ("conversion", "workdir", "official", "released"),
  "jobs/data.py": ("workdir", "official", "conversion"),
  "jobs/extract.py": ("extraction",),
  "jobs/generate.py": ("generate",),
  "jobs/generators.py": ("generate",),
  "data/release/inspection.py": ("workdir", "conversion"),
  "jobs/preparation.py": (
    "wiring",
    "jobs",
    "start",
    "missing_modalities",
    "main",
  ),
  "jobs/pretrain.py": ("workdir", "wiring", "jobs", "start", "main"),
  "train/resident.py": ("resident",),
  "jobs/retrieve.py": ("retrieve",),
  "reports/tables.py": ("tables", "evaluation"),
  "train/tracking.py": ("tracking", "workdir"),
}
SWAPS = {
  **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult},
  **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
  **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn},
  **{ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And},
  **{ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Pow: ast.Mult},
  **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.USub: ast.UAdd},
}
NUMBERS = (int, float, bool)


def places(tree):
  """Nodes that can be changed."""
  nodes = []

  def walk(node):
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import):
      return
    if isinstance(node, ast.keyword) and node.arg == "strict":
      return
    for field, value in ast.iter_fields(node):
      if field in ("annotation", "returns", "bases", "decorator_list"):
        continue
      for child in value if isinstance(value, list) else [value]:
        if isinstance(child, ast.AST):
          walk(child)
    operator = getattr(node, "op", None) or [*getattr(node, "ops", []), None][0]
    number = isinstance(node, ast.Constant) and type(node.value) in NUMBERS
    if (
      type(operator) in SWAPS or number or isinstance(node, ast.If | ast.IfExp)
    ):
      nodes.append(node)

  walk(tree)
  return nodes


def change(node):
  """Makes one change, and returns its description."""
  if isinstance(node, ast.Constant):
    old: Any = node.value
    node.value = not old if isinstance(old, bool) else old + 1
    return f"{old} -> {node.value}"
  if isinstance(node, ast.If | ast.IfExp):
    node.test = ast.UnaryOp(ast.Not(), node.test)
    return "condition negated"
  old = node.op if hasattr(node, "op") else node.ops[0]
  new = SWAPS[type(old)]()
  if hasattr(node, "op"):
    node.op = new
  else:
    node.ops[0] = new
  return f"{type(old).__name__} -> {type(new).__name__}"


def tests_of(name):
  """The tests of a module's room."""
  room = max((r for r in ROOMS if name.startswith(r)), key=len)
  paths = [next(ROOT.glob(f"tests/**/test_{t}.py")) for t in ROOMS[room]]
  return [path.relative_to(ROOT).as_posix() for path in paths]


def outcome(copy, tests, seconds):
  """The exit code of pytest, or 1 if a test did not end."""
  command = [sys.executable, "-m", "pytest", "-qx", *tests]
  options: Any = {
    "env": {**os.environ, "PYTHONPATH": str(copy)},
    "capture_output": True,
    "check": False,
    # Processor time, so that a busy machine kills no mutant; one that waits
    # for ever is ended later.
    "preexec_fn": lambda: resource.setrlimit(
      resource.RLIMIT_CPU, (seconds, seconds)
    ),
    "timeout": 10 * seconds,
  }
  try:
    code = subprocess.run(command, cwd=copy, **options).returncode
  except subprocess.TimeoutExpired:
    return 1
  return 1 if code < 0 else code


def tried(copies, sources, seconds, mutant):
  """The description of a mutant, and whether a test killed it."""
  name, index = mutant
  tree = ast.parse(sources[name])
  node = places(tree)[index]
  text = f"{name}:{node.lineno}: {change(node)}"
  copy = copies.get()
  path = copy / "unirep" / name
  try:
    path.write_text(ast.unparse(tree))
    code = outcome(copy, tests_of(name), seconds)
  finally:
    path.write_text(sources[name])
    copies.put(copy)
  killed = code in (1, 2)  # 2: not even imported
  print("killed" if killed else f"SURVIVED ({code})", text, flush=True)
  return text, killed


def drawn(count, seed):
  """Mutants (module, place), and the text of all modules."""
  sources, chances = {}, []
  for path in sorted((ROOT / "unirep").rglob("*.py")):
    name = path.relative_to(ROOT / "unirep").as_posix()
    if any(name.startswith(room) for room in ROOMS):
      sources[name] = path.read_text()
      number = len(places(ast.parse(sources[name])))
      chances += [(name, i) for i in range(number)]
  chosen = random.Random(seed).sample(chances, min(count, len(chances)))
  return chosen, sources


def main(argv=None):
  """Draws mutants, tests each, and prints the survivors."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--count", type=int, default=200)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--seconds", type=int, default=900, help="of one mutant")
  parser.add_argument("--jobs", type=int, default=2, help="at the same time")
  args = parser.parse_args(argv)
  chosen, sources = drawn(args.count, args.seed)
  copies: queue.Queue = queue.Queue()
  skip = shutil.ignore_patterns(".git", ".venv", "__pycache__", "runs")
  with (
    tempfile.TemporaryDirectory() as folder,
    futures.ThreadPoolExecutor(args.jobs) as pool,
  ):
    for i in range(args.jobs):
      copies.put(copy := pathlib.Path(folder) / f"copy{i}")
      shutil.copytree(ROOT, copy, ignore=skip)
    tests = sorted({t for name, _ in chosen for t in tests_of(name)})
    first = pathlib.Path(folder) / "copy0"
    if code := outcome(first, tests, 10 * args.seconds):
      sys.exit(f"without any change {' '.join(tests)} end with {code}")
    results = pool.map(
      functools.partial(tried, copies, sources, args.seconds), chosen
    )
    survivors = [text for text, killed in results if not killed]
  share = 1 - len(survivors) / len(chosen)
  print(
    f"{share:.1%} of {len(chosen)} killed; survivors:", *survivors, sep="\n"
  )


if __name__ == "__main__":
  main()
