"""The log of a run: whole, or the beginning of a whole one."""

import contextlib
import io
import json
import resource

import pytest
from rich.console import Console

from unirep.train import log as log_lib
from unirep.train.log import Log


def metrics(step):
  wide = {f"metric_{i}": float(i * step) for i in range(500)}
  return {"loss": 1.0 / step, "steps_per_second": 2.0, **wide}


def opened(directory, start=0):
  return Log(directory, 20, start, Console(file=io.StringIO()))


def written(directory):
  return log_lib.read(directory / log_lib.METRICS)


@contextlib.contextmanager
def room(size):
  """Lets no file of this process grow beyond `size` bytes."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_lines_wait_for_room(tmp_path, caplog):
  with opened(tmp_path) as log:
    with room(2**16):
      for step in range(1, 11):
        log.write(step, metrics(step))
    assert 0 < len(written(tmp_path)) < 10
    assert caplog.text.count("its lines wait for room") == 1
    assert caplog.text.count("its curves end here") == 1
    log.write(11, metrics(11))
  assert written(tmp_path) == [
    {"step": step, **metrics(step)} for step in range(1, 12)
  ]


def test_lines_that_found_no_room(tmp_path, caplog):
  with room(2**16), opened(tmp_path) as log:
    for step in range(1, 11):
      log.write(step, metrics(step))
  kept = written(tmp_path)
  assert kept == [
    {"step": step, **metrics(step)} for step in range(1, len(kept) + 1)
  ]
  assert f"its last {10 - len(kept)} lines found no room" in caplog.text


@pytest.mark.parametrize("torn", [False, True])
def test_resumed_log_reads_as_if_never_stopped(tmp_path, torn):
  with opened(tmp_path) as log:
    for step in range(1, 6):
      log.write(step, metrics(step))
  path = tmp_path / log_lib.METRICS
  if torn:
    path.write_bytes(path.read_bytes()[:-9])
  with opened(tmp_path, start=3) as log:
    log.write(4, metrics(7))
  assert [line["step"] for line in written(tmp_path)] == [1, 2, 3, 4]
  assert path.read_text().splitlines()[-1] == json.dumps(
    {"step": 4, **metrics(7)}
  )


def test_board_hides_what_a_resumed_run_does_again(tmp_path):
  from tensorboardX.proto.event_pb2 import Event

  with opened(tmp_path, start=3) as log:
    log.write(4, {"loss": 0.5, "steps_per_second": 1.0})
  (path,) = (tmp_path / log_lib.BOARD).iterdir()
  events, data = [], path.read_bytes()
  while data:  # length, its checksum, the event, its checksum
    size = int.from_bytes(data[:8], "little")
    events.append(Event.FromString(data[12 : 12 + size]))
    data = data[16 + size :]
  version, begin, *curves = events
  assert version.file_version == "brain.Event:2"
  assert begin.step == 4
  assert begin.HasField("session_log")
  assert {e.summary.value[0].tag: e.step for e in curves} == {
    "loss": 4,
    "steps_per_second": 4,
  }


def test_while_compiling_there_is_no_loss(tmp_path):
  out = io.StringIO()
  with Log(tmp_path, 20, 0, Console(file=out)) as log:
    assert "compiling the step" in out.getvalue()
    log.show(1, 0.5, 0.0)
    log.show(2, 0.5, 3.0)
  assert out.getvalue().count("compiled after 0 s") == 1


def test_a_terminal_shows_what_goes_on(tmp_path):
  out = io.StringIO()
  console = Console(file=out, force_terminal=True, width=120)
  with Log(tmp_path, 20, 0, console) as log:
    log.show(2, 0.5, 3.0)
  text = out.getvalue()
  assert "compiling" in text
  assert "training" in text
  assert "loss 0.500, 3.00 steps/s" in text
  assert "nan" not in text


def test_settings_are_hyperparameters(tmp_path):
  settings = {"codebook": {"size": 128}, "fine": ["a", "b"], "mask": True}
  with Log(tmp_path, 20, 0, Console(file=io.StringIO()), settings):
    pass
  (events,) = (tmp_path / log_lib.BOARD).iterdir()
  found = events.read_bytes()
  for name in (b"_hparams_", b"codebook.size", b"fine", b"['a', 'b']", b"mask"):
    assert name in found


@pytest.mark.parametrize(
  "line", [b"[" * 99_999, b"7", b'{"loss": 1}', b"\xff\xfe", b'{"step": "x"}']
)
def test_a_line_that_is_none_ends_what_is_read(line, tmp_path):
  path = tmp_path / log_lib.METRICS
  path.write_bytes(b'{"step": 1}\n' + line + b"\n")
  assert log_lib.read(path) == [{"step": 1}]
