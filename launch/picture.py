"""A picture of a sweep: its variants, with seeds as bands."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from unirep.launch.grid import Run
from unirep.launch.variants import Score
from unirep.reports import charts
from unirep.train import log

ACROSS = 3  # panels side by side
CURVES = 7  # variants; more would look alike
MEAN, SD, SEED, CEILING = "mean", "mean ± sd", "a seed", "ceiling"
BAND: Mapping[str, Any] = {"color": "0.8", "lw": 5, "solid_capstyle": "butt"}
DOT: Mapping[str, Any] = {"color": "0.4", "ls": "", "marker": ".", "ms": 2}
MARK: Mapping[str, Any] = {"color": "k", "ls": "", "marker": "o", "zorder": 3}
LEVELS = {"clip": "clips", "step": "steps"}  # of logged agreement


@charts.styled
def draw(
  path: pathlib.Path, runs: Sequence[Run], scores: Sequence[Score]
) -> Figure | None:
  """Draws agreement of modalities over steps, and scores of variants.

  Bands are mean +- sd over seeds, dots are seeds, and open diamonds are
  ceilings; the line is at the first variant. Only the first variants have
  curves.

  Args:
    path: the PNG; a PDF is written beside it.
    runs: all runs of the sweep.
    scores: see `variants.compare`; those in percent are drawn.

  Returns:
    The figure; None if there is nothing to draw.
  """
  shares = [score for score in scores if score.measure.endswith("%")]
  across = {x.measure: [] for x in shares if not _to_itself(x.measure)}
  for score in shares:
    if score.measure in across:
      across[score.measure].append(score)
  curves, names = _curves(runs), [*dict.fromkeys(run.variant for run in runs)]
  parts = []
  if curves:
    room = 1.9 + charts.legend_height(names[:CURVES], charts.PAGE)
    parts.append((room, lambda part: _agreement(part, curves, names[:CURVES])))
  if across:
    deep = math.ceil(len(across) / ACROSS)
    room = 0.3 + deep * (0.6 + 0.15 * len(names))
    parts.append((room, lambda part: _reached(part, across, names, deep)))
  if not parts:
    return None
  return charts.stacked(parts, path)


def _to_itself(measure):
  """Whether a direction is a ceiling: "task a->a %"."""
  source, arrow, target = measure.removesuffix(" %").partition("->")
  return bool(arrow) and source.split(" ")[-1] == target


def _curves(runs) -> dict[str, dict[str, dict[float, list[float]]]]:
  """Level -> variant -> step -> agreement of each seed, the mean of pairs."""
  curves: dict[str, dict[str, dict[float, list[float]]]] = {}
  for run in runs:
    path = run.workdir / log.METRICS
    for line in log.read(path) if path.exists() else []:
      for level in LEVELS:
        values = _pairs(line, f"agreement/{level}/")
        if values:
          variants = curves.setdefault(level, {})
          steps = variants.setdefault(run.variant, {})
          steps.setdefault(line["step"], []).append(
            100 * float(np.mean(values))
          )
  return curves


def _pairs(line: Mapping[str, float], prefix: str) -> list[float]:
  return [value for key, value in line.items() if key.startswith(prefix)]


def _agreement(figure, curves, names):
  axes = figure.subplots(1, len(curves), sharey=True, squeeze=False)[0]
  for axis, (level, by_variant) in zip(axes, curves.items(), strict=True):
    for i, name in enumerate(names):
      if not (seeds := by_variant.get(name)):
        continue
      steps = sorted(seeds)
      mean = np.array([np.mean(seeds[x]) for x in steps])
      sd = np.array([np.std(seeds[x], ddof=len(seeds[x]) > 1) for x in steps])
      look = charts.look(i) | {"markevery": max(1, len(steps) // 6)}
      axis.plot(steps, mean, label=name, clip_on=False, **look)
      low, high = np.clip([mean - sd, mean + sd], 0, 100)
      axis.fill_between(steps, low, high, color=look["color"], alpha=0.15, lw=0)
    axis.set_title(f"Same code, {LEVELS[level]}, %")
    axis.set(xlabel="step", ylim=(0, 100))
  charts.legend(figure, axes, names, charts.PAGE)


def _reached(figure, across, names, deep):
  axes = figure.subplots(
    deep, math.ceil(len(across) / deep), sharex=True, sharey=True, squeeze=False
  ).flat
  least = 99.0
  for axis, (measure, scores) in zip(axes, across.items(), strict=False):
    for score in scores:
      y, values = names.index(score.variant), [*score.values.values()]
      mean, sd = score.estimate.mean, np.nan_to_num(score.estimate.std)
      low, high = np.clip([mean - sd, mean + sd], 0, 100)
      axis.plot([low, high], [y, y], label=SD, **BAND)
      axis.plot(values, [y] * len(values), label=SEED, **DOT)
      axis.plot(mean, y, label=MEAN, clip_on=False, **MARK)
      if score.ceiling is not None:
        diamond = charts.APART | {"ls": "", "marker": "D", "ms": 5}
        axis.plot(score.ceiling, y, label=CEILING, clip_on=False, **diamond)
        least = min(least, score.ceiling)
      least = min(least, low, *values)
      if not y:
        axis.axvline(mean, color="k", lw=0.5, label=names[0])
    axis.set_title(charts.wrapped(measure, 1.9))
    axis.tick_params(left=False)
  named = [MEAN, SD, SEED, CEILING, names[0]]
  charts.legend(figure, axes[: len(across)], named, charts.PAGE)
  for axis in axes[len(across) :]:
    axis.remove()
  axes[0].set_yticks(range(len(names)), [charts.wrapped(x, 1.5) for x in names])
  axes[0].set(ylim=(len(names) - 0.5, -0.5), xlim=(5 * (least // 5), 100))
