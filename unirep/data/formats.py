"""Files and folders of named arrays, opened without reading them.

A key is `<modality>`, `length/<modality>` or `label/<name>`. A path is one of

  an .npz file: members under their keys;
  an HDF5 file: datasets under their keys, so groups `length` and `label`;
  a folder of .npy files: `KEY.npy`, so sub-folders `length` and `label`;
  a folder of shards, each one of the above, joined in the order of their names.

The content of a file decides its format, not its name.
"""

import os
import pathlib
import re
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import h5py

from unirep.data.columns import Column, Packed, Part, Raw, hdf5_parts
from unirep.files import guard, npy, zips
from unirep.files.npy import Header
from unirep.runtime.errors import InputError

CHECKED = 2**28  # bytes of data that are looked at as a whole beforehand
KINDS = "an .npz or HDF5 file, or a folder of .npy files or of such shards"
_LOCAL_HEADER = 30  # bytes of a member's own header, before its name
_LENGTHS = 26  # the byte of that header where the lengths of both stand


def large(columns: Mapping[str, Any]) -> bool:
  """Whether columns have too many bytes to look at all of them beforehand."""
  return sum(x.nbytes for x in columns.values()) > CHECKED


def read(path: str | os.PathLike[str]) -> dict[str, Column]:
  """Opens the arrays of a file or folder: a column for each key.

  Raises:
    InputError: if there is none, or one is cut off, broken, or no plain array
      in C order; if shards differ in keys or shapes, or one is missing.
  """
  path = pathlib.Path(path)
  with guard.reading(path):
    return _read(path)


def check_room(path: guard.Path, columns: Mapping[str, Any]) -> None:
  """Raises InputError for packed arrays that are too large to be held."""
  parts = [p for x in columns.values() for p in getattr(x, "parts", ())]
  held = sum(p.nbytes for p in parts if isinstance(p, Packed))
  mend = "write them by np.savez in C order, or as .npy or HDF5"
  guard.check_room(f"{path}: all that is packed", held, mend=mend)


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
  if not path.exists():
    raise InputError(f"{path}: no such file or folder; give {KINDS}")
  guard.check(path)
  if zipfile.is_zipfile(path):
    return _npz(path)
  if h5py.is_hdf5(path):
    return dict(hdf5_parts(path))
  raise InputError(
    f"{path}: cannot read the file; it is not {KINDS}, or broken"
  )


def _folder(path: pathlib.Path) -> dict[str, Part]:
  parts: dict[str, Part] = {}
  for folder, below, names in os.walk(path, onerror=_raise):
    below[:] = sorted(n for n in below if not n.startswith("."))
    for name in sorted(names):
      file = pathlib.Path(folder, name)
      if file.suffix == ".npy" and not name.startswith("."):
        key = file.relative_to(path).with_suffix("").as_posix()
        parts[key] = _npy(file)
  if not parts:
    raise InputError(f"{path} holds no .npy file")
  return parts


def _raise(error):
  raise error


def _npy(path: pathlib.Path) -> Part:
  guard.check(path)
  with guard.reading(path), path.open("rb") as file:
    of = _header(file)
    if of.fortran:
      raise ValueError(
        "it is in Fortran order; save np.ascontiguousarray of it"
      )
    npy.check_size(of, path.stat().st_size - file.tell())
    return Raw(str(path), of.dtype, of.shape, file.tell())


def _npz(path: pathlib.Path) -> dict[str, Part]:
  parts: dict[str, Part] = {}
  with zips.opened(path) as archive, path.open("rb") as raw:
    members = npy.keyed(archive)
    if sum(m.file_size for m in members.values()) <= CHECKED:
      damaged = archive.testzip()  # by checksums, in little memory
      if damaged:
        key = damaged.removesuffix(npy.SUFFIX)
        raise ValueError(f"key {key!r} is damaged: its checksum is wrong")
    for key, info in members.items():
      try:
        with archive.open(info) as file:
          of, offset = _header(file), file.tell()
        npy.check_size(of, info.file_size - offset)
        if info.compress_type != zipfile.ZIP_STORED or of.fortran:
          parts[key] = Packed(str(path), of.dtype, of.shape, key)
        else:
          begin = _begin(raw, info) + offset
          parts[key] = Raw(str(path), of.dtype, of.shape, begin)
      except guard.BROKEN as error:
        raise ValueError(f"key {key!r}: {guard.reason(error)}") from error
  return parts


def _begin(raw, info) -> int:
  """The byte that a plain member begins at; all of the member must be there.

  It lies behind a header, its name and an extra field, which may be longer
  here than in the list of members.
  """
  raw.seek(info.header_offset + _LENGTHS)
  begin = info.header_offset + _LOCAL_HEADER
  begin += sum(struct.unpack("<HH", raw.read(4)))
  there = raw.seek(0, os.SEEK_END) - begin
  if there < info.file_size:
    raise ValueError(f"it is cut off: {there} bytes of {info.file_size}")
  return begin


def _header(file: Any) -> Header:
  """The header of an array that has samples."""
  of = npy.header(file)
  if not of.shape:
    raise ValueError("its shape is (); the first axis is the sample")
  return of


def _check_numbers(path, names):
  """Refuses a gap in the numbers of shards, if these begin at 0 or 1."""
  matches = [re.fullmatch(r"(\D*)(\d+)(\D.*)?", name) for name in names]
  if len({m and (m[1], m[3]) for m in matches}) > 1 or not all(matches):
    return
  numbers = {int(m[2]) for m in matches if m}
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
