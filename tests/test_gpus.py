"""GPUs of a sweep: whose they are."""

import pytest

from unirep.launch import gpus, local
from unirep.runtime.errors import InputError


@pytest.mark.parametrize(
  ("environment", "names"),
  [
    ({}, ["0", "1"]),
    ({"JAX_PLATFORMS": ""}, ["0", "1"]),
    ({"JAX_PLATFORMS": "cuda, cpu"}, ["0", "1"]),
    ({"JAX_PLATFORMS": "cpu"}, []),
    ({"JAX_PLATFORMS": "cpu", gpus.VISIBLE: "0"}, []),
    ({gpus.VISIBLE: "3, 5"}, ["3", "5"]),
    ({gpus.VISIBLE: "GPU-8932f937,MIG-41b3"}, ["GPU-8932f937", "MIG-41b3"]),
    ({gpus.VISIBLE: "2,-1,3"}, ["2"]),  # as CUDA reads it
    ({gpus.VISIBLE: ""}, []),
  ],
)
def test_found(environment, names, tmp_path):
  for name in ("nvidia0", "nvidia7", "nvidiactl", "nvidia-uvm", "null"):
    (tmp_path / name).touch()
  assert gpus.visible(environment, tmp_path) == names


def shown(slots):
  return [slot.get(gpus.VISIBLE) for slot in slots]


def test_slots():
  four = ["a", "b", "c", "d"]
  assert shown(gpus.slots(four, None, None)) == four
  assert shown(gpus.slots(four, 3, None)) == ["a", "b", "c"]
  assert shown(gpus.slots(four, None, 2)) == ["a,b", "c,d"]
  assert shown(gpus.slots(four, None, 3)) == ["a,b,c"]
  assert shown(gpus.slots(four, 5, 0)) == [None] * 5
  assert shown(gpus.slots([], None, None)) == [None] * 2
  assert shown(gpus.slots([], 3, None)) == [None] * 3


@pytest.mark.parametrize(
  ("names", "jobs", "each", "needs"),
  [("ab", 3, None, 3), ("ab", None, 3, 3), ("abc", 2, 2, 4), ("", None, 1, 1)],
)
def test_too_few(names, jobs, each, needs):
  with pytest.raises(
    InputError, match=f"{needs} GPUs, and there are {len(names)}"
  ):
    gpus.slots([*names], jobs, each)


def test_processes_of_one_run_share_what_is_shown(monkeypatch, capsys):
  arguments = ["--gpus", "--dry_run", "--processes=2", "--", "--config=x"]
  for shown, names in ((None, "01"), ("4,6,7", "46")):
    if shown:
      monkeypatch.setenv(gpus.VISIBLE, shown)
    else:
      monkeypatch.delenv(gpus.VISIBLE, raising=False)
    assert local.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
      f"{gpus.VISIBLE}={name}" for name in names
    ]
  monkeypatch.setenv(gpus.VISIBLE, "4")
  assert local.main(arguments) == 2
  assert "--processes=2: CUDA_VISIBLE_DEVICES='4'" in capsys.readouterr().err
