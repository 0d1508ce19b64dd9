"""Published rates of TPU chips, and the shapes of their slices.

From the system architecture pages of the Cloud TPU documentation
(https://cloud.google.com/tpu/docs/v5e, v6e, v5p, v4), which give the bandwidth
between chips per chip and in both directions; here it is per link and one way.
"""

import math
from typing import Any, NamedTuple


class Chip(NamedTuple):
  """Peak rates of one chip.

  Attributes:
    flops: of dense bfloat16 products, a second.
    memory: bytes of HBM.
    bandwidth: of the HBM, bytes a second.
    link: bytes a second, one way, over one of its links.
    wraps: an axis of the slice whose length is a multiple closes to a ring.
    cores: the name of a configuration in which JAX sees one device a chip.
  """

  flops: float
  memory: float
  bandwidth: float
  link: float
  wraps: int
  cores: str | None = None


CHIPS = {
  # Two cores as one device, as on a TPU VM. Without the name there is a device
  # for each core, with half of the memory.
  "v4": Chip(275e12, 32e9, 1228e9, 50e9, 4, "megacore"),
  "v5e": Chip(197e12, 16e9, 819e9, 50e9, 16),
  "v5p": Chip(459e12, 95e9, 2765e9, 100e9, 4),
  "v6e": Chip(918e12, 32e9, 1638e9, 100e9, 16),
}


def chip(topology: str) -> Chip:
  """The chip of a slice `kind:AxB` or `kind:AxBxC`."""
  return CHIPS[topology.split(":")[0]]


def axes(topology: str) -> list[int]:
  """The number of chips along each axis of a slice."""
  return [int(n) for n in topology.split(":")[1].split("x")]


def count(topology: str) -> int:
  """The number of chips of a slice."""
  return math.prod(axes(topology))


def options(topology: str) -> dict[str, Any]:
  """Arguments of `get_topology_desc` besides the name."""
  cores = chip(topology).cores
  choice: dict[str, Any] = {"chip_config_name": cores} if cores else {}
  if count(topology) == 1:
    choice["chips_per_host_bounds"] = [1, 1, 1]
  return choice


def wire(topology: str) -> float:
  """Bytes a second that each chip can send while all chips send.

  On an axis that closes to a ring a chip has two links. Any other axis is a
  line, whose end chips have one.
  """
  own = chip(topology)
  links = (0 if n == 1 else 1 + (n % own.wraps == 0) for n in axes(topology))
  return own.link * sum(links)
