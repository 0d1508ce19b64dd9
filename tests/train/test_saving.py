"""Checkpoints that are written beside training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from unirep.quantizer.codebook import Codebook
from unirep.train import digests, restoring, saving
from unirep.train.state import TrainState

SIZE = 1 << 20


def a_state():
  book = Codebook(*(jnp.ones((4, 2)) for _ in Codebook._fields))
  weight = jnp.arange(SIZE, dtype=jnp.float32)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params={"encoder": {"weight": weight}},
    codebook=book,
    side={"club": {"weight": weight + 1}},
    opt_state={"moment": weight + 2},
  )


@functools.partial(jax.jit, donate_argnums=0)
def step(state):
  return jax.tree.map(lambda x: x + 1, state)


def unheard(error):
  raise AssertionError(error)


def test_steps_that_follow_do_not_change_what_is_written(tmp_path):
  manager = saving.open_manager(tmp_path)
  saver = saving.Saver(manager, unheard, 10)
  state, places = a_state(), []
  for _ in range(4):
    state = step(state)
    saver.save(state, {}, {"place": int(state.step)})
    for _ in range(3):  # the old arrays' memory is reused at once
      state = step(state)
    places.append(int(state.step) - 3)
  assert saver.wait()
  assert sorted(manager.all_steps()) == places
  for place in places:
    assert not digests.damage(tmp_path, place)
  like = jax.eval_shape(a_state)
  here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  where = jax.tree.map(lambda _: here, like)
  restored = restoring.restore(manager, like, where)
  assert restored is not None
  found, data, _ = restored
  assert data == {"place": places[-1]}
  expected = jax.tree.map(lambda x: x + places[-1], a_state())
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_one_that_fails_is_told_and_does_not_hold_up_the_next(
  tmp_path, monkeypatch
):
  heard = []
  manager = saving.open_manager(tmp_path)
  saver = saving.Saver(manager, heard.append, 10)
  write = digests.write

  def once(*args):
    monkeypatch.setattr(digests, "write", write)
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(digests, "write", once)
  state = step(a_state())
  saver.save(state, {}, {})
  state = step(state)
  saver.save(state, {}, {})
  assert saver.wait()
  assert not saver.wait(), "nothing is under way"
  assert [str(error) for error in heard] == [
    "no checkpoint of step 1: [Errno 28] No space left on device"
  ]
  assert (tmp_path / "2").exists()
  assert not (tmp_path / "1").exists()


@pytest.mark.parametrize("within", [False, True])
def test_a_place_that_is_a_file_for_a_while(tmp_path, monkeypatch, within):
  """Each save fails and says so; once it is a folder again, one succeeds."""
  root, aside, heard = tmp_path / "checkpoints", tmp_path / "aside", []
  saver = saving.Saver(saving.open_manager(root), heard.append, 10)
  state = step(a_state())
  saver.save(state, {}, {})
  assert saver.wait()
  write = saving._write

  def put(*arguments):
    monkeypatch.setattr(saving, "_write", write)
    root.rename(aside)
    root.write_text("in the way")
    write(*arguments)

  if within:
    monkeypatch.setattr(saving, "_write", put)
  else:
    root.rename(aside)
    root.write_text("in the way")
  for count in (1, 2):
    state = step(state)
    saver.save(state, {}, {})
    assert not saver.wait()
    assert len(heard) == count
  assert root.read_text() == "in the way"
  root.unlink()
  aside.rename(root)
  state = step(state)
  saver.save(state, {}, {})
  assert saver.wait()
  assert sorted(digests.known(root)) == ["1", "4"]


def test_who_requires_checkpoints_hears_of_it_at_the_next(
  tmp_path, monkeypatch
):
  def full(*args):
    raise OSError(28, "No space left on device")

  def failed(error):
    raise error

  monkeypatch.setattr(digests, "write", full)
  saver = saving.Saver(saving.open_manager(tmp_path), failed, 2)
  saver.save(step(a_state()), {}, {})
  with pytest.raises(saving.SaveError, match=r"step 1: .*No space left"):
    saver.wait()
