"""Digests that tell data from other data under the same name.

The digest of a file is of its size and content; of a large file, of some blocks
and the time of the last change. The digest of arrays in memory is of their
content, that of other sources of some of their samples.
"""

import hashlib
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from unirep.data import formats
from unirep.data.sample import Source

SAMPLES = 16  # of a source that enter its digest
BLOCKS, BLOCK = 64, 2**16  # blocks of a large file, and bytes of each


def of(source: Source) -> str:
  """One line: the number of samples, their size, and a digest.

  Raises:
    InputError: for a sample that can't be read.
  """
  digest = hashlib.sha256(str(len(source)).encode())
  spread = np.linspace(0, len(source) - 1, SAMPLES).round().astype(int)
  for i in sorted({*spread.tolist()}):
    sample = source[i]
    for part in ("features", "lengths", "labels", "present"):
      _add(digest, sample.get(part, {}).items())
  names = files(source)
  for path in names:
    digest.update(_file(path))
  size = sum(path.stat().st_size for path in names)
  where = f" in {len(names)} files of {size} bytes" if names else ""
  return f"{len(source)} samples{where}, {digest.hexdigest()[:16]}"


def files(source: Any) -> list[pathlib.Path]:
  """The files that a source reads its features from, if it lists them."""
  names: set[str] = set()
  for path in getattr(source, "files", list)():
    place = pathlib.Path(path)
    names |= {str(x) for x in _below(place)} if place.is_dir() else {path}
  return [pathlib.Path(x) for x in sorted(names)]


def place(path: pathlib.Path) -> str:
  """A digest of a file of features, or of all files in a folder."""
  names = sorted(_below(path)) if path.is_dir() else [path]
  digest = hashlib.sha256()
  for name in names:
    digest.update(str(name.relative_to(path)).encode() + _file(name))
  return digest.hexdigest()[:16]


def _below(folder: pathlib.Path) -> Iterator[pathlib.Path]:
  for path in folder.rglob("*"):
    if path.is_file() and not path.name.startswith("."):
      yield path


def _add(digest: Any, arrays: Iterable[tuple[str, Any]]) -> None:
  for name, x in sorted(arrays):
    x = np.ascontiguousarray(x)
    digest.update(f"{name} {x.dtype} {x.shape} ".encode())
    digest.update(x.tobytes())


def _file(path: pathlib.Path) -> bytes:
  """A digest of a file's content, or of some blocks of it."""
  with path.open("rb") as file:
    about = os.fstat(file.fileno())
    if about.st_size <= max(formats.CHECKED, BLOCKS * BLOCK):
      return hashlib.file_digest(file, "sha256").digest()
    digest = hashlib.sha256(f"{about.st_size} {about.st_mtime_ns}".encode())
    for at in np.linspace(0, about.st_size - BLOCK, BLOCKS).astype(int):
      file.seek(int(at))
      digest.update(file.read(BLOCK))
    return digest.digest()
