"""Mutation testing: does a test fail when a line is wrong?

python -m benchmarks.mutants --count=200 --seed=0

Each mutant is one change to one numerical module in a copy of the tree: another
operator, comparison or constant, or a negated condition. It is killed if the
fast tests of the module's room fail, or do not end; they must pass without it.
Prints the survivors, which either need a test or change nothing. Slow: one to
three minutes a mutant and core.

Places are drawn evenly over all that can be changed, so that a long module has
more of them. Not changed: text, annotations, what follows `raise` or `assert`.
"""

import argparse
import ast
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Modules of unirep -> the tests that should see them.
ROOMS = {
  "codebook.py": ("codebook", "shared_codes", "model", "growth"),
  "growth.py": ("growth", "shared_codes"),
  "mm_ema.py": ("mm_ema", "dcid", "golden"),
  "toc.py": ("toc", "wiring"),
  "losses": (
    *("losses", "contrast", "wiring", "dcid", "model", "missing", "golden"),
  ),
  "methods": ("model", "wiring", "dcid", "missing"),
  "train/step.py": ("model", "wiring"),
  "tasks/probing": ("probe", "scores", "criteria", "golden_tasks", "wiring"),
  "tasks/retrieval": ("ranks", "retrieval"),
  "tasks/generation": ("generation",),
  "tasks": ("tasks", "shared_codes", "wiring"),
  "jobs": ("evaluation", "jobs", "wiring", "configs"),
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
  found = []

  def walk(node):
    if isinstance(node, ast.Raise | ast.Assert | ast.JoinedStr | ast.Import):
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
      found.append(node)

  walk(tree)
  return found


def change(node):
  """Makes one change, and says which."""
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
  found = [next(ROOT.glob(f"tests/**/test_{t}.py")) for t in ROOMS[room]]
  return [path.relative_to(ROOT).as_posix() for path in found]


def outcome(copy, name, seconds):
  """The exit code of pytest, 1 if a test failed or did not end."""
  command = [sys.executable, "-m", "pytest", "-qx", *tests_of(name)]
  environment = {**os.environ, "PYTHONPATH": str(copy)}
  options: Any = {"capture_output": True, "timeout": seconds, "check": False}
  try:
    return subprocess.run(
      command, cwd=copy, env=environment, **options
    ).returncode
  except subprocess.TimeoutExpired:
    return 1


def main(argv=None):
  """Draws mutants, tests each, and prints who survived."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--count", type=int, default=200)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--seconds", type=int, default=900, help="of one mutant")
  args = parser.parse_args(argv)
  rng = random.Random(args.seed)
  sources, chances = {}, []
  for path in sorted((ROOT / "unirep").rglob("*.py")):
    name = path.relative_to(ROOT / "unirep").as_posix()
    if any(name.startswith(room) for room in ROOMS):
      sources[name] = path.read_text()
      count = len(places(ast.parse(sources[name])))
      chances += [(name, i) for i in range(count)]
  chosen = rng.sample(chances, min(args.count, len(chances)))
  survivors = []
  with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder) / "copy"
    skip = shutil.ignore_patterns(".git", ".venv", "__pycache__", "runs")
    shutil.copytree(ROOT, copy, ignore=skip)
    for tests, name in {(*tests_of(n),): n for n, _ in chosen}.items():
      if code := outcome(copy, name, args.seconds):
        sys.exit(f"without any change {' '.join(tests)} end with {code}")
    for number, (name, index) in enumerate(chosen, 1):
      tree = ast.parse(sources[name])
      node = places(tree)[index]
      what = f"{name}:{node.lineno}: {change(node)}"
      path = copy / "unirep" / name
      path.write_text(ast.unparse(tree))
      code = outcome(copy, name, args.seconds)
      killed = code in (1, 2)  # 2: not even imported
      path.write_text(sources[name])
      print(number, "killed" if killed else "SURVIVED", what, flush=True)
      if not killed:
        survivors.append(what)
  share = 1 - len(survivors) / len(chosen)
  print(
    f"{share:.1%} of {len(chosen)} killed; survivors:", *survivors, sep="\n"
  )


if __name__ == "__main__":
  main()
