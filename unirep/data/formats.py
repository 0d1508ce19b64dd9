"""Files and folders of named arrays, opened without reading them.

A key is `<modality>`, `length/<modality>` or `label/<name>`. A path is one of

  an .npz file: members under their keys;
  an HDF5 file: datasets under their keys, so groups `length` and `label`;
  a folder of .npy files: `KEY.npy`, so sub-folders `length` and `label`;
  a folder of shards, each one of the above, joined in the order of their names.

What it is decides its content, not its name.
"""

import os
import pathlib
import re
import stat
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from unirep.data.columns import BROKEN, Column, Hdf5, Packed, Part, Raw
from unirep.errors import InputError

CHECKED = 2**28  # bytes up to which data are looked at as a whole beforehand
KINDS = "an .npz or HDF5 file, or a folder of .npy files or of such shards"
_LOCAL_HEADER = 30  # bytes of a zip's own header before a member's name


def large(columns: Mapping[str, Any]) -> bool:
  """Whether they are too many bytes to look at as a whole beforehand."""
  return sum(x.nbytes for x in columns.values()) > CHECKED


def read(path: str | os.PathLike[str]) -> dict[str, Column]:
  """Opens the arrays of a file or folder: key -> column.

  Raises:
    InputError: if there is none, or one is cut off, broken, or no plain array
      in C order; if shards differ in keys or shapes, or one is missing.
  """
  path = pathlib.Path(path)
  return _guarded(path, lambda: _read(path))


def shards(path: pathlib.Path) -> list[pathlib.Path]:
  """The files or folders of features that lie in a folder, in their order.

  That is `path` itself if it is a file, or a folder of .npy files.
  """
  if not path.is_dir():
    return [path]
  names = sorted(n for n in os.listdir(path) if not n.startswith("."))
  return [x for x in (path / n for n in names) if _is_shard(x)] or [path]


def _read(path: pathlib.Path) -> dict[str, Column]:
  if not path.is_dir():
    return {key: Column([part]) for key, part in _file(path).items()}
  names = sorted(n for n in os.listdir(path) if not n.startswith("."))
  flat = [name for name in names if name.endswith(".npy")]
  shards = [path / name for name in names if _is_shard(path / name)]
  files = [shard.name for shard in shards if not shard.is_dir()]
  if flat and files:
    raise InputError(
      f"{path} holds both {flat[0]} and {files[0]}; it may be a folder of .npy"
      " files, or of shards"
    )
  if flat:
    return {key: Column([part]) for key, part in _folder(path).items()}
  if not shards:
    raise InputError(f"{path} holds no features; give {KINDS}")
  _check_numbers(path, [shard.name for shard in shards])
  return _join({shard: _shard(shard) for shard in shards})


def _is_shard(path):
  if path.suffix in (".npz", ".h5", ".hdf5"):
    return True
  return path.is_dir() and path.name not in ("length", "label")


def _shard(path):
  return _folder(path) if path.is_dir() else _file(path)


def _file(path: pathlib.Path) -> dict[str, Part]:
  import h5py

  if not path.exists():
    raise InputError(f"{path}: no such file or folder; give {KINDS}")
  if not path.is_file():
    raise InputError(f"{path} is no file of features; give {KINDS}")
  if zipfile.is_zipfile(path):
    return _guarded(path, lambda: _npz(path))
  if h5py.is_hdf5(path):
    return _guarded(path, lambda: _hdf5(path))
  raise InputError(
    f"{path}: cannot read the file; it is not {KINDS}, or broken"
  )


def _folder(path: pathlib.Path) -> dict[str, Part]:
  found: dict[str, Part] = {}
  for folder, below, names in os.walk(path, onerror=_raise):
    below[:] = sorted(n for n in below if not n.startswith("."))
    for name in sorted(names):
      file = pathlib.Path(folder, name)
      if file.suffix == ".npy" and not name.startswith("."):
        key = file.relative_to(path).with_suffix("").as_posix()
        found[key] = _guarded(file, lambda file=file: _npy(file))
  if not found:
    raise InputError(f"{path} holds no .npy file")
  return found


def _raise(error):
  raise error


def _npy(path: pathlib.Path) -> Part:
  if not stat.S_ISREG(path.stat().st_mode):
    raise ValueError("it is no file")
  with path.open("rb") as file:
    dtype, shape, fortran = _header(file)
    if fortran:
      raise ValueError(
        "it is in Fortran order; save np.ascontiguousarray of it"
      )
    part = Raw(str(path), dtype, shape, file.tell())
  _check_size(part, path.stat().st_size - part.offset)
  return part


