"""State dicts from files: safetensors and both formats of torch.save."""

import contextlib
import hashlib
import io
import pathlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

import numpy as np

from unirep.files import guard, safetensors, torch_reader
from unirep.files.torch_pickles import Storage
from unirep.runtime.errors import InputError, one_line


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
  data = guard.read(f"{name}:{file}", file, wanted)
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
  with whole(source):
    return reader(data)


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[torch_reader.Saved]:
  """A file of torch.save, of any size: what is asked for is read.

  Raises:
    InputError: as `parse` does, or if the file can't be read.
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
  with guard.opened(str(path), path) as stream, whole(str(path)):
    return safetensors.read(stream)


@contextlib.contextmanager
def whole(source: str) -> Iterator[None]:
  """Makes one line of what a parser says of bytes that are wrong."""
  try:
    yield
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
    return torch_reader.read_zip
  if data.startswith(b"\x80"):
    return torch_reader.read_legacy
  return None


def _read_safetensors(data: bytes) -> dict[str, np.ndarray]:
  stream: IO[bytes] = io.BytesIO(data)
  return safetensors.read(stream)
