"""Figures of finished runs: training, scores of tasks, and importance.

Dimensions: K codes, C classes, D code width.
"""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from unirep.reports import charts, tables

LOSSES = (
  "loss",
  "cpc",
  "infonce",
  "matching",
  "cmcm",
  "club",
  "fine_reconstruction",
)
AGREEMENT = "agreement/"  # prefix of metrics "agreement/<granularity>/<pair>"
CURVE = 1.9  # height of curves, in inches
ACROSS = 5  # panels side by side on a page
MOST = 100  # percent: no interval and no axis goes beyond
TRAINED, CEILING = "trained on {}", "ceiling: trained on the target"


@charts.styled
def picture(
  path: pathlib.Path,
  lines: Sequence[Mapping[str, float]],
  usage: Mapping[str, np.ndarray],
  by_class: Mapping[str, np.ndarray],
) -> Figure:
  """Draws the curves of training, and the codes by modality and by class.

  Args:
    path: a PNG; a PDF is written beside it.
    lines: logged metrics, see `train.log.read`.
    usage: modality -> (K,) how often each code is assigned to its steps.
    by_class: modality -> (K, C) the same by class, or empty.

  Returns:
    The figure.
  """
  parts = []
  if lines:
    parts.append((CURVE + _room(lines), lambda part: _curves(part, lines)))
  parts.append((0.8 + 0.24 * len(usage), lambda part: _users(part, usage)))
  if by_class:
    rows = math.ceil(len(by_class) / ACROSS)
    parts.append((0.6 + 1.6 * rows, lambda part: _classes(part, by_class)))
  return charts.stacked(parts, path)


def _room(lines):
  """The height of the legends of curves, in inches."""
  left, right = _widths(lines)
  return max(
    charts.legend_height(_losses(lines), left),
    charts.legend_height(_pairs(lines), right),
  )


def _widths(lines):
  """Widths of the legends of losses and of pairs, in inches."""
  return (charts.PAGE * x for x in ((0.5, 0.5) if _pairs(lines) else (1, 0)))


def _curves(figure, lines):
  """Losses and, if logged, agreement by granularity; legends below."""
  losses, pairs = _losses(lines), _pairs(lines)
  agreements = _agreements(lines)
  upper, lower = figure.subfigures(2, 1, height_ratios=(CURVE, _room(lines)))
  axis, *axes = upper.subplots(1, 1 + len(agreements), squeeze=False)[0]
  steps = [line["step"] for line in lines]
  charts.curves(axis, steps, losses)
  axis.set(xlabel="step", title="Unweighted losses")
  axis.set_yscale("symlog", linthresh=0.1)
  for other, (granularity, shares) in zip(
    axes, agreements.items(), strict=True
  ):
    charts.curves(other, steps, shares)
    title = f"Agreement of {granularity}s, %"
    other.set(xlabel="step", ylim=(0, MOST), title=title)
  left, right = lower.subfigures(1, 2)
  width, rest = _widths(lines)
  charts.legend(left if pairs else lower, [axis], losses, width, "upper center")
  charts.legend(right, axes, pairs, rest, "upper center")


def _losses(lines):
  """Loss -> its values over steps, each the sum of its parts."""
  return {
    name.replace("_", " "): [
      sum(value for key, value in line.items() if _of(name, key))
      for line in lines
    ]
    for name in LOSSES
    if any(_of(name, key) for key in lines[-1])
  }


def _agreements(lines):
  """Granularity -> pair -> percent over steps."""
  keys = [key for key in lines[-1] if key.startswith(AGREEMENT)]
  granularities = dict.fromkeys(key.split("/")[1] for key in keys)
  return {
    granularity: {
      pair: [
        MOST * line.get(f"{AGREEMENT}{granularity}/{pair}", math.nan)
        for line in lines
      ]
      for pair in _pairs(lines)  # in all panels: a pair looks the same in each
    }
    for granularity in granularities
  }


def _pairs(lines):
  """Pairs whose agreement was logged at any granularity."""
  keys = [key for key in lines[-1] if key.startswith(AGREEMENT)]
  return [*dict.fromkeys(key.split("/", 2)[2] for key in keys)]


def _of(name, key):
  return key == name or key.startswith(f"{name}/")


def _users(figure, usage):
  axis = figure.subplots()
  image = charts.code_by_modality(axis, usage)
  axis.set_title(f"Codes by modality: {axis.get_title()}")
  _scale(figure, image, axis, "of its steps")


def _classes(figure, by_class):
  axes = _grid(figure, math.ceil(len(by_class) / ACROSS), len(by_class))
  image = charts.code_by_class(axes, by_class)
  figure.suptitle("Codes by class (all steps of its clips)")
  _scale(figure, image, axes, "of the class")


def _grid(figure, rows, count):
  """`count` axes in some rows."""
  columns = math.ceil(count / rows)
  axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flat
  for axis in axes[count:]:
    axis.remove()
  return list(axes[:count])