def _npz(path: pathlib.Path) -> dict[str, Part]:
  found: dict[str, Part] = {}
  with zipfile.ZipFile(path) as archive, path.open("rb") as raw:
    members = [m for m in archive.infolist() if not m.is_dir()]
    if sum(m.file_size for m in members) <= CHECKED:
      broken = archive.testzip()
      if broken:
        raise ValueError(f"key {broken.removesuffix('.npy')!r} is damaged")
    for info in members:
      key = info.filename.removesuffix(".npy")
      try:
        with archive.open(info) as file:
          dtype, shape, fortran = _header(file)
          offset = file.tell()
        if info.compress_type != zipfile.ZIP_STORED or fortran:
          found[key] = Packed(str(path), key, dtype, shape)
          continue
        raw.seek(info.header_offset)
        local = raw.read(_LOCAL_HEADER)
        # A member begins behind its name and its extra field.
        begin = info.header_offset + len(local)
        begin += int.from_bytes(local[26:28], "little")
        begin += int.from_bytes(local[28:30], "little")
        part = Raw(str(path), dtype, shape, begin + offset)
        _check_size(part, info.file_size - offset)
        found[key] = part
      except BROKEN as error:
        raise ValueError(f"key {key!r}: {error}") from error
  return found


def _header(file: Any) -> tuple[np.dtype, tuple[int, ...], bool]:
  """(dtype, shape, Fortran order) of an array in numpy's format."""
  version = np.lib.format.read_magic(file)
  read_header = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }
  if version not in read_header:
    raise ValueError(f"format {version} is not for plain arrays of numbers")
  shape, fortran, dtype = read_header[version](file)
  if dtype.hasobject:
    raise ValueError("it holds Python objects; save plain numbers")
  if not shape or min(shape) < 0:
    raise ValueError(f"its shape is {shape}; the first axis is the sample")
  return dtype, shape, fortran


def _check_size(part: Part, room: int) -> None:
  need = int(np.prod(part.shape, dtype=object)) * part.dtype.itemsize
  if room < need:
    raise ValueError(f"it is cut off: {room} bytes of {need} are there")


def _hdf5(path: pathlib.Path) -> dict[str, Part]:
  import h5py

  with h5py.File(path, "r") as file:
    return dict(_datasets(file, path))


def _datasets(
  group: Any, path: pathlib.Path, prefix: str = ""
) -> Iterator[tuple[str, Part]]:
  """Yields (key, dataset) of what lies in this very file."""
  import h5py

  for name in group:
    key = prefix + name
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
      raise InputError(f"{path}: {key!r} is a link; store the array itself")
    item = group[name]
    if isinstance(item, h5py.Group):
      if key.count("/") > 2:  # groups may hold themselves
        raise InputError(f"{path}: {key!r} is nested too deep")
      yield from _datasets(item, path, f"{key}/")
    elif isinstance(item, h5py.Dataset):
      if item.external or item.is_virtual:
        raise InputError(
          f"{path}: {key!r} is stored in another file; store the array itself"
        )
      if not item.shape:
        raise InputError(
          f"{path}: {key!r} has the shape {item.shape}; the first axis is the"
          " sample"
        )
      yield key, Hdf5(str(path), key, item.dtype, item.shape)


def _check_numbers(path, names):
  """Where shards are numbered from 0 or 1 on, none may be missing."""
  found = [re.fullmatch(r"(\D*)(\d+)(\D.*)?", name) for name in names]
  if len({m and (m[1], m[3]) for m in found}) > 1 or not all(found):
    return
  numbers = {int(m[2]) for m in found if m}
  low, high = min(numbers), max(numbers)
  missing = next((n for n in range(low, high) if n not in numbers), None)
  if low <= 1 and missing is not None:  # others are dates, and the like
    raise InputError(
      f"{path}: shard {missing} is missing between {names[0]} and {names[-1]};"
      " add it, or rename the others"
    )


def _join(
  shards: Mapping[pathlib.Path, Mapping[str, Part]],
) -> dict[str, Column]:
  """Columns over all shards, which must agree in all but their sizes."""
  first_path, first = next(iter(shards.items()))
  for path, parts in shards.items():
    other = parts.keys() ^ first.keys()
    if other:
      key = min(other)
      have, lack = (path, first_path) if key in parts else (first_path, path)
      raise InputError(f"{have} has {key!r}, but {lack} has not")
    sizes = {key: part.shape[0] for key, part in parts.items()}
    for key, part in parts.items():
      if part.shape[1:] != first[key].shape[1:]:
        raise InputError(
          f"{path}: {key!r} is {part.shape}, but {first[key].shape} in"
          f" {first_path}; all but the first axis must agree"
        )
      if sizes[key] != sizes[min(sizes)]:
        raise InputError(
          f"{path}: {key!r} has {sizes[key]} samples, but {min(sizes)!r} has"
          f" {sizes[min(sizes)]}"
        )
  return {key: Column([s[key] for s in shards.values()]) for key in first}


def _guarded(path, function):
  """What `function` returns; what it trips over, in one line."""
  try:
    return function()
  except InputError:
    raise
  except BROKEN as error:
    line = " ".join(str(error).split())
    raise InputError(f"{path}: cannot read it ({line})") from error
