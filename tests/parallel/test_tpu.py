"""The whole step, compiled by the real TPU compiler; needs no TPU.

The rest of the slices, presets and types: `python -m benchmarks.scaling
--check`.
"""

import pytest

from benchmarks import chips, slices

pytestmark = pytest.mark.tpu
pytest.importorskip("libtpu")

CASE = slices.Case("v5e:2x2", 320, "clean", "float32", size="tiny")


@pytest.fixture(scope="module")
def row():
  return slices.describe(CASE)


def test_compiles_and_fits(row):
  assert row["fits"]
  assert 0 < row["memory_bytes"] < chips.chip(CASE.topology).memory
  assert row["memory_bytes"] > row["argument_bytes"] > 0


def test_holds_only_what_the_design_names(row):
  assert slices.faults(row) == []
  assert set(row["collectives"]) <= {*slices.DESIGN["dense"]}
