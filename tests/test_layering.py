"""Imports point one way, and the heavy ones stay where they belong."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEAVES = {  # for everyone
  *("errors", "files", "parallel/collectives", "signals"),
  *("reading/doors", "reading/npy", "reading/pickles"),
  *("reading/riff", "reading/zips"),
}
MAY = {  # room -> what it may import besides itself and the leaves
  "errors": set(),
  "files": set(),
  "reading": set(),
  "signals": set(),
  "streams": set(),
  "parallel": set(),
  "parallel/collectives": set(),
  "toc": set(),
  "data": set(),
  "data/datasets/grid": {"data", "extract"},  # of raw recordings
  "data/datasets/grid_files": {"data", "extract"},
  "data/datasets/utd": {"data", "extract"},
  "data/datasets/texts": {"data", "extract"},  # of captions
  "nn": set(),
  "codebook": set(),
  "growth": {"codebook"},
  "mm_ema": {"codebook"},
  "losses": {"nn"},  # two of them own networks
  "methods": {"nn", "losses", "codebook", "growth"},
  "methods/method": set(),
  "train": {"methods/method", "parallel"},  # no loss and no network
  "checkpoints": {"methods/method", "parallel", "train"},
  "weights": set(),  # files of others in, arrays out
  "interop": {"codebook", "weights"},
  "extract": {"weights"},  # raw media in, arrays out
  "codes": {"data"},
  "buckets": set(),
  "inputs": {"buckets"},
  "build": {"*"},
  "media": {"extract"},  # of files to the features of a model
  "scoring": set(),
  "nearest": {"scoring"},
  "similarity": {"inputs", "nearest"},
  "decoded": set(),
  "frozen": {"buckets", "build", "codebook", "data", "methods"},
  "tokenizer": {
    *("build", "codes", "data", "decoded", "frozen", "inputs", "interop"),
    *("checkpoints", "media", "similarity"),
  },
  "tasks": {"codes", "codebook", "nearest", "similarity", "toc"},
  "tasks/generation": {"nn", "tasks"},
  "workdir": set(),
  "jobs": {"*"},
  "settings": {"overview"},
  "ranges": set(),
  "schema": {"ranges"},
  "flags": {"overview", "settings"},
  "overview": set(),
  "command": {"experiment", "flags", "overview", "streams"},
  "api": {"build", "cache", "jobs", "settings"},
  "__main__": {"command"},
  "main": {"command"},
  "cache": set(),
  "experiment": {
    *("cache", "checkpoints", "flags", "jobs", "parallel", "settings", "train"),
  },
}
FLAX = {"nn", "losses/club", "losses/cpc", "extract/networks"}
COLLECTIONS = {"api", "settings", "flags", "build"}
NOBODY_IMPORTS = {
  "jobs": {"experiment", "api"},
  "build": {"api", "frozen", "tokenizer", "jobs"},
}


@functools.cache
def modules():
  package = ROOT / "unirep"
  return {
    path.relative_to(package).with_suffix("").as_posix(): path
    for path in sorted(package.rglob("*.py"))
  }


def room(name):
  parts = name.split("/")
  above = ("/".join(parts[:i]) for i in range(len(parts), 0, -1))
  return next((place for place in above if place in MAY), parts[0])


def imports(path):
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.name
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: relative import"
      for alias in node.names:
        yield f"{node.module}.{alias.name}"


def owner(imported):
  """`unirep.losses.cpc.init` -> `losses/cpc`; None for other packages."""
  parts = imported.split(".")
  if parts[0] != "unirep" or len(parts) == 1:
    return None
  name = parts[1]
  if len(parts) > 2 and f"{name}/{parts[2]}" in modules():
    return f"{name}/{parts[2]}"
  return name


@pytest.mark.parametrize(("name", "path"), list(modules().items()))
def test_imports_point_one_way(name, path):
  if name.endswith("__init__"):
    door = (
      [
        *("typing.Any", "unirep.tokenizer.load", "unirep.settings.config"),
        *("unirep.api", "importlib.metadata.version"),
      ]
      if name == "__init__"
      else []
    )  # when asked for
    assert list(imports(path)) == door, "packages import nothing by themselves"
    return
  here = room(name)
  allowed = MAY[here]
  for imported in imports(path):
    target = owner(imported)
    if target is None:
      continue
    other = room(target)
    fine = (
      target in LEAVES
      or "*" in allowed
      or {target, other, other.split("/")[0]} & allowed
      or other.split("/")[0] == here.split("/")[0]
    )
    assert fine, f"{name} must not import {imported}"
    by = NOBODY_IMPORTS.get(other, {here})
    assert here in by or here == other, f"{name} must not import {imported}"


@pytest.mark.parametrize(("name", "path"), list(modules().items()))
def test_heavy_packages_stay_in_their_rooms(name, path):
  for imported in imports(path):
    package = imported.split(".")[0]
    assert package not in {"tensorflow", "torch"}, name
    if package == "flax":
      folder = name.rpartition("/")[0]
      assert {name, folder, room(name)} & FLAX, name
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
