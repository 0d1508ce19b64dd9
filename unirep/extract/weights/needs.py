"""Packages that only some weights need."""

import importlib
from typing import Any

from unirep.errors import InputError


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
