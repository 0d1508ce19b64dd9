"""Import of official checkpoints.

Decoders are read where the file has them. Predictors of CPC, networks of CLUB,
optimizers, and parameters that the official networks never use are not read.

Dimensions: K codes, D code width.
"""

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from unirep.files import state_dicts
from unirep.files.state_dicts import Saved
from unirep.files.torch_pickles import Tensor
from unirep.interop.model import Like, fault, flat, nested, some
from unirep.interop.official import (
  BOOKS,
  DECODER_PART,
  ENCODER_PART,
  MODALITIES,
  UNUSED,
  Names,
  attention,
  tables_of,
)
from unirep.quantizer.codebook import FAR
from unirep.runtime.errors import InputError


class Found(NamedTuple):
  """The contents of a checkpoint, before its numbers are read.

  Attributes:
    method: "fcid" or "dcid".
    modalities: in the order of the codebook's update.
    layers: number of layers of the encoders that attend over time.
    tensors: "PART/NAME" -> tensor, for all tensors that are read.
    names: "PART/NAME" -> our path and the layout, for the same tensors.
    left_out: parts of the file, and modules that the official code never uses.
    epoch: the file's epoch, or 0.
    step: the file's step, or 0.
  """

  method: str
  modalities: tuple[str, ...]
  layers: int
  tensors: dict[str, Tensor]
  names: Names
  left_out: list[str]
  epoch: int
  step: int


def recognize(value: Any) -> Found:
  """Recognizes an official checkpoint by its names.

  Args:
    value: the object that torch.save wrote, with descriptions of its tensors.

  Raises:
    InputError: if it is of neither FCID nor DCID, or lacks names, or has
      unknown ones.
  """
  parts = _parts(value)
  encoder = parts[ENCODER_PART]
  books = [m for m, book in BOOKS.items() if f"{book}.embedding" in encoder]
  if not books:
    raise InputError(
      "it is of neither FCID nor DCID, whose state dict has "
      f"{' or '.join(f'{x}.embedding' for x in BOOKS.values())}"
    )
  method = books[0]
  modalities = tuple(
    m
    for m in MODALITIES[method]
    if method == "fcid"
    or any(str(x).startswith(f"{m}_self_att.") for x in encoder)
  )
  if len(modalities) < 2:
    raise InputError("it has fewer than two of video, audio and text")
  first = f"{attention(method, modalities[0])}.encoder.layers"
  layers = next(
    i for i in itertools.count() if f"{first}.{i}.norm1.weight" not in encoder
  )
  tables = tables_of(method, modalities, max(layers, 1))
  if DECODER_PART not in parts:
    del tables[DECODER_PART]
  names = _prefixed(tables)
  there = _prefixed({part: parts.get(part, {}) for part in tables})
  unused = [x for x in there if UNUSED.fullmatch(x)]
  _complain(
    missing=names.keys() - there.keys(),
    unknown=there.keys() - names.keys() - {*unused},
    others=[
      x for x in names.keys() & there if not isinstance(there[x], Tensor)
    ],
  )
  return Found(
    method=method,
    modalities=modalities,
    layers=layers,
    tensors={name: there[name] for name in names},
    names=names,
    left_out=_left_out(unused, parts.keys() - tables.keys()),
    epoch=_number(value, "epoch"),
    step=_number(value, "total_step"),
  )


def stored(checkpoint: Found, size: int) -> dict[str, Any]:
  """Descriptions of our arrays: {"params": ..., "codebook": ...}.

  Args:
    checkpoint: the contents, as `recognize` returns them.
    size: bytes of the file; the arrays may not take more.

  Raises:
    InputError: for broken tensors, or tensors that are too large.
  """
  likes, total = {}, 0
  for name, (path, layout) in checkpoint.names.items():
    tensor = checkpoint.tensors[name]
    try:
      state_dicts.check(tensor)
    except (TypeError, ValueError) as error:
      raise InputError(f"{_short(name)!a}: {error}") from error
    total += state_dicts.nbytes(tensor)
    if total > size:  # many tensors share their numbers
      raise InputError(f"its arrays take {total} bytes, and it has {size}")
    try:
      shape = layout.ours(_nothing(tensor.shape)).shape
    except (ValueError, OverflowError):  # `check` will refuse it
      shape = tuple(tensor.shape)
    likes[path] = Like(shape, state_dicts.dtype(tensor))
  return nested(likes)


def widths(checkpoint: Found) -> dict[str, Any]:
  """Entries of a configuration that the shapes of the arrays decide."""
  dcid = checkpoint.method == "dcid"
  specific = {}
  for m in checkpoint.modalities:
    if dcid or m != "text":
      module = f"{m.title()}_encoder" if dcid else f"{m[0]}_spe_encoder"
      inner = "conv_stack.4" if m == "video" else f"{m}_linear"
      specific[m] = _size(checkpoint, f"{module}.{inner}.weight", 0)
  module = attention(checkpoint.method, checkpoint.modalities[0])
  layer = f"{module}.encoder.layers.0"
  book = f"{BOOKS[checkpoint.method]}.embedding"
  return {
    "codes": _size(checkpoint, book, 0),
    "dim": _size(checkpoint, book, 1),
    "hidden": _size(checkpoint, f"{layer}.linear1.weight", 0),
    "layers": checkpoint.layers,
    "specific": specific,
  }


