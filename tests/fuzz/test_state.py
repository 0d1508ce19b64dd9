"""What runs leave behind, broken at random: one line, or what it says now."""

import json

import numpy as np
import oneline
import pytest
from fuzz import mutations

import unirep
from unirep.configuration import build
from unirep.inference import codes as coded
from unirep.inference.codes import Codes
from unirep.jobs import encoding
from unirep.jobs import workdir as workdirs
from unirep.runtime.errors import InputError
from unirep.train import digests, log

SETTINGS = {"seed": 3, "data": {"source": "digits"}, "identity": {"a": "b"}}


def a_record(place):
  """A checkpoint of one file, and its digests; what of them is read."""
  (place / "8").mkdir(parents=True)
  (place / "8" / "weights").write_bytes(bytes(100))
  digests.write(place, 8)

  def read():
    assert digests.damage(place, 8) in (
      "",
      "weights has changed since it was written",
      *(f"{x} is missing" for x in digests.known(place).get("8", {})),
    )

  return place / digests.FILE, read


def a_config(place):
  place.mkdir()
  workdirs.claim(place, SETTINGS)
  workdirs._HELD.pop(place.resolve()).close()
  return place / workdirs.CONFIG, lambda: workdirs.check(place, SETTINGS)


def a_log(place):
  place.mkdir()
  lines = [json.dumps({"step": i, "loss": i / 3}) for i in range(1, 20)]
  (place / log.METRICS).write_text("\n".join(lines) + "\n")

  def read():
    for line in log.read(place / log.METRICS):
      assert isinstance(line, dict)

  return place / log.METRICS, read


def some_codes(place):
  idx = {"audio": np.arange(12, dtype=np.int32).reshape(4, 3)}
  whole = Codes(idx, {"audio": np.arange(4)}, {"class": np.arange(4)})
  coded.write(place / "codes.npz", whole)

  def read():
    found = coded.read(place / "codes.npz")
    for name, x in found.idx.items():  # the format has checksums
      np.testing.assert_array_equal(x, whole.idx[name])

  return place / "codes.npz", read


def known_data(place):
  place.mkdir()
  encoding.remember(place, "clips", "5 samples, ab", False)
  return place / encoding.DATA, lambda: encoding.remember(
    place, "clips", "5 samples, ab", False
  )


MADE = {
  "digests": a_record,
  "config.json": a_config,
  "metrics": a_log,
  "codes": some_codes,
  "data.json": known_data,
}


def broken(name, count, place):
  """Reads so many broken files; how many were refused."""
  path, read = MADE[name](place / "made")
  whole, refused = path.read_bytes(), 0
  for i in range(count):
    path.write_bytes(mutations.mutated(whole, i, sorted(MADE).index(name)))
    try:
      read()
    except InputError as error:
      oneline.check(error)
      refused += 1
  return refused


@pytest.mark.parametrize("name", MADE)
def test_some(name, tmp_path):
  broken(name, 100, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
def test_many(name, tmp_path):
  # A record of digests, or a log, that is broken counts up to there.
  assert broken(name, 2000, tmp_path) < 2000


def configured(trained, count):
  """Networks of broken configurations: how many were refused."""
  model, refused = unirep.load(trained), 0
  stored = {"params": model.params, "codebook": {"code_KxD": model.codebook}}
  whole = json.dumps(model.settings).encode()
  for i in range(count):
    try:
      settings = json.loads(mutations.mutated(whole, i, 99))
    except ValueError:
      continue  # said by whoever reads it
    try:
      shapes = build.shapes(settings, stored)
      assert shapes["codebook"]["code_KxD"].shape[0] > 0
    except InputError as error:
      oneline.check(error)
      refused += 1
  return refused


def test_some_configurations(trained):
  configured(trained, 20)


@pytest.mark.slow
def test_many_configurations(trained):
  assert 0 < configured(trained, 500) < 500
