"""The processes of one run.

`jax.distributed` connects them. This module decides whether it is needed, and
turns its failures into one line. Every process runs the same program on its own
devices. Process 0 alone prints, and writes all files but checkpoints.
"""

import contextlib
import importlib.util
import os
import pathlib
import re
import socket
import time
from collections.abc import Mapping
from typing import NamedTuple

import jax

from unirep.runtime.errors import InputError, first_line

HEARTBEAT_SECONDS = 60  # silence after which a process counts as dead
LOOPBACK_SECONDS = 60  # processes of one machine start together
MOST = 2**20  # processes


class Cluster(NamedTuple):
  """The processes that are to join.

  Attributes:
    kind: name of the scheduler that started them, or "flags".
    coordinator: host:port of process 0; None where JAX finds it by itself.
    processes: their number, or None likewise.
    process: number of this one, or None likewise.
    hosts: number of machines that they run on; None if unknown.
  """

  kind: str
  coordinator: str | None = None
  processes: int | None = None
  process: int | None = None
  hosts: int | None = None


def detect(
  coordinator: str = "",
  num_processes: int | None = None,
  process_id: int | None = None,
  env: Mapping[str, str] = os.environ,
) -> Cluster | None:
  """Reads flags and environment; None for a process by itself.

  Flags override the variables of a scheduler, and complete them.

  Args:
    coordinator: host:port of process 0, as every process can reach it.
    num_processes: number of processes.
    process_id: this one's number, from 0.
    env: environment variables.

  Raises:
    InputError: for flags that are incomplete, out of range, or name a loopback
      address while there is more than one machine.
  """
  cluster = _scheduler(env)
  if cluster is None:
    if not coordinator and num_processes is None and process_id is None:
      return None
    cluster = Cluster("flags")
  cluster = cluster._replace(
    coordinator=coordinator or cluster.coordinator,
    processes=cluster.processes if num_processes is None else num_processes,
    process=cluster.process if process_id is None else process_id,
  )
  _check(cluster, env)
  return cluster