def check(checkpoint: Found, expected: Mapping[str, Any]) -> None:
  """Raises InputError if shapes do not fit the network.

  Args:
    checkpoint: the contents of a checkpoint.
    expected: descriptions of our arrays, {"params": ..., "codebook": ...}.
  """
  likes = flat(expected)
  book = likes["codebook/code_KxD"]
  wanted = {
    "codebook/code_KxD": book.shape,
    "codebook/count_K": book.shape[:1],
    "codebook/sum_KxD": book.shape,
    "codebook/age": book.shape[:1],
  }
  bad = []
  for name, (path, layout) in checkpoint.names.items():
    shape = wanted.get(path)
    if shape is None:
      shape = layout.official(_nothing(likes[path].shape)).shape
    there = tuple(checkpoint.tensors[name].shape)
    if there != shape:
      bad.append(f"{_short(name)} {str(there)[:80]}, not {shape}")
  if bad:
    more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
    raise InputError(f"of other shapes: {'; '.join(bad[:4])}{more}")


def read(checkpoint: Found, saved: Saved) -> tuple[dict, dict]:
  """Reads parameters and the fields of the codebook.

  Args:
    checkpoint: contents that `check` accepts.
    saved: the open file.

  Raises:
    InputError: for arrays that hold anything but finite numbers.
  """
  arrays = {}
  for name, (path, layout) in checkpoint.names.items():
    x = saved.array(checkpoint.tensors[name])
    if path == "codebook/age" and x.dtype.kind == "i":
      x = x.astype(np.float32)
    if bad := fault(x):
      raise InputError(f"{_short(name)} {bad}")
    if x.dtype.itemsize < 4:
      x = x.astype(np.float32)
    arrays[path] = np.ascontiguousarray(layout.ours(x))
  tree = nested(arrays)
  return tree["params"], _book(tree["codebook"], checkpoint.modalities)


def _parts(value: Any) -> dict[Any, dict[str, Any]]:
  """State dicts by part; a bare state dict is the encoder's."""
  if not isinstance(value, dict):
    raise InputError("it holds no state dict")
  for name in state_dicts.WRAPPERS:
    if isinstance(value.get(name), dict) and ENCODER_PART not in value:
      value = value[name]
  parts = {
    k: x if isinstance(x, dict) else {"": x}
    for k, x in value.items()
    if isinstance(x, dict | Tensor)
  }
  bare = any(isinstance(x, Tensor) for x in value.values())
  if ENCODER_PART not in value and bare:
    parts = {ENCODER_PART: value}
  if ENCODER_PART not in parts:
    raise InputError(f"it has no {ENCODER_PART}, and is no state dict itself")
  for part, names in parts.items():
    if names and all(str(x).startswith("module.") for x in names):
      parts[part] = {x[len("module.") :]: y for x, y in names.items()}
  return parts


def _nothing(shape: Iterable[int]) -> np.ndarray:
  """An array of a shape, whose numbers take no memory."""
  return np.broadcast_to(np.zeros((), np.int8), tuple(shape))


def _prefixed(parts: Mapping[str, Mapping[Any, Any]]) -> dict[str, Any]:
  return {
    f"{p}/{name}": x for p, names in parts.items() for name, x in names.items()
  }


def _left_out(unused: Iterable[str], parts: Iterable[Any]) -> list[str]:
  modules = {
    re.split(r"(?<=encoder_layer)\.|\.(?=weight|bias)", _short(name))[0]
    for name in unused
  }
  return sorted({*modules, *(ascii(str(x))[1:-1] for x in parts)})


def _number(value: Any, name: str) -> int:
  number = value.get(name, 0)
  if type(number) is not int or not 0 <= number < 2**31:
    raise InputError(f"its {name} is {ascii(number)[:40]}, which is no count")
  return number


def _complain(**kinds: Any) -> None:
  """Raises one InputError for all names, if there are any."""
  words = {
    "missing": "lacks",
    "unknown": "has too many",
    "others": "no tensors",
  }
  lines = [
    f"{words[kind]}: {some(map(_short, names))}"
    for kind, names in kinds.items()
    if names
  ]
  if lines:
    raise InputError("; ".join(lines))


def _short(name: str) -> str:
  """A name without its part, where that is the encoder."""
  return name.removeprefix(f"{ENCODER_PART}/")


def _size(checkpoint: Found, name: str, axis: int) -> int:
  shape = checkpoint.tensors[f"{ENCODER_PART}/{name}"].shape
  if len(shape) <= axis:
    raise InputError(f"{name} has the shape {tuple(shape)}")
  return shape[axis]


def _book(book: Mapping[str, Any], modalities) -> dict[str, Any]:
  code_KxD = book["code_KxD"]
  # Official networks assign codes that have decayed to zero too. Ours take a
  # zero vector for a code that is asleep, so these get tiny numbers instead:
  # see `mm_ema`.
  tiny = np.finfo(np.float32).tiny
  gone_K = (np.abs(code_KxD) < tiny).all(1)
  return {
    "code_KxD": np.where(gone_K[:, None], tiny, code_KxD).astype(
      code_KxD.dtype
    ),
    "count_K": book["count_K"],
    "sum_KxD": book["sum_KxD"],
    "age": dict.fromkeys(modalities, book["age"]),
    "tenure_K": np.full(len(code_KxD), FAR, np.float32),
  }
