"""Weights of others: found, checked, and put into a network; no code is run.

Modules are named as in the state dict, dots and all, so that only layouts are
translated: Linear (out, in) -> (in, out), convolution (out, in, h, w) -> (h,
w, in, out).
"""

import hashlib
import importlib
import importlib.metadata
import io
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from unirep.runtime.errors import InputError

NAMES = {  # our name of a parameter -> torch's
  "kernel": "weight",
  "scale": "weight",
  "embedding": "weight",
  "bias": "bias",
}


class Shipped(NamedTuple):
  """A file of a package on PyPI.

  Attributes:
    package: its name there.
    version: that has this file.
    file: its path among the package's files.
    sha256: of the file.
    alone: whether it is installed without what it depends on, which is large
      and which we need nothing of.
  """

  package: str
  version: str
  file: str
  sha256: str
  alone: bool = False

  @property
  def origin(self) -> str:
    """The package."""
    return f"PyPI: {self.package} {self.version}"

  @property
  def command(self) -> str:
    """How to get it."""
    alone = "--no-deps " if self.alone else ""
    return f"pip install {alone}{self.package}=={self.version}"


def read(name: str, shipped: Shipped) -> bytes:
  """The file's bytes; the package's code is not imported.

  Args:
    name: of the extractor, for the error.
    shipped: which file.

  Raises:
    InputError: if it isn't installed, or is another file.
  """
  try:
    distribution = importlib.metadata.distribution(shipped.package)
    with open(str(distribution.locate_file(shipped.file)), "rb") as file:
      data = file.read()
  except (importlib.metadata.PackageNotFoundError, OSError) as error:
    raise InputError(
      f"{name}: its weights are in the package {shipped.package!r}, which is"
      f" not installed: {shipped.command}"
    ) from error
  found = hashlib.sha256(data).hexdigest()
  if found != shipped.sha256:
    raise InputError(
      f"{name}: {shipped.file} of {shipped.package!r} {distribution.version}"
      f" has the sha256 {found[:12]}..., not {shipped.sha256[:12]}...:"
      f" {shipped.command}"
    )
  return data


def unzip(data: bytes) -> dict[str, bytes]:
  """Files of a zip (one whose sha256 was checked), without their folders."""
  with zipfile.ZipFile(io.BytesIO(data)) as archive:
    return {
      entry.filename.rsplit("/", 1)[-1]: archive.read(entry)
      for entry in archive.infolist()
      if not entry.is_dir()
    }


def need(package: str) -> Any:
  """Imports a package.

  Raises:
    InputError: if it isn't installed.
  """
  try:
    return importlib.import_module(package)
  except ImportError as error:
    raise InputError(
      f"the package {package!r} is needed: pip install 'unirep[media]'"
    ) from error


def fill(
  network: Any, sample: Any, arrays: Mapping[str, Any], source: str
) -> dict[str, Any]:
  """The network's parameters, in float32.

  Args:
    network: a Flax module.
    sample: the shapes of what it takes, a tuple.
    arrays: name -> array; more than needed is fine.
    source: what to call their file in errors.

  Raises:
    InputError: for an array that is missing, of another shape, or not finite.
  """
  import jax  # here: registries and readers of files do without it

  shapes = jax.eval_shape(network.init, jax.random.key(0), *sample)["params"]
  tree: dict[str, Any] = {}
  for path, wanted in jax.tree_util.tree_leaves_with_path(shapes):
    *modules, leaf = (entry.key for entry in path)
    name = ".".join((*modules, NAMES[leaf]))
    place = tree
    for module in modules:
      place = place.setdefault(module, {})
    place[leaf] = _array(arrays, name, leaf, wanted.shape, source)
  return tree


def _array(arrays, name, leaf, shape, source):
  if name not in arrays:
    raise InputError(f"{source} has no {name!r}")
  x = arrays[name]
  order = _order(len(shape) if leaf == "kernel" else 1)
  theirs = tuple(shape[i] for i in np.argsort(order)) if order else shape
  if x.shape != theirs:
    raise InputError(f"{source}: {name!r} has shape {x.shape}, not {theirs}")
  x = np.asarray(x, np.float32)
  if not np.isfinite(x).all():
    raise InputError(f"{source}: {name!r} has numbers that are not finite")
  return np.ascontiguousarray(x.transpose(order) if order else x)


def _order(rank):
  """Axes of torch's in the order of ours; () for the same."""
  return {4: (2, 3, 1, 0), 2: (1, 0)}.get(rank, ())


def without_prefix(
  arrays: Mapping[str, Any], name: str, source: str
) -> dict[str, Any]:
  """Arrays under the names that they have within the network itself.

  Args:
    arrays: of the network or of a model around it ("bert.", "module.").
    name: of an array that the network has.
    source: what to call their file in errors.

  Raises:
    InputError: if no array has that name behind any prefix.
  """
  found = [x for x in arrays if x == name or x.endswith(f".{name}")]
  if not found:
    raise InputError(f"{source} has no {name!r}")
  cut = len(min(found, key=len)) - len(name)
  prefix = min(found, key=len)[:cut]
  return {x[cut:]: array for x, array in arrays.items() if x.startswith(prefix)}
