"""Sweeps: what they are called, what they refuse, how they go on."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from unirep.jobs import workdir as workdirs
from unirep.launch import grid, sweep
from unirep.runtime.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Stands in for unirep.main; the seed says how it behaves.
FAKE = """
import json, os, pathlib, signal, sys, time
flags = dict(x.removeprefix("--").split("=", 1) for x in sys.argv[1:])
workdir, seed = pathlib.Path(flags["workdir"]), int(flags["config.seed"])
with (workdir / "starts").open("a") as file:
  file.write(f"{time.time()}\\n")
(workdir / "gpus").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
starts = len((workdir / "starts").read_text().splitlines())
if seed == 13:
  print("unirep: bad luck")
  sys.exit(2)
if seed == 75 and starts < 3 or seed == 76:
  sys.exit(75)
if seed == 9 and starts < 3 or seed == 11:  # killed from outside, or broken
  signal.raise_signal(signal.SIGKILL)
if seed == 137 and starts < 3:  # as a shell says it
  sys.exit(137)
if seed == 99 and starts == 1:  # long, and saves when asked to end
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
  time.sleep(60)
if seed == 98:
  time.sleep(3)
time.sleep(0.3)
pair = {"accuracy": 0.5 + seed / 1000}
book = {"usage": 3, "size": 4, "perplexity": 2.5}
summary = {"cross_modal": {"a->b": pair}, "codebook": book, "seconds": 1.2}
(workdir / "ended").write_text(f"{time.time()}")
(workdir / "summary.json").write_text(json.dumps(summary))
"""
DRIVER = """
import sys
from unirep.launch import sweep
fake, *arguments = sys.argv[1:]
sweep.MAIN = (sys.executable, fake)
sys.exit(sweep.main(arguments))
"""


def write(path, text):
  path.write_text(text)
  return path


def seeds(tmp_path, *values):
  runs = [{"seed": value} for value in values]
  return write(tmp_path / "sweep.py", f"def get_sweep():\n  return {runs}\n")


def start(tmp_path, file, *arguments, **environment):
  """The launcher with the fake in unirep.main's place."""
  fake = write(tmp_path / "fake.py", FAKE)
  return subprocess.Popen(
    [
      *(sys.executable, "-c", DRIVER, str(fake), f"--sweep={file}"),
      *(f"--workdir={tmp_path / 'sweep'}", *arguments),
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=ROOT,
    start_new_session=True,
    env=os.environ
    | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    | {"CUDA_VISIBLE_DEVICES": ""}
    | environment,
  )


def run(tmp_path, file, *arguments, **environment):
  process = start(tmp_path, file, *arguments, **environment)
  out, errors = process.communicate(timeout=120)
  return process.returncode, out, errors


def starts(tmp_path, seed):
  path = tmp_path / "sweep" / f"seed={seed}" / "starts"
  return len(path.read_text().splitlines()) if path.exists() else 0


def table(tmp_path):
  lines = (tmp_path / "sweep" / "table.md").read_text().splitlines()
  rows = [[x.strip() for x in line.strip("|").split("|")] for line in lines]
  return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def until(condition, seconds=60):
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.02)


def test_grid_is_every_combination():
  assert grid.grid(a=[1, 2], **{"b.c": "xy"}) == [
    {"a": 1, "b.c": "x"},
    {"a": 1, "b.c": "y"},
    {"a": 2, "b.c": "x"},
    {"a": 2, "b.c": "y"},
  ]
  assert grid.grid() == [{}]


