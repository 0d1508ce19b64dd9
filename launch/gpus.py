"""The GPUs of this machine, shared out among runs."""

import itertools
import pathlib
from collections.abc import Mapping, Sequence

from unirep.runtime.errors import InputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
JOBS = 2  # at the same time, without GPUs


def visible(
  environment: Mapping[str, str], devices: pathlib.Path = pathlib.Path("/dev")
) -> list[str]:
  """GPUs that the environment allows, as CUDA reads it; by default all.

  Args:
    environment: maybe with GPUs by index or UUID, and platforms of JAX.
    devices: the folder of device files.
  """
  platforms = environment.get("JAX_PLATFORMS", "").replace(" ", "").split(",")
  if any(platforms) and not {"cuda", "gpu"} & {*platforms}:
    return []
  if VISIBLE not in environment:
    return [str(i) for i, _ in enumerate(devices.glob("nvidia[0-9]*"))]
  return shown(environment[VISIBLE])


def shown(value: str) -> list[str]:
  """The names in a CUDA_VISIBLE_DEVICES."""
  names = (name.strip() for name in value.split(","))
  # CUDA ignores the first wrong name and all behind it.
  return [*itertools.takewhile(lambda x: x and x[0] != "-", names)]


def slots(
  gpus: Sequence[str], jobs: int | None, each: int | None
) -> list[dict[str, str]]:
  """Places to run: environment variables of each.

  Args:
    gpus: by name, see `visible`.
    jobs: number of places; by default, as many as the GPUs allow.
    each: GPUs of a place, one by default; 0 gives all GPUs to all runs.

  Raises:
    InputError: if there are too few GPUs.
  """
  if each == 0 or (each is None and not gpus):
    return [{} for _ in range(jobs or JOBS)]
  size = each or 1
  most = len(gpus) // size
  if not most or (jobs or 0) > most:
    raise InputError(
      f"--jobs={jobs or 1} needs {(jobs or 1) * size} GPUs, and there are "
      f"{len(gpus)}; --gpus=0 lets runs share them"
    )
  return [
    {VISIBLE: ",".join(gpus[i * size : (i + 1) * size])}
    for i in range(jobs or most)
  ]
