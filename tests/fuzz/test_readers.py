"""No broken file hangs, crashes, or passes for what it does not hold."""

import pytest
from fuzz import targets, trial


def fine(name, count):
  found = trial.run(name, count)
  assert not found.wrong, {k: found.wrong[k] for k in sorted(found.wrong)[:5]}
  assert found.refused + found.accepted == count
  assert found.peak < trial.MEMORY


@pytest.mark.parametrize("name", targets.TARGETS)
def test_some_broken_files(name):
  fine(name, 30)


@pytest.mark.slow
@pytest.mark.parametrize("name", targets.TARGETS)
def test_many_broken_files(name):
  fine(name, 1000)
