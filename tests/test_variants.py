"""Variants of a sweep against NumPy, with holes."""

import csv
import json
import math
import pathlib
import re
import warnings

import numpy as np
import pytest

from unirep.launch import grid, picture, results, variants
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
  for found, x in ((base.estimate, first), (new.estimate, second)):
    assert found.mean == pytest.approx(100 * x.mean())
    assert found.std == pytest.approx(100 * x.std(ddof=1))
    assert found.seeds == 5
  d = 100 * (second - first)
  assert new.difference.mean == pytest.approx(d.mean())
  assert new.difference.std == pytest.approx(d.std(ddof=1))
  assert new.difference.std != pytest.approx(
    math.hypot(base.estimate.std, new.estimate.std), rel=1e-3
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


def test_the_sweep_of_the_docs(tmp_path, monkeypatch):
  root = pathlib.Path(__file__).resolve().parent.parent
  monkeypatch.chdir(root)
  text = (root / "docs" / "sweeps.md").read_text()
  blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
  (code,) = (block for block in blocks if "VARIANTS" in block)
  (tmp_path / "sweep.py").write_text(code)
  found = grid.load(tmp_path / "sweep.py", tmp_path)
  assert len(found) == 9
  names = [*dict.fromkeys(run.variant for run in found)]
  assert names == ["default", "small codebook", "no matching"]
  assert "small_codebook,seed=1" in [run.name for run in found]
  assert not any("name" in word for run in found for word in run.command)


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
  assert (tmp_path / "variants.png").stat().st_size > 10_000
  assert (tmp_path / "variants.csv").read_text().count("\n") == 41
  assert not [x for x in tmp_path.iterdir() if x.name.endswith(".part")]


def agreed(run, *values):
  lines = [
    {"step": 10 * i, "agreement/clip/a-b": x, "agreement/clip/a-c": x - 0.1}
    for i, x in enumerate(values)
  ]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (run.workdir / "metrics.jsonl").write_text(text)


def test_a_picture_has_seeds_as_bands_and_ceilings_apart(tmp_path):
  found = sweep(tmp_path, {"old": {0: 0.99, 1: 0.95}, "new": {0: 0.9}})
  for run, values in zip(found, ([0.5, 1], [0.7, 1], [0.6]), strict=True):
    agreed(run, *values)
  for run in found:
    path = run.workdir / run.result
    rows = json.loads(path.read_text())["rows"]
    rows = [row | {"ceiling": 0.98} for row in rows]
    rows.append(rows[0] | {"source": "b", "value": 0.98})  # the ceiling itself
    path.write_text(json.dumps({"rows": rows}))
  scores = variants.compare(found)
  path = tmp_path / "x.png"
  curves, reached = picture.draw(path, found, scores).axes
  assert path.stat().st_size > 10_000
  assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
  old, new = curves.lines
  assert list(old.get_ydata()) == pytest.approx([55, 95])  # the mean of pairs
  assert list(new.get_ydata()) == pytest.approx([55])
  assert (old.get_marker(), old._dash_pattern) != (
    *(new.get_marker(), new._dash_pattern),
  )
  band = curves.collections[0].get_paths()[0].vertices[:, 1]
  assert band.min() == pytest.approx(55 - np.std([45, 65], ddof=1))
  assert reached.get_title() == "t a->b %"
  drawn = {}
  for line in reached.lines:
    drawn.setdefault(line.get_label(), []).append(line)
  assert len(drawn[picture.MEAN]) == 2
  for line in drawn[picture.CEILING]:
    assert line.get_markerfacecolor() == "white"
    assert list(line.get_xdata()) == pytest.approx([98])
  sd = drawn[picture.SD][0].get_xdata()
  assert sd[0] == pytest.approx(97 - np.std([99, 95], ddof=1))
  assert max(sd) <= 100
  assert sorted(drawn[picture.SEED][0].get_xdata()) == pytest.approx([95, 99])
  assert reached.get_xlim()[1] == 100


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_edges_of_a_share_are_drawn_without_a_warning(value, tmp_path):
  found = sweep(tmp_path, {"a": {0: value, 1: value}, "b": {0: value}})
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    figure = picture.draw(tmp_path / "x.png", found, variants.compare(found))
  low, high = figure.axes[0].get_xlim()
  assert low < high == 100
  assert low <= 100 * value


def test_nothing_to_draw(tmp_path):
  found = sweep(tmp_path, {"a": {0: None}, "b": {0: None}})
  assert picture.draw(tmp_path / "x.png", found, []) is None


def test_one_run_alone_is_no_variant(tmp_path, capsys):
  (run,) = found = sweep(tmp_path, {"a": {0: 0.5}})
  assert results.show(found, pathlib.Path(tmp_path)) == 0
  assert "variant" not in capsys.readouterr().out
  assert not [*tmp_path.glob("variants.*")]
  assert run.finished()