def _scale(figure, image, axes, label):
  bar = figure.colorbar(image, ax=axes, aspect=12, pad=0.01)
  bar.ax.yaxis.set_major_locator(ticker.MaxNLocator(3))
  bar.ax.yaxis.set_major_formatter(ticker.PercentFormatter(1, symbol=" %"))
  bar.set_label(label)
  bar.outline.set(color=charts.FRAME)


@charts.styled
def results(path: pathlib.Path, results: Mapping[str, Any]) -> Figure:
  """Draws the score of each task over the number of dimensions that TOC keeps.

  Tasks are rows of panels, targets are panels, and sources are curves. Ceilings
  are thin, with open markers; bands are 95 % intervals over seeds. Where TOC
  does not apply, scores are points.

  Args:
    path: a PNG; a PDF is written beside it.
    results: as `jobs.evaluate` writes them.

  Returns:
    The figure.
  """
  tasks = tables.by_task(results["rows"])
  rows = [row for table in tasks.values() for x in table.values() for row in x]
  targets = [*dict.fromkeys(row["target"] for row in rows)]
  sources = [*dict.fromkeys(row["source"] for row in rows)]
  lines = math.ceil(len(targets) / ACROSS)  # of panels, for each task
  width = charts.COLUMN if len(targets) < 3 else charts.PAGE
  names = [TRAINED.format(m) for m in sources]
  names += [CEILING, *tables.GUESSES.values()]
  below = charts.legend_height(names, width)
  figure = charts.figure(width, 1.7 * lines * len(tasks) + below)
  parts: Any = figure.subfigures(len(tasks), 1, squeeze=False)[:, 0]
  drawn = []
  for part, (name, table) in zip(parts, tasks.items(), strict=True):
    axes = _grid(part, lines, len(targets))
    for axis, target in zip(axes, targets, strict=True):
      by_source = [x for x in table.values() if x[0]["target"] == target]
      _panel(axis, by_source, sources)
      axis.set(ylim=(0, MOST), title=charts.wrapped(f"tested on {target}", 1.2))
    first = next(iter(table.values()))[0]
    axes[0].set_ylabel(f"{name}\n{first['metric']}, %")
    drawn += axes
  charts.legend(figure, drawn, names, width)
  charts.save(figure, path)
  return figure


def _panel(axis, by_source, sources):
  """Scores of one task on one target, from a list of rows for each source."""
  for rows in by_source:
    place = sources.index(rows[0]["source"])
    ceiling = rows[0]["source"] == rows[0]["target"]
    x = [place if row["keep"] is None else row["keep"] for row in rows]
    mean, low, high = (  # intervals of shares end at 0 and 100 %
      np.clip([MOST * row[k] for row in rows], 0, MOST)
      for k in ("value", "low", "high")
    )
    style = charts.look(place)
    if ceiling:
      style |= charts.APART
    name = CEILING if ceiling else TRAINED.format(rows[0]["source"])
    axis.plot(x, mean, label=name, clip_on=False, zorder=3, **style)
    if rows[0]["keep"] is None:
      axis.vlines(x, low, high, color=style["color"], lw=0.8)
    else:
      axis.fill_between(x, low, high, color=style["color"], alpha=0.15, lw=0)
  rows = [row for of_source in by_source for row in of_source]
  for key, dashes in (("chance", ":"), ("baseline", "-.")):
    values = [row[key] for row in rows if row[key] is not None]
    if values:
      axis.axhline(
        MOST * max(values),
        color="0.4",
        ls=dashes,
        lw=0.8,
        label=tables.GUESSES[key],
      )
  if any(row["keep"] is None for row in rows):
    axis.set_xticks(range(len(sources)), sources)
    axis.set_xlim(-0.5, len(sources) - 0.5)
  else:
    axis.set_xlabel("dimensions kept")
    axis.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))


@charts.styled
def importance_curve(
  path: pathlib.Path, importance_D: np.ndarray, keep: Sequence[int], chosen: int
) -> Figure:
  """Draws TOC's importance of dimensions in falling order, and its cuts.

  Args:
    path: a PNG; a PDF is written beside it.
    importance_D: importance of each dimension.
    keep: numbers of dimensions to mark by thin lines.
    chosen: the number that TOC chooses without labels.

  Returns:
    The figure.
  """
  figure = charts.figure(charts.COLUMN, 2.2)
  axis = figure.subplots()
  for size in keep:
    axis.axvline(size, color="0.8", lw=0.6)
  axis.plot(range(1, len(importance_D) + 1), np.sort(importance_D)[::-1], "k")
  axis.axvline(
    chosen, color="k", ls="--", label=f"{chosen}, chosen without labels"
  )
  axis.set(xlabel="dimension, by importance", ylabel="importance")
  axis.legend(frameon=True, framealpha=1, edgecolor="none")
  charts.save(figure, path)
  return figure
