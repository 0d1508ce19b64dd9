"""One discrete code for audio, video and text, in JAX.

`unirep.load(workdir)` opens a trained model, see `unirep.door`.
"""


def __getattr__(name: str):
  if name == "load":  # on demand: it needs jax, flax and orbax
    from unirep.door import load

    return load
  raise AttributeError(f"module 'unirep' has no attribute {name!r}")
