"""Trees of arrays: names of their leaves, and room for them on devices."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import jax

from unirep.runtime.errors import InputError


def named(
  tree: Any,
  separator: str = "/",
  is_leaf: Callable[[Any], bool] | None = None,
) -> dict[str, Any]:
  """The leaves of a tree by their paths, such as `encoder/audio/kernel`."""
  return {
    jax.tree_util.keystr(keys, simple=True, separator=separator): leaf
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf)
  }


def check_room(
  name: str, needed: int, devices: Iterable[Any], hint: str
) -> None:
  """Raises InputError for arrays that are too large for a device.

  Args:
    name: of the arrays in the error, in the plural.
    needed: bytes on each device.
    devices: the devices.
    hint: how the user can make them smaller.
  """
  room = min(map(free, devices))
  if needed > room:
    sizes = [f"{x / 2**30:,.1f} GiB" for x in (needed, room)]
    raise InputError(
      f"{name} do not fit: they take {sizes[0]} of each device, which has "
      f"{sizes[1]} left; {hint}"
    )


def free(device: Any) -> int:
  """Bytes that a device has left; a CPU has the memory of its machine."""
  memory = device.memory_stats() or {}
  if "bytes_limit" in memory:
    return memory["bytes_limit"] - memory["bytes_in_use"]
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
