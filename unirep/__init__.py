"""One discrete code for audio, video and text, in JAX.

`unirep.load(workdir)` opens a trained model, see `unirep.tokenizer`.
"""


def __getattr__(name: str):
  if name == "load":  # on demand: it needs jax, flax and orbax
    from unirep.tokenizer import load

    return load
  raise AttributeError(f"module 'unirep' has no attribute {name!r}")