def _scheduler(env: Mapping[str, str]) -> Cluster | None:
  if "SLURM_STEP_NODELIST" in env and _number(env, "SLURM_NTASKS", 1) > 1:
    hosts = _number(env, "SLURM_STEP_NUM_NODES", 1)
    count, index = _number(env, "SLURM_NTASKS"), _number(env, "SLURM_PROCID")
    return Cluster("Slurm", None, count, index, hosts)
  if _number(env, "OMPI_COMM_WORLD_SIZE", 1) > 1:
    count = _number(env, "OMPI_COMM_WORLD_SIZE")
    local = _number(env, "OMPI_COMM_WORLD_LOCAL_SIZE", count)
    index = _number(env, "OMPI_COMM_WORLD_RANK")
    return Cluster("Open MPI", None, count, index, -(-count // max(local, 1)))
  if "TPU_WORKER_HOSTNAMES" in env and "TPU_WORKER_ID" in env:
    hosts = len(env["TPU_WORKER_HOSTNAMES"].split(","))
    hosts *= _number(env, "MEGASCALE_NUM_SLICES", 1)
    return Cluster("TPU pod", hosts=hosts) if hosts > 1 else None
  if "JOB_COMPLETION_INDEX" in env and "KUBERNETES_SERVICE_HOST" in env:
    installed = importlib.util.find_spec("kubernetes") is not None
    return Cluster("Kubernetes") if installed else None
  on_tpu = any(pathlib.Path("/dev").glob("accel[0-9]*")) and (
    importlib.util.find_spec("libtpu") is not None
  )
  skipped = "TPU_SKIP_MDS_QUERY" in env or env.get("JAX_PLATFORMS") == "cpu"
  return Cluster("TPU VM") if on_tpu and not skipped else None


def _number(
  env: Mapping[str, str], name: str, default: int | None = None
) -> int:
  """A variable that a scheduler sets."""
  value = env.get(name) or default
  if value is None or not re.fullmatch(r"\d{1,9}", str(value).strip()):
    fault = f"={value!r} is no number" if name in env else " is missing"
    raise InputError(
      f"{name}{fault}; mend what starts the processes, or unset its variables"
    )
  return int(value)


def _check(cluster: Cluster, env: Mapping[str, str]) -> None:
  kind, coordinator, processes, process, hosts = cluster
  given = {
    "--coordinator": coordinator,
    "--num_processes": processes,
    "--process_id": process,
  }
  missing = [name for name, value in given.items() if value in (None, "")]
  if kind == "flags" and missing:
    raise InputError(
      f"{' and '.join(missing)} missing: a run of several processes needs "
      "--coordinator, --num_processes and --process_id"
    )
  # Up to version 4 Open MPI says where its first process is.
  if kind == "Open MPI" and not (coordinator or "OMPI_MCA_orte_hnp_uri" in env):
    raise InputError(
      f"mpirun started {processes} processes but doesn't say where the first "
      "one is; add --coordinator=HOST:PORT"
    )
  if processes is not None and processes < 1:
    raise InputError(f"--num_processes={processes} must be at least 1")
  if processes is not None and processes > MOST:
    raise InputError(f"--num_processes={processes} must be at most {MOST}")
  if processes and process is not None and not 0 <= process < processes:
    raise InputError(
      f"--process_id={process} must lie in 0..{processes - 1}, since "
      f"--num_processes={processes}"
    )
  if coordinator:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 2**16:
      raise InputError(f"--coordinator={coordinator!r} is not HOST:PORT")
    if is_loopback(host) and (hosts or 1) > 1:
      raise InputError(
        f"--coordinator={coordinator} is this machine alone, and {kind} runs "
        f"on {hosts} machines; give the address of process 0 that all can reach"
      )


def is_loopback(host: str) -> bool:
  """Whether a name or address can be reached from its own machine only."""
  host = host.strip("[]").lower()
  return host in ("localhost", "::1") or host.startswith("127.")


def join(cluster: Cluster | None, init_timeout: float = 1800) -> str:
  """Starts jax.distributed; must be called before JAX looks for devices.

  Args:
    cluster: from `detect`; nothing happens for None.
    init_timeout: seconds to wait for all processes; at most
      `LOOPBACK_SECONDS` where they are all on this machine.

  Returns:
    One line with the number of processes and devices, or "" for a process by
    itself.

  Raises:
    InputError: if the processes did not connect in time.
  """
  if cluster is None:
    return ""
  host, _, port = (cluster.coordinator or "").rpartition(":")
  local = is_loopback(host)
  wait = min(init_timeout, LOOPBACK_SECONDS) if local else init_timeout
  if local and cluster.process:
    _await_port(host.strip("[]"), int(port), wait)
  try:
    jax.distributed.initialize(
      cluster.coordinator,
      cluster.processes,
      cluster.process,
      local_device_ids=_own_devices(os.environ),
      initialization_timeout=max(int(wait), 1),
      heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
      shutdown_timeout_seconds=HEARTBEAT_SECONDS,
    )
  except (RuntimeError, ValueError) as error:
    raise InputError(
      f"the processes of this run ({cluster.kind}) did not come together: "
      f"{first_line(error)}"
    ) from error
  if jax.default_backend() == "cpu":
    # A program from the cache may run its collectives in another order than
    # one that another process compiled: gloo then aborts (seen with jax 0.10).
    jax.config.update("jax_enable_compilation_cache", False)
  where = f", coordinator {cluster.coordinator}" if cluster.coordinator else ""
  return (
    f"{jax.process_count()} processes ({cluster.kind}{where}), "
    f"{jax.local_device_count()} of {jax.device_count()} devices here"
  )


def _own_devices(env: Mapping[str, str]) -> list[int] | None:
  """GPUs of this process under Slurm, where JAX would take wrong ones.

  JAX takes GPU i for the i-th task of a node. It misses GPUs if a node runs one
  task, and asks for a missing one if Slurm shows each task only its own.
  """
  visible = [x for x in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if x]
  if "SLURM_STEP_NODELIST" not in env or not visible:
    return None
  tasks = re.match(r"\d+", env.get("SLURM_STEP_TASKS_PER_NODE", ""))
  alone = tasks is not None and tasks.group() == "1"
  return list(range(len(visible))) if alone or len(visible) == 1 else None


def _await_port(host: str, port: int, seconds: float) -> None:
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    with (
      contextlib.suppress(OSError),
      socket.create_connection((host, port), 1),
    ):
      return
    time.sleep(0.2)
  raise InputError(
    f"nobody answers at --coordinator={host}:{port} after {seconds:.0f} s. "
    "It is this machine's own address: process 0 must run here, or the address "
    "be one that it is reached by from elsewhere"
  )
