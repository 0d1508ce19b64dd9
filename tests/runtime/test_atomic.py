"""Files that are whole or not there."""

import json
import math

import numpy as np
import pytest

from unirep.runtime import atomic


def test_results_are_strict_json(tmp_path):
  """Of one seed there is no deviation: its NaN would be no JSON."""

  def refuse(name):
    raise AssertionError(name)

  rows = [{"value": 0.5, "std": math.nan, "high": np.float64(math.inf)}]
  atomic.write_json(tmp_path / "results.json", {"rows": rows, "at": (1, 5)})
  text = (tmp_path / "results.json").read_text()
  assert json.loads(text, parse_constant=refuse) == {
    "rows": [{"value": 0.5, "std": None, "high": None}],
    "at": [1, 5],
  }


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path):
  path = tmp_path / "results.json"
  atomic.write_json(path, {"old": 1})
  with pytest.raises(TypeError):
    atomic.write_json(path, {"new": object()})
  assert json.loads(path.read_text()) == {"old": 1}
  assert [*tmp_path.iterdir()] == [path]
