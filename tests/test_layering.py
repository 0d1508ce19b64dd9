"""Imports point one way, and heavy packages stay where they belong."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "unirep"
FILES = {"__init__.py", "__main__.py", "main.py", "api.py"}  # at the root
FOLDERS = 19  # at most, the links to configs and launch among them
CHAIN = 16  # modules of the longest chain of imports
# From top to bottom. A room imports rooms of the lines below its own; rooms of
# one line know nothing of each other.
COLUMN = (
  ("main", "__main__", "api"),
  ("cli",),
  ("jobs",),
  ("reports",),
  ("tasks",),
  ("inference",),
  ("configuration",),
  ("train",),
  ("methods", "data", "interop"),
  ("losses", "quantizer", "extract"),
  ("nn", "parallel", "files"),
  ("runtime",),
)
# Rooms that know less than what lies below them.
KNOWS = {
  "reports": {"tasks", "data", "runtime"},
  "tasks": {"inference", "runtime"},  # codes and states, not the model
  "train": {"methods", "data", "parallel", "files", "runtime"},
  "methods": {"losses", "quantizer", "nn", "parallel", "runtime"},
  "data": {"extract", "files", "runtime"},
  "interop": {"quantizer", "files", "runtime"},
  "losses": {"nn", "parallel", "runtime"},
  "quantizer": {"parallel", "runtime"},
  "extract": {"files", "runtime"},
}
# Modules that know less than their rooms.
MODULES = {
  "quantizer/toc": set(),  # to be used by itself
  "methods/method": set(),
  "train/step": {"parallel/collectives", "parallel/mesh", "train/state"},
}
# (importing room, imported room) -> the only modules that do or are.
DOORS = {
  ("train", "methods"): {"methods/method"},  # no loss and no network
  ("train", "data"): {"data/sample"},
  ("tasks", "inference"): {
    *("inference/codes", "inference/nearest", "inference/similarity"),
  },
  ("data", "extract"): {  # of raw recordings, and of captions
    *("data/datasets/grid", "data/datasets/grid_files"),
    *("data/datasets/texts", "data/datasets/utd"),
  },
}
FLAX = {
  *("nn", "losses/club", "losses/cpc", "extract/networks"),
  "tasks/generation/networks",
}
COLLECTIONS = {"api", "cli/settings", "cli/flags", "configuration/build"}


@functools.cache
def modules():
  return {
    path.relative_to(PACKAGE).with_suffix("").as_posix(): path
    for path in sorted(PACKAGE.rglob("*.py"))
  }


def room(name):
  return name.split("/")[0]


def imports(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.name
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: relative import"
      for alias in node.names:
        yield f"{node.module}.{alias.name}"


def module_of(imported):
  """`unirep.losses.cpc.init` -> `losses/cpc`; None for other packages."""
  parts = imported.split(".")
  if parts[0] != "unirep" or len(parts) == 1:
    return None
  for last in range(len(parts), 1, -1):
    name = "/".join(parts[1:last])
    if name in modules():
      return name
  return parts[1]  # configs, launch or a package


@functools.cache
def arrows():
  """Module -> modules of the package that it imports."""
  return {
    name: {module_of(x) for x in imports(path)} - {None}
    for name, path in modules().items()
  }


def test_the_root_holds_few_files_and_one_column_of_rooms():
  places = [p for p in PACKAGE.iterdir() if p.name != "__pycache__"]
  assert {p.name for p in places if p.is_file()} == FILES
  folders = {p.name for p in places if p.is_dir()}
  assert len(folders) <= FOLDERS
  named = {name for line in COLUMN for name in line}
  assert {room(x) for x in modules()} - {"__init__"} == named
  assert folders - {"configs", "launch"} == named - {"main", "__main__", "api"}


@pytest.mark.parametrize("name", list(modules()))
def test_imports_point_down_the_column(name):
  if name.endswith("__init__"):
    assert not arrows()[name], "packages import nothing by themselves"
    return
  line = {r: i for i, rooms in enumerate(COLUMN) for r in rooms}
  here = room(name)
  if name in MODULES:
    assert arrows()[name] <= MODULES[name]
  for target in arrows()[name]:
    there = room(target)
    if there in (here, "configs"):
      continue
    main = name == "__main__" and there == "main"
    assert main or line[there] > line[here], f"{name} must not import {target}"
    assert there in KNOWS.get(here, {there}), f"{name} must not import {target}"
    door = DOORS.get((here, there), {name})
    assert {name, target} & door, f"{name} must not import {target}"


def test_no_chain_of_imports_is_long():
  @functools.cache
  def chain(name):
    below = [chain(x) for x in arrows().get(name, ())]
    return [name, *max(below, key=len, default=[])]

  longest = max(map(chain, modules()), key=len)
  assert len(longest) <= CHAIN, " -> ".join(longest)


@pytest.mark.parametrize(("name", "path"), list(modules().items()))
def test_heavy_packages_stay_in_their_rooms(name, path):
  for imported in imports(path):
    package = imported.split(".")[0]
    assert package not in {"tensorflow", "torch"}, name
    if package == "flax":
      assert {name, name.rpartition("/")[0], room(name)} & FLAX, name
    if package == "ml_collections":
      assert name in COLLECTIONS
    if package == "jax":
      assert not name.startswith("data/"), "data is NumPy only"
    if package in {"configs", "launch", "tests", "benchmarks"}:
      raise AssertionError(f"{name} imports {package}")


def test_configs_are_plain():
  for path in (ROOT / "configs").glob("*.py"):
    for name in imports(path):
      plain = name.split(".")[0] in {"typing", "ml_collections"}
      assert plain or name.startswith("unirep.configs."), path


def test_only_prepare_reads_a_configuration():
  """And the checks that it begins with; all else in jobs/ is bound."""
  may = {"prepare", "check", "check_pretrain", "check_missing", "leaf"}
  may |= {"run"}  # of dispatch, which calls prepare
  readers = set()
  for path in (PACKAGE / "jobs").glob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.FunctionDef | ast.Lambda):
        names = [x.arg for x in ast.walk(node.args) if isinstance(x, ast.arg)]
        kinds = ast.dump(node.args)
        if any("config" in x for x in names) or "'Config'" in kinds:
          name = getattr(node, "name", "lambda")
          assert name in may, f"{path.name}: {name} takes a configuration"
          assert name != "run" or path.stem == "dispatch"
          readers.add(name)
  assert readers == may
