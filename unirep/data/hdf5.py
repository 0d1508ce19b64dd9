"""Datasets of HDF5 files: plain numbers that lie in the file itself."""

import math
import os
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from unirep.files import guard
from unirep.runtime.errors import InputError

DEEPEST = 3  # groups within each other; they may hold themselves
_MOST = 10_000  # names in a group


def datasets(path: guard.Path) -> dict[str, tuple[np.dtype, tuple[int, ...]]]:
  """The dtype and the shape of each dataset, by key.

  Raises:
    InputError: for a file that is broken, or a dataset that `check` refuses.
  """
  guard.check(path)
  with guard.reading(path), h5py.File(path, "r") as file:
    return {key: (x.dtype, x.shape) for key, x in _below(file, path, "")}


def dataset(path: guard.Path, key: str) -> h5py.Dataset:
  """An open dataset; its file is open as long as the dataset lives.

  Raises:
    InputError: as `datasets`, or if there is none of that name.
  """
  guard.check(path)
  with guard.reading(path):
    file = h5py.File(path, "r")
    if key not in file:
      names = ", ".join(file) or "none"
      raise InputError(f"{path}: no dataset {key!r}; it has {names}")
    _check_link(file.get(key, getlink=True), path, key)
    item = file[key]
    if not isinstance(item, h5py.Dataset):
      raise InputError(f"{path}: no dataset {key!r}, but a group")
    check(item, path, key)
    return item


def array(path: guard.Path, key: str) -> np.ndarray:
  """One whole dataset.

  Raises:
    InputError: as `dataset`, or if it takes more than `guard.ROOM`.
  """
  item = dataset(path, key)
  guard.check_room(f"{path}: {key!r}", item.nbytes)
  with guard.reading(path):
    return item[()]


def _below(
  group: Any, path: guard.Path, prefix: str
) -> Iterator[tuple[str, h5py.Dataset]]:
  """Yields (key, dataset) of a group and all groups in it.

  h5py's own `visititems_links` ends in a SystemError on broken files.
  """
  if len(group) > _MOST:
    raise InputError(f"{path}: {prefix!r} holds {len(group)} names")
  for name in group:
    key = prefix + name
    _check_link(group.get(name, getlink=True), path, key)
    item = group[name]
    if isinstance(item, h5py.Dataset):
      check(item, path, key)
      yield key, item
    elif key.count("/") >= DEEPEST:
      raise InputError(f"{path}: {key!r} is nested too deep")
    elif isinstance(item, h5py.Group):
      yield from _below(item, path, f"{key}/")


def _check_link(link: Any, path: guard.Path, key: str) -> None:
  if not isinstance(link, h5py.HardLink):
    raise InputError(f"{path}: {key!r} is a link; store the array itself")


def check(item: h5py.Dataset, path: guard.Path, key: str) -> None:
  """Checks that a dataset can be read, all of it from this file.

  Raises:
    InputError: for a dataset in another file, of anything but numbers, of no
      rank, of which a part was never written, or packed in chunks that are too
      large or by an unknown filter.
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
    return  # nothing was to be written; its readers refuse it
  if item.chunks:
    _check_chunks(item, path, key)
  else:
    _check_contiguous(item, path, key)


def _check_contiguous(item, path, key):
  there = item.id.get_storage_size()
  begin = item.id.get_offset()  # None if it lies in the header itself
  length = os.stat(path).st_size
  if there < item.nbytes or (begin is not None and begin + there > length):
    raise InputError(
      f"{path}: {key!r} was never written, or is cut off: {there} bytes of"
      f" {item.nbytes}"
    )


def _check_chunks(item, path, key):
  filters = item.id.get_create_plist()
  for i in range(filters.get_nfilters()):
    code, _, _, name = filters.get_filter(i)
    if not h5py.h5z.filter_avail(code):
      raise InputError(
        f"{path}: {key!r} is packed by the filter {code} ({name!r}), which is"
        " not installed; write it with gzip, or as it is"
      )
  chunk = math.prod(item.chunks) * item.dtype.itemsize
  mend = "chunks of one sample each are the best"
  guard.check_room(f"{path}: a chunk of {key!r}", chunk, mend=mend)
  sizes = zip(item.shape, item.chunks, strict=True)
  needed = math.prod(math.ceil(n / c) for n, c in sizes)
  there = item.id.get_num_chunks()
  if there < needed:
    raise InputError(
      f"{path}: {key!r} was never written as a whole: {there} chunks of"
      f" {needed} are there"
    )
