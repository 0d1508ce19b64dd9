"""A run that resumes, and loses no file of anybody."""

import errno
import json
import logging
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_saving import a_state, step, unheard

from unirep.runtime.errors import InputError
from unirep.train import digests, restoring, saving


def saved(root, steps=(1, 2, 3), keep=10):
  """A run of a few steps, with a checkpoint of each."""
  saver = saving.Saver(saving.open_manager(root), unheard, keep)
  state = a_state()
  for _ in steps:
    state = step(state)
    saver.save(state, {"seed": 0}, {"place": int(state.step)})
    assert saver.wait()
  return root


def restored(root, manager=None):
  """The step that a run goes on from, and its data's place."""
  like = jax.eval_shape(a_state)
  here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  where = jax.tree.map(lambda _: here, like)
  manager = manager or saving.open_manager(root)
  found = restoring.restore(manager, like, where)
  if found is None:
    return None
  state, data, config = found
  assert config == {"seed": 0}
  return int(state.step), data["place"]


def content(root):
  """Everything below a folder: name -> bytes, or its kind."""
  return {
    x.relative_to(root).as_posix(): x.read_bytes()
    if x.is_file()
    else x.is_dir()
    for x in sorted(root.rglob("*"))
  }


def flip(folder):
  """Changes one bit in the middle of the largest file."""
  path = max(
    (x for x in folder.rglob("*") if x.is_file()),
    key=lambda x: x.stat().st_size,
  )
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def test_what_is_not_of_the_run_is_left_alone(tmp_path):
  root = tmp_path / "checkpoints"
  foreign = root / "2024"
  foreign.mkdir(parents=True)
  (foreign / "thesis.txt").write_text("years of work")
  (root / "notes.txt").write_text("mine")
  (root / "0").mkdir()
  (root / "7.tmp").write_text("also mine")
  before = content(root)
  saved(root, keep=2)
  assert restored(root) == (3, 3)
  assert restoring.strangers(root) == [0, 2024]
  after = content(root)
  assert {k: after[k] for k in before} == before
  steps = {k.partition("/")[0] for k in after.keys() - before.keys()}
  assert steps == {"2", "3", digests.FILE}


def test_a_file_within_an_old_step_outlives_it(tmp_path):
  root = saved(tmp_path / "checkpoints", (1,))
  (root / "1" / "model" / "why.txt").write_text("the best one")
  saver = saving.Saver(saving.open_manager(root), unheard, 1)
  state = step(step(a_state()))
  saver.save(state, {"seed": 0}, {"place": 2})
  assert saver.wait()
  assert [*content(root / "1")] == ["model", "model/why.txt"]
  assert restored(root) == (2, 2)


def test_damaged_ones_are_kept_in_quarantine(tmp_path, caplog):
  root = saved(tmp_path / "checkpoints")
  flip(root / "3")
  damaged = content(root / "3")
  manager = saving.open_manager(root)  # of one run: it reads, then it writes
  with caplog.at_level(logging.WARNING):
    assert restored(root, manager) == (2, 2)
  assert "is damaged" in caplog.text
  assert "quarantine" in caplog.text
  assert content(tmp_path / "quarantine" / "checkpoint-3") == damaged
  assert not (root / "3").exists()
  assert sorted(digests.known(root)) == ["1", "2"]
  saver = saving.Saver(manager, unheard, 10)
  saver.save(a_state()._replace(step=jnp.int32(3)), {"seed": 0}, {"place": 3})
  assert saver.wait()
  flip(root / "3")
  assert restored(root) == (2, 2)
  assert content(tmp_path / "quarantine" / "checkpoint-3") == damaged
  assert (tmp_path / "quarantine" / "checkpoint-3-0").is_dir()


def test_where_all_are_damaged_all_stay(tmp_path):
  root = saved(tmp_path / "checkpoints", (1, 2))
  flip(root / "1")
  flip(root / "2")
  before = content(tmp_path)
  with pytest.raises(InputError, match="none of the checkpoints"):
    restored(root)
  assert content(tmp_path) == before


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_an_error_of_the_disk_is_no_damage(tmp_path, monkeypatch, code):
  root = saved(tmp_path / "checkpoints")
  before, plain = content(tmp_path), pathlib.Path.open

  def fails(path, *args, **keywords):
    if "3" in path.relative_to(root).parts and "model" in path.parts:
      raise OSError(code, os.strerror(code), str(path))
    return plain(path, *args, **keywords)

  with monkeypatch.context() as broken:
    broken.setattr(pathlib.Path, "open", fails)
    with pytest.raises(InputError, match="nothing was changed") as error:
      restored(root)
  assert os.strerror(code) in str(error.value)
  assert content(tmp_path) == before
  assert restored(root) == (3, 3)


