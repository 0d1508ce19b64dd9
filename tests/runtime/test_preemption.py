"""Signals that ask a run to end."""

import contextlib
import os
import signal

import pytest

from unirep.runtime import preemption


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_is_remembered_until_the_step_is_done(name, capfd):
  number = signal.Signals[name]
  if number == signal.SIGHUP:  # these tests may run under nohup
    signal.signal(number, signal.SIG_DFL)
  before = signal.getsignal(number)
  with contextlib.suppress(preemption.PreemptedError):
    with preemption.Notice() as notice:
      assert not notice.given(1)
      os.kill(os.getpid(), number)
      assert notice.given(2)
      assert notice.name == name
      if name == "SIGINT":  # the next one ends the process, whatever it does
        assert signal.getsignal(number) == signal.SIG_DFL
        assert "again ends at once" in capfd.readouterr().err
      raise preemption.PreemptedError(2, name=notice.name)
    raise AssertionError
  assert signal.getsignal(number) == before


def test_one_that_comes_too_late_is_obeyed_at_the_end():
  heard = []
  before = signal.signal(signal.SIGTERM, lambda *_: heard.append("late"))
  try:
    with preemption.Notice():
      os.kill(os.getpid(), signal.SIGTERM)
      assert not heard
    assert heard == ["late"]
  finally:
    signal.signal(signal.SIGTERM, before)


def test_nohup_is_respected():
  before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with preemption.Notice():
      assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
  finally:
    signal.signal(signal.SIGHUP, before)
