"""One discrete code for audio, video and text, in JAX.

`unirep.load(workdir)` opens a trained model, see `unirep.tokenizer`.
"""

from typing import Any

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
  # On demand: it needs jax, flax and orbax.
  if name == "load":
    from unirep.tokenizer import load

    return load
  if name == "__version__":
    from importlib.metadata import version

    return version("unirep")
  raise AttributeError(f"module 'unirep' has no attribute {name!r}")


def __dir__() -> list[str]:
  return __all__
