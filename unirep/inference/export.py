"""Export of a trained model as programs that run without this package.

    DIR/model.json               shapes, files, and the programs' arguments
    DIR/parameters.safetensors   weights and codebook
    DIR/MODALITY.stablehlo       program from features to codes (`jax.export`)

Programs run on CPUs, NVIDIA GPUs and TPUs, for any number of samples and time
steps. `docs/serving.md` has a loader of thirty lines.

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

from unirep.parallel import trees
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
  """Writes all files of an export, over any of an earlier one.

  Args:
    folder: created if needed.
    network: a `methods.network.Network`.
    params: its parameters.
    code_KxD: the codebook.
    settings: settings of the run that trained it.

  Returns:
    The contents of `model.json`.

  Raises:
    InputError: if the folder can't be created or a package is missing.
  """
  exports, tensors = _import("jax.export"), _import("safetensors.numpy")
  _import("flatbuffers")
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(f"{folder}: {error.strerror}") from error
  arrays = {n: np.asarray(x) for n, x in trees.named(params).items()}
  tree = jax.tree.structure(params)
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
  names = {
    n for entry in about["modalities"].values() for n in entry["weights"]
  }
  with atomic.whole(folder / WEIGHTS) as part:
    tensors.save_file({name: arrays[name] for name in sorted(names)}, part)
  atomic.write_json(folder / ABOUT, json.loads(json.dumps(about)))
  return about


def _program(exports, network, m, shape, tree, arrays, settings):
  """The program of one modality, and the names of the arrays that it takes."""
  names = [name for name in arrays if name != CODEBOOK]

  def encode(weights, x, length_B):
    params = jax.tree.unflatten(tree, [weights.get(name) for name in names])
    valid_BxT = jnp.arange(x.shape[1]) < length_B[:, None]
    mask = {m: valid_BxT} if settings["mask_padding"] else {}
    code_KxD = weights[CODEBOOK]
    idx_BxT = network.encode(params, code_KxD, {m: x}, mask)[m]
    clip_Bx1 = network.encode(params, code_KxD, {m: x}, mask, clip=True)[m]
    if m in network.fine:
      idx_BxT = jnp.where(valid_BxT, idx_BxT, -1)
    return {"steps": idx_BxT, "clip": clip_Bx1[:, 0]}

  any_size = exports.symbolic_shape(", ".join(map(str, shape)))
  inputs = (
    jax.ShapeDtypeStruct(any_size, jnp.float32),
    jax.ShapeDtypeStruct(any_size[:1], jnp.int32),
  )

  program = jax.jit(encode)

  def shapes(names):
    return {
      n: jax.ShapeDtypeStruct(arrays[n].shape, arrays[n].dtype) for n in names
    }

  # Encoding uses no decoders and no specific encoders.
  used = _used(program.trace(shapes(arrays), *inputs).jaxpr, sorted(arrays))
  export = exports.export(program, platforms=PLATFORMS)
  return export(shapes(used), *inputs), used


def _used(jaxpr, names) -> list[str]:
  """The names of those first arguments that a program reads."""
  read = {id(x) for equation in jaxpr.eqns for x in equation.invars}
  arguments = zip(names, jaxpr.jaxpr.invars, strict=False)
  return [name for name, variable in arguments if id(variable) in read]


def _import(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    package = name.split(".")[0]
    raise InputError(
      f"to export a model needs {package}: pip install 'unirep[export]'"
    ) from error
