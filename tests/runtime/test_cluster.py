"""Which processes a run has: detected, refused, joined, lost."""

import socket
import subprocess
import sys
import threading

import jax
import pytest

from unirep.launch import local
from unirep.runtime import cluster, lockstep
from unirep.runtime.cluster import Cluster
from unirep.runtime.errors import InputError

SLURM = {
  "SLURM_JOB_ID": "7",
  "SLURM_STEP_NODELIST": "node[1-2]",
  "SLURM_STEP_NUM_NODES": "2",
  "SLURM_NTASKS": "4",
  "SLURM_PROCID": "3",
  "SLURM_LOCALID": "1",
}
OMPI = {
  "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911",
  "OMPI_COMM_WORLD_SIZE": "8",
  "OMPI_COMM_WORLD_RANK": "5",
  "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
}
POD = {"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_WORKER_ID": "2"}


@pytest.mark.parametrize(
  ("env", "expected"),
  [
    ({}, None),
    (SLURM, Cluster("Slurm", None, 4, 3, 2)),
    (SLURM | {"SLURM_NTASKS": "1"}, None),
    ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, None),  # salloc, no srun
    (OMPI, Cluster("Open MPI", None, 8, 5, 2)),
    (OMPI | {"OMPI_COMM_WORLD_SIZE": "1"}, None),
    (POD, Cluster("TPU pod", hosts=4)),
    (POD | {"MEGASCALE_NUM_SLICES": "2"}, Cluster("TPU pod", hosts=8)),
    (POD | {"TPU_WORKER_HOSTNAMES": "a"}, None),
  ],
)
def test_what_the_environment_says(env, expected):
  assert cluster.detect(env=env) == expected


def test_flags_win_over_the_environment_and_complete_it():
  assert cluster.detect("h:1", 2, 1, env={}) == Cluster("flags", "h:1", 2, 1)
  found = cluster.detect("node1:99", env=SLURM)
  assert found == Cluster("Slurm", "node1:99", 4, 3, 2)
  new = {k: v for k, v in OMPI.items() if "uri" not in k}  # Open MPI 5
  assert cluster.detect("h:1", env=new) == Cluster("Open MPI", "h:1", 8, 5, 2)
  with pytest.raises(InputError, match="add --coordinator=HOST:PORT"):
    cluster.detect(env=new)


@pytest.mark.parametrize(
  ("flags", "env", "words"),
  [
    (("h:1", None, None), {}, "--num_processes and --process_id missing"),
    (("", 2, 0), {}, "--coordinator missing"),
    (("h:1", 2, 2), {}, "--process_id=2 must lie in 0..1"),
    (("h:1", 2, -1), {}, "--process_id=-1 must lie"),
    (("h:1", 0, 0), {}, "--num_processes=0 must be at least 1"),
    (("h", 2, 0), {}, "'h' is not HOST:PORT"),
    (("h:99999", 2, 0), {}, "is not HOST:PORT"),
    (("127.0.0.1:9", None, None), SLURM, "Slurm runs on 2 machines"),
    (("localhost:9", None, None), OMPI, "Open MPI runs on 2 machines"),
    (("[::1]:9", None, None), SLURM, "this machine alone"),
    (("127.0.1.1:9", 4, 1), POD, "TPU pod runs on 4 machines"),
  ],
)
def test_what_is_refused(flags, env, words):
  with pytest.raises(InputError, match=words):
    cluster.detect(*flags, env=env)


def test_gpus_under_slurm():
  one_task = SLURM | {"SLURM_STEP_TASKS_PER_NODE": "1(x2)"}
  several = SLURM | {"SLURM_STEP_TASKS_PER_NODE": "4(x2)"}
  own = cluster._own_devices
  assert own({}) is None
  assert own(one_task | {"CUDA_VISIBLE_DEVICES": "0,1,2"}) == [0, 1, 2]
  assert own(several | {"CUDA_VISIBLE_DEVICES": "5"}) == [0]
  assert own(several | {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}) is None
  assert own(one_task) is None


def test_a_coordinator_that_is_not_there(monkeypatch):
  """Nobody listens: a loopback address isn't waited for half an hour."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
  monkeypatch.setattr(cluster, "LOOPBACK_SECONDS", 0.5)
  with pytest.raises(InputError, match=r"nobody answers .* after 0 s"):
    cluster.join(Cluster("flags", f"127.0.0.1:{port}", 2, 1))


def test_a_process_by_itself_waits_for_nobody():
  assert cluster.join(None) == ""
  lockstep.wait("alone", 0.1)
  assert lockstep.same(3) == 3
  with lockstep.together():
    pass
  with pytest.raises(InputError, match="mine"), lockstep.together():
    raise InputError("mine")
  error = jax.errors.JaxRuntimeError("of the device")
  with pytest.raises(jax.errors.JaxRuntimeError), lockstep.watched():
    raise error


@pytest.mark.parametrize("others", ["1", "1\n3"])
def test_the_lost_are_named(others):
  message = f"Barrier timed out.\n# of tasks: 1/4. Some task names:\n{others}\n"
  line = lockstep._loss(message)
  assert f"process {' and '.join(others.split())} of 1 did not" in line
  assert "another process" in lockstep._loss("no names")


# The local launcher, with other programs in the place of a run.


def start(*codes):
  """Processes that end with these codes, or sleep."""
  return [
    subprocess.Popen(
      [
        sys.executable,
        "-c",
        f"import time, sys; time.sleep({n}); sys.exit({c})",
      ]
    )
    for n, c in codes
  ]


def test_all_well():
  assert local.watch(start((0, 0), (0.2, 0))) == 0


def test_a_failure_ends_the_others(capfd, monkeypatch):
  monkeypatch.setattr(local, "GRACE_SECONDS", 0.3)
  children = start((600, 0), (0.1, 3))
  assert local.watch(children) == 3
  assert all(x.poll() is not None for x in children)
  assert "process 1 ended with 3" in capfd.readouterr().err


def test_a_killed_process_asks_to_start_again(capfd, monkeypatch):
  monkeypatch.setattr(local, "GRACE_SECONDS", 0.3)
  children = start((600, 0), (600, 0))
  threading.Timer(0.3, children[0].kill).start()
  assert local.watch(children) == 75
  assert "process 0 ended with signal 9" in capfd.readouterr().err


def test_dry_run():
  done = subprocess.run(
    [
      *(
        sys.executable,
        "-m",
        "unirep.launch.local",
        "--processes=3",
        "--dry_run",
      ),
      *("--gpus", "--", "--config=configs/pretrain.py", "--workdir=a b"),
    ],
    capture_output=True,
    text=True,
    check=True,
  )
  lines = done.stdout.splitlines()
  assert len(lines) == 3
  for i, line in enumerate(lines):
    assert line.startswith(f"CUDA_VISIBLE_DEVICES={i} ")
    assert f"--num_processes=3 --process_id={i}" in line
    assert "-m unirep.main --config=configs/pretrain.py '--workdir=a b'" in line