def test_names_are_readable_and_safe():
  assert grid.name({"seed": 0, "codebook.size": 64}) == (
    "codebook.size=64,seed=0"
  )
  assert grid.name({"b": 1, "a": 2}) == grid.name({"a": 2, "b": 1})
  assert grid.name({}) == "pretrain"
  assert grid.name({"config": "configs/pretrain.py:size=tiny"}) == (
    "pretrain,size=tiny"
  )
  assert grid.name({"config": "my/other.py", "x": 1e-4}) == "other,x=0.0001"
  odd = [{"x": "/a b"}, {"x": "/a:b"}, {"x": ("a", "b")}, {"x": "y" * 300}]
  odd += [{"x": "y" * 301}, {"x": "é"}, {"x": "\n"}, {"config": "..:../.."}]
  names = [grid.name(overrides) for overrides in odd]
  assert len(set(names)) == len(names)
  for name in names:
    assert len(name) <= grid.LONGEST_NAME
    assert not set(name) & set("/\\:*?\"'<>| \n")
    assert name not in (".", "..")
  named = {"name": "large book/2", "codebook.size": 512}
  assert grid.name(named) == "large_book_2"
  assert grid.name(named | {"seed": 3}) == "large_book_2,seed=3"
  assert len(grid.name({"name": "x" * 300})) <= grid.LONGEST_NAME


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("def get_sweep():\n  yield {'name': ' ..'}", ["name=' ..'", "no name"]),
    (
      "def get_sweep():\n  yield {'name': 'a b'}\n  yield {'name': 'a/b'}",
      ["two runs have the name a_b"],
    ),
    (
      "def get_sweep():\n  yield {'name': 'a'}\n"
      "  yield {'name': 'a', 'seed': 0}",
      ["two runs of 'a' have the seed 0"],
    ),
    (None, ["sweep.py", "no file"]),
    ("x = (", ["SyntaxError"]),
    ("x = 1", ["get_sweep"]),
    ("def get_sweep():\n  raise OSError('lost')", ["OSError: lost"]),
    ("def get_sweep():\n  return []", ["empty"]),
    ("def get_sweep():\n  yield 'seed=0'", ["run 0", "mapping"]),
    ("def get_sweep():\n  yield {'sed': 0}", ["sed=0", "no key", "sed"]),
    ("def get_sweep():\n  yield {'codebook.sice': 0}", ["sice"]),
    ("def get_sweep():\n  yield {'seed': 'many'}", ["seed=many"]),
    ("def get_sweep():\n  yield {'config': 'gone.py'}", ["gone.py"]),
    (
      "def get_sweep():\n  yield {'config': 'configs/pretrain.py:size=huge'}",
      ["size=huge", "unknown variant"],
    ),
    (
      "def get_sweep():\n  yield {'config': 'configs/tokenize.py'}",
      ["tokenize"],
    ),
    (
      "def get_sweep():\n  return 2 * [{'seed': 1}]",
      ["two runs", "seed=1"],
    ),
    (
      "def get_sweep():\n  yield {'seed': 1, 'steps': 2}\n"
      "  yield {'steps': 2, 'seed': 1}",
      ["two runs", "seed=1,steps=2"],
    ),
  ],
)
def test_bad_sweeps_end_in_one_line(text, words, tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(ROOT)
  file = tmp_path / "sweep.py"
  if text is not None:
    write(file, text)
  arguments = [f"--sweep={file}", f"--workdir={tmp_path / 'sweep'}"]
  assert sweep.main(arguments) == 2
  said = capsys.readouterr().err
  assert said.startswith("launch: ")
  assert said.count("\n") == 1
  for word in words:
    assert word in said
  assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
  "flag",
  [
    "--jobs=0",
    "--gpus=-1",
    "--only=2",
    "--only=-1",
    "--only=array",
    "--how=x",
    "x",
  ],
)
def test_bad_flags(flag, tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(ROOT)
  file = seeds(tmp_path, 0, 1)
  arguments = [f"--sweep={file}", f"--workdir={tmp_path / 'sweep'}", flag]
  assert sweep.main(arguments) == 2
  said = capsys.readouterr().err
  assert flag in said or flag.split("=")[0] in said
  assert said.count("\n") == 1


def test_what_a_run_records_beside_its_settings_is_no_other_setting(trained):
  """A sweep finds a real run again, whose file says what data it saw."""
  recorded = json.loads((trained / "config.json").read_text())
  assert recorded.pop("identity")
  workdirs.check(trained, recorded)
  with pytest.raises(InputError, match="seed"):
    workdirs.check(trained, {**recorded, "seed": recorded["seed"] + 1})


def test_a_run_of_other_settings_is_refused(tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(ROOT)
  workdir = tmp_path / "sweep" / "seed=1"
  workdir.mkdir(parents=True)
  (workdir / "config.json").write_text('{"seed": 2}')
  file = seeds(tmp_path, 1)
  assert sweep.main([f"--sweep={file}", f"--workdir={tmp_path / 'sweep'}"]) == 2
  assert "holds a run with" in capsys.readouterr().err


def test_a_failing_run_does_not_end_the_sweep(tmp_path):
  file = seeds(tmp_path, 0, 13, 75, 1)
  code, out, errors = run(tmp_path, file)
  assert code == 1
  assert "seed=13 exit code 2: unirep: bad luck" in errors
  assert [starts(tmp_path, x) for x in (0, 13, 75, 1)] == [1, 1, 3, 1]
  rows = table(tmp_path)
  assert [x["seed"] for x in rows] == ["0", "13", "75", "1"]
  states = [x["state"] for x in rows]
  assert states == ["finished", "exit code 2", "finished", "finished"]
  assert [x["a->b %"] for x in rows] == ["50.0", "", "57.5", "50.1"]
  assert rows[0]["codes"] == "3 of 4"
  assert rows[0]["seconds"] == "1"
  assert "exit code 2" in out

  file = seeds(tmp_path, 0, 75, 1, 2)  # other runs, and the failed one is gone
  code, _, _ = run(tmp_path, file)
  assert code == 0
  assert [starts(tmp_path, x) for x in (0, 13, 75, 1, 2)] == [1, 1, 3, 1, 1]


def test_a_run_without_a_place_does_not_end_the_sweep(tmp_path):
  file = seeds(tmp_path, 0, 1)
  (tmp_path / "sweep" / "seed=0").mkdir(parents=True)
  (tmp_path / "sweep" / "seed=0" / "lock").mkdir()  # can't be a file
  (tmp_path / "sweep" / "seed=1").mkdir()
  (tmp_path / "sweep" / "seed=1" / "exit_code").write_text("")  # a full disk's
  assert (
    sweep.main(
      [f"--sweep={file}", f"--workdir={tmp_path / 'sweep'}", "--how=table"]
    )
    == 2
  )
  (tmp_path / "sweep" / "seed=0" / "lock").rmdir()
  (tmp_path / "sweep" / "seed=0" / "log.txt").mkdir()
  code, _, errors = run(tmp_path, file)
  assert code == 1
  assert "seed=0 not started: [Errno 21] Is a directory" in errors
  assert [x["state"] for x in table(tmp_path)] == ["to go on", "finished"]


def test_starting_again_has_an_end(tmp_path):
  code, _, _ = run(tmp_path, seeds(tmp_path, 76))
  assert code == 1
  assert starts(tmp_path, 76) == 20
  assert table(tmp_path)[0]["state"] == "to go on"


def test_what_a_signal_ended_starts_again_but_not_for_ever(tmp_path):
  code, _, errors = run(tmp_path, seeds(tmp_path, 9, 11, 137))
  assert code == 1
  assert [starts(tmp_path, seed) for seed in (9, 11, 137)] == [3, 3, 3]
  states = ["finished", "signal 9", "finished"]
  assert [x["state"] for x in table(tmp_path)] == states
  assert "seed=11 signal 9: it said nothing" in errors


def test_each_run_has_its_own_gpu(tmp_path):
  file = seeds(tmp_path, *range(4))
  shown = {"CUDA_VISIBLE_DEVICES": "GPU-8a,5", "JAX_PLATFORMS": ""}
  code, _, errors = run(tmp_path, file, **shown)
  assert code == 0
  paths = [tmp_path / "sweep" / f"seed={i}" for i in range(4)]
  own = [(path / "gpus").read_text() for path in paths]
  assert own[:2] == ["GPU-8a", "5"]
  assert set(own[2:]) <= {"GPU-8a", "5"}
  assert "seed=0 started CUDA_VISIBLE_DEVICES=GPU-8a" in errors
  spans = [
    (own, float((path / x).read_text()), change)
    for own, path in zip(own, paths, strict=True)
    for x, change in (("starts", 1), ("ended", -1))
  ]
  for gpu in {*own}:
    busy = [
      x for name, _, x in sorted(spans, key=lambda y: y[1]) if name == gpu
    ]
    assert busy == [1, -1] * (len(busy) // 2), "one after the other"

  file = seeds(tmp_path, 5)
  run(tmp_path, file, "--only=0", **shown)  # all of them for the one run
  assert (tmp_path / "sweep" / "seed=5" / "gpus").read_text() == "GPU-8a,5"
  code, _, errors = run(tmp_path, seeds(tmp_path, 6), "--jobs=3", **shown)
  assert code == 2
  assert "--jobs=3 needs 3 GPUs, and there are 2" in errors
  assert not (tmp_path / "sweep" / "seed=6").exists()


@pytest.mark.parametrize("jobs", [1, 3])
def test_as_many_at_a_time_as_asked(jobs, tmp_path):
  code, _, _ = run(tmp_path, seeds(tmp_path, *range(5)), f"--jobs={jobs}")
  assert code == 0
  spans = [
    (float((x / "starts").read_text()), float((x / "ended").read_text()))
    for x in (tmp_path / "sweep").glob("seed=*")
  ]
  most = max(sum(a <= t <= b for a, b in spans) for t, _ in spans)
  assert most == jobs


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_runs_save_and_starts_no_more(number, tmp_path):
  file = seeds(tmp_path, 99, 0)
  process = start(tmp_path, file, "--jobs=1")
  until(lambda: starts(tmp_path, 99))
  time.sleep(0.3)  # for its handler
  os.killpg(process.pid, number)  # as a terminal does
  _, errors = process.communicate(timeout=30)
  assert process.returncode == 75, errors
  assert starts(tmp_path, 0) == 0
  assert [x["state"] for x in table(tmp_path)] == ["to go on", "-"]
  code, _, _ = run(tmp_path, file)
  assert code == 0
  assert [starts(tmp_path, x) for x in (99, 0)] == [2, 1]


def test_a_run_that_outlives_its_launcher_is_waited_for(tmp_path):
  file = seeds(tmp_path, 98)
  process = start(tmp_path, file)
  until(lambda: starts(tmp_path, 98))
  process.kill()
  process.communicate()
  code, out, _ = run(tmp_path, file, "--how=table")
  assert code == 1
  assert "running" in out
  code, _, errors = run(tmp_path, file)
  assert code == 0, errors
  assert starts(tmp_path, 98) == 1


def test_only_one(tmp_path):
  file = seeds(tmp_path, 0, 1)
  code, _, _ = run(tmp_path, file, "--only=1")
  assert code == 0
  assert [starts(tmp_path, x) for x in (0, 1)] == [0, 1]


def test_the_launcher_starts_without_jax():
  code = "import sys, unirep.launch.sweep; sys.exit('jax' in sys.modules)"
  subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_prints_what_would_run(tmp_path):
  file = seeds(tmp_path, 0, 1, 2)
  run(tmp_path, file, "--only=1")
  for arguments in (["--how=print"], ["--dry_run"]):
    code, out, _ = run(tmp_path, file, *arguments)
    lines = out.splitlines()
    assert code == 0
    assert len(lines) == 3
    assert "--config.seed=0" in lines[0]
    assert lines[1] == "# finished: seed=1"
  code, out, _ = run(
    tmp_path, file, "--how=slurm", "--dry_run", "--sbatch=--time=9 --qos=low"
  )
  assert code == 0
  assert out.startswith("sbatch --array=0,2%2 ")
  assert " --time=9 --qos=low " in out
  assert out.endswith(" --only=array\n")
  assert starts(tmp_path, 0) == 0


TINY = """
from unirep.launch.grid import grid

def get_sweep():
  base = {"config": "configs/pretrain.py:size=tiny", "steps": %d}
  base |= {"checkpoint_every": 4}
  base |= {"data.train_size": 32, "data.test_size": 16}
  return [base | x for x in grid(**{"codebook.size": %s, "seed": %s})]
"""


def launcher(file, workdir, *arguments):
  return [
    *(sys.executable, "-m", "unirep.launch.sweep", f"--sweep={file}"),
    *(f"--workdir={workdir}", *arguments),
  ]


@pytest.mark.slow
def test_a_real_run(tmp_path):
  file = write(tmp_path / "tiny.py", TINY % (2, [16], [3]))
  command = launcher(file, tmp_path / "sweep")
  done = subprocess.run(command, cwd=ROOT, timeout=600, check=False)
  assert done.returncode == 0
  (row,) = table(tmp_path)
  assert row["state"] == "finished"
  assert row["codes"].endswith("of 16")
  assert 0 <= float(row["audio->video %"]) <= 100


@pytest.mark.slow
def test_six_runs_with_one_killed_in_the_middle(tmp_path):
  """Of six runs on two cores one is killed, and goes on; none is repeated."""
  file = write(tmp_path / "tiny.py", TINY % (24, [16, 32], [0, 1, 2]))
  workdir = tmp_path / "sweep"
  process = subprocess.Popen(launcher(file, workdir, "--jobs=2"), cwd=ROOT)
  runs = grid.load(file, workdir)
  doomed = random.choice(runs[2:5])
  until((doomed.workdir / "checkpoints" / "digests.json").exists, 600)
  (pid,) = [int(x) for x in pids(doomed)]
  os.kill(pid, signal.SIGKILL)
  assert process.wait(timeout=900) == 0, "it was started again"
  assert {row["state"] for row in table(tmp_path)} == {"finished"}
  before = {x.name: stamp(x) for x in runs}
  assert len(before) == 6
  summary = json.loads((doomed.workdir / doomed.result).read_text())
  assert summary["steps"] == 24
  assert summary["steps_this_session"] < 24, "it went on where it was killed"
  assert subprocess.call(launcher(file, workdir), cwd=ROOT) == 0
  assert {x.name: stamp(x) for x in runs} == before


def stamp(run):
  return (run.workdir / run.result).stat().st_mtime_ns


def pids(run):
  """Processes that were started with the run's work directory."""
  for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    try:
      words = path.read_bytes().split(b"\0")
    except OSError:
      continue
    if b"unirep.main" in words and run.command[-1].encode() in words:
      yield path.parent.name
