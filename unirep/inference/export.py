"""A trained model as programs that run without this package.

    DIR/model.json               what there is, and the order of things
    DIR/parameters.safetensors   weights and codebook
    DIR/MODALITY.stablehlo       features to codes, as `jax.export` writes it

Programs are for CPUs, NVIDIA GPUs and TPUs, and for any number of samples and
time steps. `docs/serving.md` has a loader of thirty lines.

Dimensions: B samples, T time, F feature width, K codes, D code width.
"""

import hashlib
import importlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from unirep.runtime import atomic
from unirep.runtime.errors import InputError

FORMAT = 1
PLATFORMS = ("cpu", "cuda", "tpu")
CODEBOOK = "codebook"
WEIGHTS, ABOUT = "parameters.safetensors", "model.json"


def write(
  folder: pathlib.Path,
  network: Any,
  params: Any,
  code_KxD: np.ndarray,
  settings: Mapping[str, Any],
) -> dict[str, Any]:
  """Writes all files; what stood there under their names is replaced.

  Args:
    folder: made if needed.
    network: a `methods.network.Network`.
    params: its parameters.
    code_KxD: the codebook.
    settings: of the run that trained it.

  Returns:
    What `model.json` holds.

  Raises:
    InputError: where a package that it needs is missing.
  """
  exports, tensors = _needed("jax.export"), _needed("safetensors.numpy")
  _needed("flatbuffers")
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(f"{folder}: {error.strerror}") from error
  arrays, tree = _named(params)
  arrays[CODEBOOK] = np.asarray(code_KxD)
  about: dict[str, Any] = {
    "format": FORMAT,
    "codes": len(code_KxD),
    "platforms": PLATFORMS,
    "jax": jax.__version__,
    "weights": WEIGHTS,
    "modalities": {},
    "settings": settings,
  }
  for m in network.order:
    shape = ["B", "T", *network.kind(m).axes[:-1], network.width(params, m)]
    program, used = _program(exports, network, m, shape, tree, arrays, settings)
    data = bytes(program.serialize())
    name = f"{m}.stablehlo"
    with atomic.whole(folder / name) as part:
      part.write_bytes(data)
    about["modalities"][m] = {
      "program": name,
      "sha256": hashlib.sha256(data).hexdigest(),
      "weights": used,
      "features": shape,
      "stepwise": m in network.fine,
    }
  needed = {
    n for entry in about["modalities"].values() for n in entry["weights"]
  }
  with atomic.whole(folder / WEIGHTS) as part:
    tensors.save_file({name: arrays[name] for name in sorted(needed)}, part)
  atomic.write_json(folder / ABOUT, json.loads(json.dumps(about)))
  return about


def _named(params) -> tuple[dict[str, np.ndarray], Any]:
  """Arrays by their path, and how they were nested."""
  flat, tree = jax.tree_util.tree_flatten_with_path(params)
  arrays = {
    jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
    for path, leaf in flat
  }
  return arrays, tree


def _program(exports, network, m, shape, tree, arrays, settings):
  """The program of one modality, and the names of what it takes."""
  names = [name for name in arrays if name != CODEBOOK]

  def encode(weights, x, length_B):
    params = jax.tree.unflatten(tree, [weights.get(name) for name in names])
    valid_BxT = jnp.arange(x.shape[1]) < length_B[:, None]
    mask = {m: valid_BxT} if settings["mask_padding"] else {}
    args = params, weights[CODEBOOK], {m: x}, mask
    idx_BxT = network.encode(*args)[m]
    if m in network.fine:
      idx_BxT = jnp.where(valid_BxT, idx_BxT, -1)
    return {"steps": idx_BxT, "clip": network.encode(*args, clip=True)[m][:, 0]}

  any_size = exports.symbolic_shape(", ".join(map(str, shape)))
  inputs = (
    jax.ShapeDtypeStruct(any_size, jnp.float32),
    jax.ShapeDtypeStruct(any_size[:1], jnp.int32),
  )

  program = jax.jit(encode)

  def like(names):
    return {
      n: jax.ShapeDtypeStruct(arrays[n].shape, arrays[n].dtype) for n in names
    }

  # Decoders and specific encoders are not asked for anything.
  used = _used(program.trace(like(arrays), *inputs).jaxpr, sorted(arrays))
  export = exports.export(program, platforms=PLATFORMS)
  return export(like(used), *inputs), used


def _used(jaxpr, names) -> list[str]:
  """Which of the first arguments a program looks at."""
  seen = {id(x) for equation in jaxpr.eqns for x in equation.invars}
  arguments = zip(names, jaxpr.jaxpr.invars, strict=False)
  return [name for name, variable in arguments if id(variable) in seen]


def _needed(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    package = name.split(".")[0]
    raise InputError(
      f"to export a model needs {package}: pip install 'unirep[export]'"
    ) from error
