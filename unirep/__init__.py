"""One discrete code for audio, video and text, in JAX.

`unirep.load(workdir)` opens a trained model, see `unirep.tokenizer`;
`unirep.config` and the functions named as jobs are the command line in Python,
see `unirep.api`.
"""

from typing import Any

JOBS = ("pretrain", "evaluate", "retrieve", "generate")
__all__ = ["__version__", "config", *JOBS, "load"]


def __getattr__(name: str) -> Any:
  # On demand: it needs jax, flax and orbax.
  if name == "load":
    from unirep.tokenizer import load

    return load
  if name == "config":
    from unirep.settings import config

    return config
  if name in JOBS:
    from unirep import api

    return getattr(api, name)
  if name == "__version__":
    from importlib.metadata import version

    return version("unirep")
  raise AttributeError(f"module 'unirep' has no attribute {name!r}")


def __dir__() -> list[str]:
  return __all__
