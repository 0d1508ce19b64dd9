"""Codes of whole sources: by chunks, by processes, again after an end."""

import jax
import numpy as np
import pytest

import unirep
from unirep.inference import codes as coded
from unirep.inference.codes import Codes
from unirep.jobs import encoding
from unirep.runtime.errors import InputError

N = 10


class Model:
  """A code is the sample's number; passes of dropout add hundreds."""

  def __init__(self, digest="same"):
    self.digest, self.asked, self.ends_after = digest, [], N

  def codes(self, source, *, dropout=None, passes=1, first=0):
    if len(self.asked) >= self.ends_after:
      raise KeyboardInterrupt
    self.asked.append(first)
    number_N = np.array([source[i] for i in range(len(source))], np.int32)
    assert number_N[0] == first
    code_N = np.concatenate([number_N + 100 * i for i in range(passes)])
    label_N = np.tile(number_N, passes)
    return Codes({"a": code_N[:, None]}, {"a": code_N}, {"class": label_N})


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
  monkeypatch.setattr(encoding, "CHUNK", 4)


def check(found, passes):
  wanted = [i + 100 * p for p in range(passes) for i in range(N)]
  assert found.clip["a"].tolist() == wanted
  assert found.idx["a"][:, 0].tolist() == wanted
  assert found.labels["class"].tolist() == [*range(N)] * passes


@pytest.mark.parametrize("passes", [1, 3])
def test_chunks_are_seams_that_nobody_sees(tmp_path, passes):
  model, path = Model(), tmp_path / "codes" / "all.npz"
  check(encoding.encoded(model, range(N), path, passes=passes), passes)
  assert model.asked == [0, 4, 8]
  assert [p.name for p in path.parent.iterdir()] == ["all.npz"]
  check(encoding.encoded(None, None, path, passes=passes), passes)


def test_what_was_finished_is_not_made_again(tmp_path):
  model, path = Model(), tmp_path / "all.npz"
  model.ends_after = 2
  with pytest.raises(KeyboardInterrupt):
    encoding.encoded(model, range(N), path)
  assert not path.exists()
  again = Model()
  check(encoding.encoded(again, range(N), path), 1)
  assert again.asked == [8]


def test_processes_share_the_chunks(tmp_path, monkeypatch):
  path, asked = tmp_path / "all.npz", []
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(encoding.lockstep, "same", lambda value: value)

  def wait(name, seconds):
    """The first process waits until the other one has done its part."""
    if name.startswith("encoded") and jax.process_index() == 0:
      other = Model()
      monkeypatch.setattr(jax, "process_index", lambda: 1)
      # Of what the first one joins.
      with pytest.raises(InputError, match="no such file"):
        encoding.encoded(other, range(N), path)
      monkeypatch.setattr(jax, "process_index", lambda: 0)
      asked.append(other.asked)

  monkeypatch.setattr(encoding.lockstep, "wait", wait)
  model = Model()
  check(encoding.encoded(model, range(N), path), 1)
  assert [model.asked, *asked] == [[0, 8], [4]]


def test_a_name_says_what_codes_depend_on():
  same = encoding.stamp(Model(), "data")
  assert encoding.stamp(Model(), "data") == same
  others = [
    encoding.stamp(Model("another"), "data"),
    encoding.stamp(Model(), "other"),
  ]
  assert len({same, *others}) == 3


def test_a_model_is_known_by_settings_weights_and_codes(trained):
  one = unirep.load(trained)
  settings = one.settings | {"seed": 7}
  less = {**one.params, "decoder": {}}
  made = type(one)
  others = [
    made(one.network, one.params, one.codebook, settings),
    made(one.network, less, one.codebook, one.settings),
    made(one.network, one.params, one.codebook * 2, one.settings),
  ]
  assert len({one.digest, *(x.digest for x in others)}) == 4
  assert unirep.load(trained).digest == one.digest


def test_data_that_have_changed_are_refused(tmp_path):
  encoding.remember(tmp_path, "clips", "5 samples, ab", False)
  encoding.remember(tmp_path, "events", "6 samples, cd", False)
  encoding.remember(tmp_path, "clips", "5 samples, ab", False)
  with pytest.raises(InputError, match=r"was '5 samples, ab' and is '5 .*ef'"):
    encoding.remember(tmp_path, "clips", "5 samples, ef", False)
  encoding.remember(tmp_path, "clips", "5 samples, ef", True)
  encoding.remember(tmp_path, "clips", "5 samples, ef", False)


def test_passes_are_joined_pass_after_pass():
  def part(first, count):
    code_N = np.arange(first, first + 2 * count)
    return Codes({"a": code_N[:, None]}, {"a": code_N}, {})

  found = coded.join_passes([part(0, 2), part(10, 1)], 2)
  assert found.clip["a"].tolist() == [0, 1, 10, 2, 3, 11]
