"""Runs that go on, begin from another run, or start warm."""

import json
import pathlib
import subprocess
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_main import QUICK, TINY, command, environment, refused

from unirep.jobs import preparation
from unirep.quantizer import codebook
from unirep.runtime.errors import InputError
from unirep.train.state import TrainState

HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])


def state_of(params, size=4):
  book = codebook.asleep(jax.random.key(0), size, 3, ("a", "b"))
  return TrainState(jnp.int32(0), params, book, {}, ())


@pytest.fixture
def other(monkeypatch):
  """Another run: its encoder of "a", and codes of ones."""
  params = {"encoder": {"a": {"kernel": np.full((2, 3), 7.0)}}}
  book = codebook.asleep(jax.random.key(1), 4, 3, ("a",))._asdict()
  book |= {"code_KxD": np.ones((4, 3)), "count_K": np.arange(4.0)}
  run = types.SimpleNamespace(params=params, book=book)
  monkeypatch.setattr(
    preparation.reading, "read_model", lambda *_: (run.params, run.book, {})
  )
  return run


def begun(state):
  where = jax.tree.map(lambda _: HERE, state)
  return preparation.from_run(state, pathlib.Path("other"), where)


def test_weights_of_a_run_go_by_their_names(other):
  mine = {m: {"kernel": jnp.zeros((2, 3))} for m in "ab"}
  state, anew = begun(state_of({"encoder": mine}))
  assert (state.params["encoder"]["a"]["kernel"] == 7).all()
  assert not state.params["encoder"]["b"]["kernel"].any()
  assert anew == ["encoder/b/kernel"]
  assert (state.codebook.code_KxD == 1).all()
  np.testing.assert_array_equal(state.codebook.count_K, np.arange(4))
  assert set(state.codebook.age) == {"a", "b"}  # of this run's modalities
  assert int(state.step) == 0


@pytest.mark.parametrize(
  ("shape", "size", "words"),
  [
    ((5, 3), 4, ["encoder/a/kernel", "(2, 3)", "(5, 3)"]),
    ((2, 3), 8, ["codebook/code_KxD", "(4, 3)", "(8, 3)"]),
  ],
)
def test_weights_that_do_not_fit_are_refused(other, shape, size, words):
  state = state_of({"encoder": {"a": {"kernel": jnp.zeros(shape)}}}, size)
  with pytest.raises(InputError) as error:
    begun(state)
  assert all(word in str(error.value) for word in ["init_from=other", *words])


def test_a_run_with_nothing_in_common_is_refused(other):
  with pytest.raises(InputError, match="no weights of it have a place here"):
    begun(state_of({"encoder": {"z": {"kernel": jnp.zeros((2, 3))}}}))


def run(workdir, *arguments):
  change = {"XDG_CACHE_HOME": str(workdir.parent / "cache")}
  own = environment()
  own.pop("JAX_COMPILATION_CACHE_DIR", None)
  own.pop("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", None)
  return subprocess.run(
    command(*QUICK, f"--workdir={workdir}", *arguments, config=TINY),
    capture_output=True,
    text=True,
    env=own | change,
    timeout=600,
    check=False,
  )


@pytest.mark.slow
def test_a_second_start_compiles_nothing(tmp_path):
  """Nor do other seeds, more steps or other weights to start from."""

  def programs():
    return {p.name for p in (tmp_path / "cache").rglob("*-cache")}

  first = run(tmp_path / "run", "--config.steps=2")
  assert first.returncode == 0, first.stderr
  assert "compiled after" in first.stdout
  compiled = programs()
  assert len(compiled) > 5
  more = run(tmp_path / "run", "--config.steps=4")
  assert more.returncode == 0, more.stderr
  assert "resuming after step 2" in more.stdout
  summary = json.loads((tmp_path / "run" / "summary.json").read_text())
  assert (summary["steps"], summary["steps_this_session"]) == (4, 2)
  assert programs() == compiled
  less = run(tmp_path / "run", "--config.steps=3")
  assert less.returncode == 2
  assert "is after step 4 already; steps=3" in less.stderr
  source = f"--config.init_from={tmp_path / 'run'}"
  another = run(tmp_path / "another", source, "--config.seed=5")
  assert another.returncode == 0, another.stderr
  assert f"starts from {tmp_path / 'run'}" in " ".join(another.stdout.split())
  assert programs() == compiled


def test_a_run_that_is_not_there_is_refused(tmp_path):
  source = f"--config.init_from={tmp_path / 'none'}"
  line = refused(*QUICK, source, f"--workdir={tmp_path / 'run'}")
  assert "no checkpoint there" in line
  assert not (tmp_path / "run").exists()
