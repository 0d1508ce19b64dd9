"""Variants of a sweep against NumPy, with holes."""

import csv
import json
import math
import pathlib

import numpy as np
import pytest

from unirep.launch import grid, results, variants
from unirep.launch.grid import Run


def runs(tmp_path, *overrides):
  """Runs of these overrides that have not started."""
  return grid.variants(
    [
      Run(grid.name(x), x, (), tmp_path / grid.name(x), "r.json", x.get("seed"))
      for x in overrides
    ]
  )


def finish(run, value):
  """Writes one result of a task, and of a mask that does not count."""
  row = {"task": "t", "source": "a", "target": "b", "leads": True}
  rows = [row | {"value": 0.01}, row | {"value": value}]
  rows.append(row | {"value": 0.02, "leads": False})
  run.workdir.mkdir()
  (run.workdir / run.result).write_text(json.dumps({"rows": rows}))


def sweep(tmp_path, values):
  """Variant -> seed -> value, None for a run that failed."""
  found = runs(
    tmp_path, *({"name": v, "seed": s} for v, x in values.items() for s in x)
  )
  for run in found:
    value = values[run.variant][run.seed]
    if value is not None:
      finish(run, value)
  return found


def test_means_and_paired_differences(tmp_path):
  first, second = np.random.default_rng(0).random((2, 5))
  values = {"base": dict(enumerate(first)), "new": dict(enumerate(second))}
  base, new = variants.compare(sweep(tmp_path, values))
  assert (base.variant, base.measure, base.runs) == ("base", "t a->b %", 5)
  assert base.difference is None
  for found, x in ((base.found, first), (new.found, second)):
    assert found.mean == pytest.approx(100 * x.mean())
    assert found.std == pytest.approx(100 * x.std(ddof=1))
    assert found.seeds == 5
  d = 100 * (second - first)
  assert new.difference.mean == pytest.approx(d.mean())
  assert new.difference.std == pytest.approx(d.std(ddof=1))
  assert new.difference.std != pytest.approx(
    math.hypot(base.found.std, new.found.std), rel=1e-3
  ), "seed by seed, not of the means"


def test_only_common_seeds_are_compared(tmp_path):
  values = {
    "base": {0: 0.5, 1: None, 2: 0.7, 3: math.nan},
    "some": {1: 0.9, 2: 0.8, 3: 0.6},
    "none": {7: 0.4},
    "lost": {0: None},
    "nan": {0: math.nan},
  }
  found = sweep(tmp_path, values)
  header, *rows = variants.cells(found, variants.compare(found))
  assert header == ["variant", "seeds", "t a->b %"]
  assert rows == [
    ["base", "2 of 4", "60.0 ± 14.1"],
    ["some", "3 of 3", "76.7 ± 15.3\n+10.0, n = 1"],
    ["none", "1 of 1", "40.0"],
    ["lost", "0 of 1", ""],
    ["nan", "0 of 1", ""],
  ]
  variants.write(tmp_path / "x.csv", variants.compare(found))
  with (tmp_path / "x.csv").open() as file:
    lines = {line["variant"]: line for line in csv.DictReader(file)}
  assert list(lines) == ["base", "some", "none"]
  assert float(lines["some"]["mean"]) == pytest.approx(230 / 3)
  assert float(lines["some"]["difference"]) == pytest.approx(10)
  assert lines["some"]["difference_sd"] == ""
  assert lines["some"]["difference_seeds"] == "1"
  assert (lines["none"]["sd"], lines["none"]["difference"]) == ("", "")


def test_a_number_that_a_seed_lacks_says_of_how_many(tmp_path):
  found = runs(tmp_path, *({"seed": i} for i in range(3)))
  for run in found:
    scores = {"a->b": {"accuracy": 0.5}}
    scores |= {"b->a": {"accuracy": 0.5 if run.seed else math.nan}}
    run.workdir.mkdir()
    (run.workdir / run.result).write_text(json.dumps({"cross_modal": scores}))
  _, row = variants.cells(found, variants.compare(found))
  assert row == ["default", "3 of 3", "50.0 ± 0.0", "50.0 ± 0.0, n = 2"]


def test_variants_are_called_by_what_differs(tmp_path):
  base = {"steps": 5, "config": "configs/pretrain.py:size=tiny"}
  found = runs(
    tmp_path,
    *(
      base | x for x in grid.grid(**{"a.b": [1, 2], "c": ["x"], "seed": [0, 1]})
    ),
    base | {"seed": 0},
    base | {"seed": 0, "name": "my own", "a.b": 3},
  )
  assert list(dict.fromkeys(run.variant for run in found)) == [
    *("a.b=1, c=x", "a.b=2, c=x", "default", "my own")
  ]


def test_without_the_first_variant_there_are_no_differences(tmp_path):
  found = sweep(tmp_path, {"base": {0: None}, "new": {0: 0.5}})
  (score,) = variants.compare(found)
  assert score.difference is None
  assert variants.compare(found[:1]) == []


def test_forty_variants_with_odd_names_on_screen_and_in_files(tmp_path, capsys):
  values = {f"v/{i} [red]|": {0: i / 40, 1: 0.5} for i in range(40)}
  found = sweep(tmp_path, values)
  assert results.show(found, tmp_path) == 0
  shown = capsys.readouterr().out
  assert "v/39 [red]|" in shown
  assert "difference from v/0 [red]|, seed by seed" in " ".join(shown.split())
  assert "+48.8 ± 68.9, n = 2" in shown
  lines = (tmp_path / "variants.md").read_text().splitlines()
  assert len(lines) == 42
  assert lines[-1].startswith(r"| v/39 [red]\| | 2 of 2 | 73.8 ± 33.6; +48.8")
  assert {line.replace(r"\|", "").count("|") for line in lines} == {4}
  assert (tmp_path / "variants.csv").read_text().count("\n") == 41
  assert not [x for x in tmp_path.iterdir() if x.name.endswith(".part")]


def test_one_run_alone_is_no_variant(tmp_path, capsys):
  (run,) = found = sweep(tmp_path, {"a": {0: 0.5}})
  assert results.show(found, pathlib.Path(tmp_path)) == 0
  assert "variant" not in capsys.readouterr().out
  assert run.finished()