def test_one_that_orbax_cannot_read_though_it_is_whole_stays(
  tmp_path, monkeypatch
):
  root = saved(tmp_path / "checkpoints")
  before = content(tmp_path)

  def fails(*args, **keywords):
    raise ValueError("transient\nwith advice")

  with monkeypatch.context() as broken:
    broken.setattr(restoring.ocp.CheckpointManager, "restore", fails)
    with pytest.raises(InputError, match="nothing was changed") as error:
      restored(root)
  assert "\n" not in str(error.value)
  assert content(tmp_path) == before


def test_a_state_that_is_not_finite_is_skipped(tmp_path):
  root = saved(tmp_path / "checkpoints", (1, 2))
  saver = saving.Saver(saving.open_manager(root), unheard, 10)
  state = a_state()._replace(step=jnp.int32(3))
  state = state._replace(
    opt_state={"moment": state.opt_state["moment"] * jnp.nan}
  )
  saver.save(state, {"seed": 0}, {"place": 3})
  assert saver.wait()
  assert restored(root) == (2, 2)
  assert (tmp_path / "quarantine" / "checkpoint-3").is_dir()


def test_a_step_without_digests_goes_on_and_gets_them(tmp_path, caplog):
  """The run was killed after Orbax had renamed it."""
  root = saved(tmp_path / "checkpoints", (1, 2))
  record = digests.known(root)
  del record["2"]
  (root / digests.FILE).write_text(json.dumps(record))
  with caplog.at_level(logging.WARNING):
    assert restored(root) == (2, 2)
  assert "no digest vouches" in caplog.text
  assert sorted(digests.known(root)) == ["1", "2"]


def test_a_folder_in_the_way_is_not_written_over(tmp_path):
  root, heard = saved(tmp_path / "checkpoints", (1,)), []
  (root / "2").mkdir()
  (root / "2" / "mine.txt").write_text("mine")
  saver = saving.Saver(saving.open_manager(root), heard.append, 10)
  saver.save(a_state()._replace(step=jnp.int32(2)), {}, {})
  assert not saver.wait()
  assert "is in the way" in str(heard[0])
  assert (root / "2" / "mine.txt").read_text() == "mine"


def test_half_of_a_step_is_removed_and_nothing_that_looks_like_it(tmp_path):
  root = saved(tmp_path / "checkpoints", (1,))
  ours, other = root / f"2{saving.TEMPORARY}-17", root / f"a{saving.TEMPORARY}"
  for folder in (ours, other):
    folder.mkdir()
    (folder / "x").write_text("x")
  saving.open_manager(root)
  assert not ours.exists()
  assert (other / "x").exists()


def test_digests_name_files_of_the_step_alone(tmp_path):
  root = saved(tmp_path / "checkpoints", (1,))
  for name in ("/etc/shadow", "../../secret", "/dev/zero", "a\0b"):
    (root / digests.FILE).write_text(json.dumps({"1": {name: "00"}}))
    with pytest.raises(InputError, match="no file of a step"):
      digests.damage(root, 1)
  for record in ("", "[]", "{", "[" * 100_000, '{"1": 5}', '{"1": {"a": 1}}'):
    (root / digests.FILE).write_text(record)
    assert digests.known(root) == {}


def test_links_and_pipes_are_not_read(tmp_path):
  root = saved(tmp_path / "checkpoints", (1,))
  path = root / "1" / "model" / "_METADATA"
  path.unlink()
  path.symlink_to("/dev/zero")
  with pytest.raises(InputError, match="is a link"):
    digests.damage(root, 1)
  path.unlink()
  os.mkfifo(path)
  with pytest.raises(InputError, match="no file"):
    digests.damage(root, 1)


def test_numbers_of_steps():
  names = ["0", "12", "012", "-1", "²", "٣", "", "1.0", "7 "]
  assert [x for x in names if restoring.is_number(x)] == ["0", "12"]
  assert np.all([restoring.is_number(str(i)) for i in range(3)])
