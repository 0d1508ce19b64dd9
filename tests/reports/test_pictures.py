"""Figures: told apart without colors, true at their edges."""

import math

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from unirep.reports import charts, pictures


def row(source, target, **options):
  return {
    **{"task": "t", "source": source, "target": target, "metric": "accuracy"},
    **{"leads": True, "keep": 8, "chance": 0.1, "baseline": None},
    **{"value": 0.9, "low": 0.8, "high": 0.95},
    **options,
  }


def drawn(tmp_path, rows):
  """The axes of a figure of rows, and the names in its legend."""
  figure = pictures.results(tmp_path / "x.png", {"rows": rows})
  assert (tmp_path / "x.png").stat().st_size > 5000
  assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")
  names = [text.get_text() for text in figure.legends[0].get_texts()]
  return figure.axes, names


def test_curves_differ_without_their_colors():
  axis = Figure().subplots()
  charts.curves(axis, [0, 1], {str(i): [i, i] for i in range(20)})
  looks = {(x.get_marker(), str(x._dash_pattern)) for x in axis.lines}
  assert len(looks) == 20
  light = [np.dot((0.299, 0.587, 0.114), to_rgb(c)) for c in charts.COLORS]
  assert min(np.diff(light)) > 0.1  # in grey, from dark to light


def test_styles_stay_in_their_figures(tmp_path):
  import matplotlib as mpl

  before = dict(mpl.rcParams)
  drawn(tmp_path, [row("a", "b")])
  assert dict(mpl.rcParams) == before


def test_no_band_goes_beyond_all(tmp_path):
  """Student's interval of a share near 1 exceeds 1; its band must not."""
  rows = [row("a", "b", keep=keep, low=0.97, high=1.01) for keep in (8, 16)]
  (axis,), _ = drawn(tmp_path, rows)
  (band,) = axis.collections
  heights = band.get_paths()[0].vertices[:, 1]
  assert heights.max() == 100
  assert heights.min() == pytest.approx(97)
  assert axis.get_ylim() == (0, 100)


def test_ceilings_stand_apart(tmp_path):
  axes, names = drawn(tmp_path, [row(a, b) for a in "ab" for b in "ab"])
  assert names == [
    *("trained on a", "trained on b", pictures.CEILING, "chance"),
  ]
  for axis, target in zip(axes, "ab", strict=True):
    assert axis.get_title() == f"tested on {target}"
    scores = [x for x in axis.lines if x.get_label() != "chance"]
    for line in scores:
      ceiling = line.get_label() == pictures.CEILING
      assert (line.get_markerfacecolor() == "white") == ceiling
    assert len(scores) == 2


def test_without_masks_there_are_points(tmp_path):
  rows = [row(a, "text", keep=None, chance=None) for a in ("audio", "video")]
  (axis,), names = drawn(tmp_path, rows)
  assert names == ["trained on audio", "trained on video"]
  ticks = [text.get_text() for text in axis.get_xticklabels()]
  assert ticks == ["audio", "video"]
  assert [list(line.get_xdata()) for line in axis.lines] == [[0], [1]]


def test_one_seed_has_no_band_and_a_lost_number_no_point(tmp_path):
  lost = {"low": math.nan, "high": math.nan}
  rows = [row("a", "b", **lost), row("c", "b", value=math.nan, **lost)]
  (axis,), _ = drawn(tmp_path, rows)
  assert [len(x.get_paths()) for x in axis.collections] == [0, 0]
  assert [x.get_ydata()[0] for x in axis.lines[:2]] == [
    pytest.approx(90),
    pytest.approx(math.nan, nan_ok=True),
  ]


@pytest.mark.parametrize("count", [1, 9])
def test_any_number_of_modalities_with_long_names(count, tmp_path):
  names = [f"a_long_name_of_a_modality_{i}" for i in range(count)]
  axes, _ = drawn(tmp_path, [row(a, b) for a in names for b in names])
  assert len(axes) == count
  usage = {name: np.arange(300) for name in names}
  lines = [{"step": i, "loss": 1.0} for i in (1, 2)]
  lines[1] |= {f"agreement/clip/{name}-x": 0.5 for name in names}
  figure = pictures.picture(tmp_path / "y.png", lines, usage, {})
  assert figure.get_size_inches()[0] == charts.PAGE


def test_a_class_map_is_a_share_of_each_class():
  axes = Figure().subplots(1, 2)
  counts = {"a": np.diag([8, 4]), "b": np.array([[1, 1], [3, 1]])}
  charts.code_by_class(axes, counts)
  shown = [axis.images[0].get_array() for axis in axes]  # (C, U)
  np.testing.assert_allclose(shown[0], np.eye(2))
  np.testing.assert_allclose(shown[1], [[0.25, 0.75], [0.5, 0.5]])
