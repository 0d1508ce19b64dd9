"""Signals that ask a run to end."""

import os
import signal

import pytest

from unirep.parallel import preemption


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_is_remembered_until_the_step_is_done(name, capfd):
  number = signal.Signals[name]
  before = signal.getsignal(number)
  with preemption.Notice() as notice:
    assert not notice.given(1)
    os.kill(os.getpid(), number)
    assert notice.given(2)
    assert notice.name == name
    if name == "SIGINT":  # the next one ends the process, whatever it does
      assert signal.getsignal(number) == signal.SIG_DFL
      assert "again ends at once" in capfd.readouterr().err
  assert signal.getsignal(number) == before
