"""Files of safetensors: a header of JSON, and numbers.

They are read and written here, and not by the package of that name, which takes
the second of two arrays with one name, and all of a file at once.
"""

import json
import math
import pathlib
import struct
from collections.abc import Iterable, Mapping
from typing import IO, Any

import ml_dtypes
import numpy as np

DTYPES: dict[str, Any] = {
  **{"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": ml_dtypes.bfloat16},
  **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"},
  "BOOL": "?",
}
NAMES = {np.dtype(x): name for name, x in DTYPES.items()}
LARGEST = 2**24  # bytes of a header: a hundred for each array


def read(stream: IO[bytes]) -> dict[str, np.ndarray]:
  """All arrays of a file.

  Raises:
    ValueError: for one that is not as the format wants it. Others (KeyError,
      TypeError) for nonsense.
  """
  (length,) = struct.unpack("<Q", stream.read(8))
  if length > LARGEST:
    raise ValueError(f"it has a header of {length} bytes, not {LARGEST}")
  header = json.loads(stream.read(length), object_pairs_hook=_once)
  header.pop("__metadata__", None)
  size = stream.seek(0, 2) - 8 - length
  end, found = 0, {}
  for name, said in sorted(header.items(), key=lambda x: x[1]["data_offsets"]):
    shape, dtype = said["shape"], np.dtype(DTYPES[said["dtype"]])
    if not all(type(n) is int and n >= 0 for n in shape):
      raise ValueError(f"{name!r} has the shape {shape}")
    first, last = said["data_offsets"]
    if first != end or last - first != math.prod(shape) * dtype.itemsize:
      raise ValueError(f"{name!r} does not lie where its neighbours end")
    if last > size:
      raise ValueError(f"{name!r} lies outside of the file")
    stream.seek(8 + length + first)
    data = stream.read(last - first)
    found[name], end = np.frombuffer(data, dtype).reshape(shape), last
  if end != size:
    raise ValueError(f"it has {size - end} bytes that belong to nothing")
  return found


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays, the same bytes for the same arrays."""
  header, end = {}, 0
  for name, x in sorted(arrays.items()):
    header[name] = {
      "dtype": NAMES[x.dtype],
      "shape": list(x.shape),
      "data_offsets": [end, end + x.nbytes],
    }
    end += x.nbytes
  data = json.dumps(header, separators=(",", ":")).encode()
  data += b" " * (-len(data) % 8)
  with path.open("wb") as file:
    file.write(struct.pack("<Q", len(data)) + data)
    for name in header:
      file.write(np.ascontiguousarray(arrays[name]).tobytes())


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
  found: dict[str, Any] = {}
  for name, x in pairs:
    if name in found:
      raise ValueError(f"it has {name!r} twice")
    found[name] = x
  return found
