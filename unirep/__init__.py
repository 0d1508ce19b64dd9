"""One discrete code for audio, video and text, in JAX.

`unirep.load(workdir)` opens a trained model, see `unirep.inference.tokenizer`.
`unirep.config` and the functions named as jobs are the command line in Python,
see `unirep.api`. `unirep.toc`, `unirep.nearest` and `unirep.errors` are modules
to use by themselves.
"""

import importlib
from typing import Any

_FUNCTIONS = {  # name -> the module that has it; loaded on demand, for JAX
  "config": "unirep.cli.settings",
  "pretrain": "unirep.api",
  "evaluate": "unirep.api",
  "retrieve": "unirep.api",
  "generate": "unirep.api",
  "load": "unirep.inference.tokenizer",
}
_MODULES = {
  "errors": "unirep.runtime.errors",
  "nearest": "unirep.inference.nearest",
  "toc": "unirep.quantizer.toc",
}
__all__ = ["__version__", *_FUNCTIONS, *_MODULES]


def __getattr__(name: str) -> Any:
  if name in _FUNCTIONS:
    return getattr(importlib.import_module(_FUNCTIONS[name]), name)
  if name in _MODULES:
    return importlib.import_module(_MODULES[name])
  if name == "__version__":
    from importlib.metadata import version

    return version("unirep")
  raise AttributeError(f"module 'unirep' has no attribute {name!r}")


def __dir__() -> list[str]:
  return __all__
