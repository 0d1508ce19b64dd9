"""State dicts in files: safetensors, and both formats of torch.save."""

import contextlib
import hashlib
import importlib
import io
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from unirep.files import guard, torch_reader
from unirep.files.torch_pickles import Storage
from unirep.runtime.errors import InputError, one_line

# `safetensors.numpy.load` does not know BF16.
_DTYPES: dict[str, Any] = {
  **{"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": ml_dtypes.bfloat16},
  **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"},
  "BOOL": "?",
}
HEADER = 2**24  # bytes of a safetensors header: a hundred for each array


class State(NamedTuple):
  """Arrays by name, and the sha256 of the file that they come from."""

  arrays: dict[str, np.ndarray]
  sha256: str


def read(name: str, file: str, wanted: str) -> State:
  """Reads all arrays of a file that a user names.

  Args:
    name: the extractor, for errors.
    file: its path.
    wanted: the file that it should be, for errors.

  Raises:
    InputError: if there is no such file, or it is broken.
  """
  data = guard.read(f"{name}:{file}", file, wanted)
  arrays = parse(f"{name}:{file}", data)
  return State(arrays, hashlib.sha256(data).hexdigest())


def parse(source: str, data: bytes) -> dict[str, np.ndarray]:
  """The arrays in a file's bytes, in the precision of the file.

  Args:
    source: the name of the file in errors.
    data: its bytes.

  Raises:
    InputError: for another format, a broken file, or one that asks for code to
      be run.
  """
  parser = _parser(data)
  if parser is None:
    raise InputError(f"{source} is neither of torch.save nor a .safetensors")
  with whole(source):
    return parser(data)


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[torch_reader.Saved]:
  """Opens a file of torch.save of any size; arrays are read one by one.

  Raises:
    InputError: as `parse`, or if the file can't be read.
  """
  with guard.opened(str(path), path) as stream:
    head = stream.read(4)
    stream.seek(0)
    if head == b"PK\x03\x04":
      open_ = torch_reader.open_zip
    elif head[:1] == b"\x80":
      open_ = torch_reader.open_legacy
    else:
      raise InputError(f"{path} is no file of torch.save")
    with whole(str(path)):
      saved = open_(stream)

    def numbers(storage: Storage) -> np.ndarray:
      with whole(str(path)):
        return saved.numbers(storage)

    yield saved._replace(numbers=numbers)


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Arrays of a .safetensors file; raises InputError as `opened` does."""
  data = guard.read_bytes(path)
  with whole(str(path)):
    return _parse_safetensors(data)


def write_tensors(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes a .safetensors file, the same bytes for the same arrays.

  Raises:
    InputError: if the package safetensors is missing.
  """
  package = _package("safetensors.numpy")
  # The package writes the memory of an array as it lies there.
  ordered = {name: np.asarray(x, order="C") for name, x in arrays.items()}
  path.write_bytes(package.save(ordered))


@contextlib.contextmanager
def whole(source: str) -> Iterator[None]:
  """Turns any exception of a parser into one line that names the file."""
  try:
    yield
  except InputError:
    raise
  # Broken bytes make parsers raise dozens of types.
  except Exception as error:
    line = one_line(f"{type(error).__name__}: {error}")
    raise InputError(f"{source} is broken or cut off ({line})") from error


def _parser(data: bytes) -> Callable[[bytes], dict[str, np.ndarray]] | None:
  if data[8:9] == b"{":  # behind a length, which may look like the others
    return _parse_safetensors
  if data.startswith(b"PK\x03\x04"):
    return _parse_torch(torch_reader.open_zip)
  if data.startswith(b"\x80"):
    return _parse_torch(torch_reader.open_legacy)
  return None


def _parse_torch(open_):
  return lambda data: torch_reader.arrays(open_(io.BytesIO(data)))


def _parse_safetensors(data: bytes) -> dict[str, np.ndarray]:
  if int.from_bytes(data[:8], "little") > HEADER:
    raise ValueError(f"its header has more than {HEADER} bytes")
  tensors = dict(_package("safetensors").deserialize(data))
  return {
    name: np.frombuffer(x["data"], _DTYPES[x["dtype"]]).reshape(x["shape"])
    for name, x in sorted(tensors.items())
  }


def _package(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise InputError(
      "files of safetensors need a package: pip install 'unirep[export]'"
    ) from error
