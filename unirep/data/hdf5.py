"""Datasets of HDF5 files: plain numbers that lie in this very file."""

import importlib
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from unirep.files import guard
from unirep.runtime.errors import InputError

DEEPEST = 3  # groups within each other; they may hold themselves
_MOST = 10_000  # datasets of a file


def datasets(path: guard.Path) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
  """Key -> (dtype, shape) of all datasets.

  Raises:
    InputError: for a file that is broken, or a dataset that `check` refuses.
  """
  h5py = _package(path)
  guard.check(path)
  with guard.reading(path), h5py.File(path, "r") as file:
    return {
      key: (item.dtype, item.shape) for key, item in _below(file, path, "")
    }


def dataset(path: guard.Path, key: str) -> Any:
  """An open dataset; its file is open as long as that lives.

  Raises:
    InputError: as `datasets`, or if there is none of that name.
  """
  h5py = _package(path)
  guard.check(path)
  with guard.reading(path):
    file = h5py.File(path, "r")
    _check_link(file, key, path, key)
    item = file[key]
    if not isinstance(item, h5py.Dataset):
      raise InputError(f"{path}: no dataset {key!r}, but a group")
    check(item, path, key)
    return item


def array(path: guard.Path, key: str) -> np.ndarray:
  """One whole dataset.

  Raises:
    InputError: as `dataset`, or if it is more than memory should take.
  """
  item = dataset(path, key)
  if item.nbytes > guard.ROOM:
    raise InputError(
      f"{path}: {key!r} takes {item.nbytes} bytes of memory; at most"
      f" {guard.ROOM}"
    )
  with guard.reading(path):
    return item[()]


def _package(path):
  try:
    return importlib.import_module("h5py")
  except ImportError as error:
    raise InputError(
      f"{path} is HDF5 and h5py is not installed; pip install h5py"
    ) from error


def _below(
  group: Any, path: guard.Path, prefix: str
) -> Iterator[tuple[str, Any]]:
  """Yields (key, dataset) of a group and those in it."""
  import h5py

  if len(group) > _MOST:
    raise InputError(f"{path}: {prefix!r} holds {len(group)} names")
  for name in group:
    key = prefix + name
    _check_link(group, name, path, key)
    item = group[name]
    if isinstance(item, h5py.Group):
      if key.count("/") >= DEEPEST:
        raise InputError(f"{path}: {key!r} is nested too deep")
      yield from _below(item, path, f"{key}/")
    elif isinstance(item, h5py.Dataset):
      check(item, path, key)
      yield key, item


def _check_link(group, name, path, key):
  import h5py

  if name not in group:
    has = ", ".join(group) or "none"
    raise InputError(f"{path}: no dataset {key!r}; it has {has}")
  if not isinstance(group.get(name, getlink=True), h5py.HardLink):
    raise InputError(f"{path}: {key!r} is a link; store the array itself")


def check(item: Any, path: guard.Path, key: str) -> None:
  """Checks that a dataset can be read, all of it from this file.

  Raises:
    InputError: for one in another file, of other than numbers, of no rank, that
      was never written as a whole, or packed in a way that is unknown or too
      large.
  """
  if item.external or item.is_virtual:
    raise InputError(
      f"{path}: {key!r} is stored in another file; store the array itself"
    )
  if not item.shape:
    raise InputError(
      f"{path}: {key!r} has the shape {item.shape}; the first axis is the"
      " sample"
    )
  if item.dtype.kind not in "fiub":
    raise InputError(
      f"{path}: {key!r} must hold real numbers, got {item.dtype}"
    )
  if 0 in item.shape:
    return  # whoever takes it says so
  if item.chunks:
    _check_chunks(item, path, key)
  else:
    _check_contiguous(item, path, key)


def _check_contiguous(item, path, key):
  there = item.id.get_storage_size()
  begin = item.id.get_offset()  # None where it lies in the header itself
  length = pathlib.Path(path).stat().st_size
  if there < item.nbytes or (begin is not None and begin + there > length):
    raise InputError(
      f"{path}: {key!r} was never written, or is cut off: {there} bytes of"
      f" {item.nbytes}"
    )


def _check_chunks(item, path, key):
  import h5py

  of_filters = item.id.get_create_plist()
  for i in range(of_filters.get_nfilters()):
    code, _, _, name = of_filters.get_filter(i)
    if not h5py.h5z.filter_avail(code):
      raise InputError(
        f"{path}: {key!r} is packed by the filter {code} ({name!r}), which is"
        " not installed; write it with gzip, or as it is"
      )
  chunk = math.prod(item.chunks) * item.dtype.itemsize
  if chunk > guard.ROOM:
    raise InputError(
      f"{path}: {key!r} has chunks of {chunk} bytes; at most {guard.ROOM}, one"
      " sample each is best"
    )
  sizes = zip(item.shape, item.chunks, strict=True)
  needed = math.prod(math.ceil(n / c) for n, c in sizes)
  there = item.id.get_num_chunks()
  if there < needed:
    raise InputError(
      f"{path}: {key!r} was never written as a whole: {there} chunks of"
      f" {needed} are there"
    )
