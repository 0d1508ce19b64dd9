"""Real processes on this machine: one equals two equals four.

Each joins by jax.distributed, composes its share of every batch and holds its
own devices. What is compared is what the runs wrote.
"""

import subprocess
import sys

import numpy as np
import pytest
from test_main import QUICK, ROOT, TINY, environment, final_state, logged


def launch(processes, *arguments):
  """Command of a tiny run of so many processes with a device each."""
  own = ("--starts=1", "--")  # who looks at how one start ends
  head = ("unirep.launch.local", f"--processes={processes}", *own)
  if processes == 1:
    head = ("unirep.main",)
  return [sys.executable, "-m", *head, f"--config={TINY}", *arguments]


def run(processes, *arguments):
  done = subprocess.run(
    launch(processes, *arguments),
    capture_output=True,
    text=True,
    cwd=ROOT,
    env=environment(processes=processes),
    timeout=900,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  return done


# What compiles fast. That all losses are the same on several devices is shown
# by test_sharding.
FEW = (
  *QUICK,
  *("--config.steps=6", "--config.checkpoint_every=6"),
  *(f"--config.weights.{name}=0.0" for name in ("club", "cpc", "cmcm")),
  # Several codes wake.
  *("--config.codes.threshold=1e-6", "--config.codes.agreed=0.0"),
  "--config.codes.until=1.0",
)


@pytest.mark.parametrize(
  ("processes", "losses"),
  [
    (2, "few"),
    pytest.param(2, "all", marks=pytest.mark.slow),
    pytest.param(4, "all", marks=pytest.mark.slow),
  ],
)
def test_processes_do_not_matter(processes, losses, request, tmp_path):
  if losses == "all":
    one, arguments = request.getfixturevalue("finished")
  else:
    one, arguments = tmp_path / "one", FEW
    run(1, *arguments, f"--workdir={one}")
  workdir = tmp_path / "many"
  done = run(processes, *arguments, f"--workdir={workdir}")
  assert f"{processes} processes (flags, coordinator 127.0.0.1:" in done.stdout
  assert done.stdout.count("step 6/6") == 1  # one of them prints
  ours, theirs = logged(workdir), logged(one)
  assert [x["step"] for x in ours] == [1, 2, 3, 4, 5, 6]
  for mine, other in zip(ours, theirs, strict=True):
    assert mine.keys() == other.keys()
    for name, value in other.items():  # losses, gradient norms, code usage
      assert mine[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name
  if losses == "few":
    assert ours[-1]["codebook/awake"] > 0.5
  worst = differences(workdir, one)
  assert max(worst.values()) <= 1e-5, max(worst, key=worst.__getitem__)


def differences(workdir, other):
  """Largest difference of each array, relative to its largest entry.

  Biases that softmax doesn't see are left out: their gradient is rounding,
  which Adam makes into steps of full length (see test_sharding).
  """
  step, ours = final_state(workdir)
  other_step, theirs = final_state(other)
  assert step == other_step == 6
  assert ours.keys() == theirs.keys()
  found = {}
  for name, value in theirs.items():
    blind = "['attention']['in_bias']" in name or "['predict']['bias']" in name
    if value.dtype.kind == "f" and not blind and "opt_state" not in name:
      scale = max(float(np.abs(value).max()), 1e-3)
      found[name] = float(np.abs(ours[name] - value).max()) / scale
  assert len(found) > 50
  return found
