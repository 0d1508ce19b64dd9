"""State dicts from files: safetensors and both formats of torch.save."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from unirep.errors import InputError
from unirep.extract.broken import one_line
from unirep.extract.weights import named, torch_files
from unirep.extract.weights.needs import need

DTYPES: dict[str, Any] = {  # of safetensors
  **{"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": ml_dtypes.bfloat16},
  **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"},
  "BOOL": "?",
}


class State(NamedTuple):
  """Arrays by name, and the sha256 of the file that they come from."""

  arrays: dict[str, np.ndarray]
  sha256: str


def read(name: str, file: str, wanted: str) -> State:
  """All arrays of a file that a user names.

  Args:
    name: of the extractor, for errors.
    file: its path.
    wanted: what file that should be, for errors.

  Raises:
    InputError: if there is none, or it is broken.
  """
  data = named.read(f"{name}:{file}", file, wanted)
  arrays = parse(f"{name}:{file}", data)
  return State(arrays, hashlib.sha256(data).hexdigest())


def parse(source: str, data: bytes) -> dict[str, np.ndarray]:
  """Arrays of a file's bytes, in the precision that they are kept in.

  Args:
    source: what to call the file in errors.
    data: its bytes.

  Raises:
    InputError: for another format, a broken file, or one that asks for code to
      be run.
  """
  reader = _reader(data)
  if reader is None:
    raise InputError(f"{source} is neither of torch.save nor a .safetensors")
  try:
    return reader(data)
  except InputError:
    raise
  # What a parser raises of bytes that are wrong has dozens of types.
  except Exception as error:
    what = one_line(f"{type(error).__name__}: {error}")
    raise InputError(f"{source} is broken or cut off ({what})") from error


def _reader(data: bytes) -> Callable[[bytes], dict[str, np.ndarray]] | None:
  if data[8:9] == b"{":  # behind a length, which may look like the others
    return _read_safetensors
  if data.startswith(b"PK\x03\x04"):
    return torch_files.read_zip
  if data.startswith(b"\x80"):
    return torch_files.read_legacy
  return None


def _read_safetensors(data):
  return {
    name: np.frombuffer(x["data"], DTYPES[x["dtype"]]).reshape(x["shape"])
    for name, x in need("safetensors").deserialize(data)
  }
