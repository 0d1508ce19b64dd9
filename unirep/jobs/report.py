"""Tables and pictures of finished runs."""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from rich.console import Group
from rich.table import Table

from unirep.jobs import charts

CURVES = (
  *("loss", "cpc", "infonce", "matching", "cmcm", "club"),
  "fine_reconstruction",
)
AGREEMENT = "agreement/"  # of metrics, then the level and the pair
ALIKE = ("per clip", "per step", "same event", "overlap")


def tables(summary: Mapping[str, Any]) -> Group:
  """What crosses modalities, and how alike they use the codes.

  Without labels, retrieval takes the place of transfer.
  """
  found, book = summary["sharing"], summary["codebook"]
  if summary["cross_modal"]:
    out = Table(
      title="Transfer across modalities by frozen codes (held-out samples, %)",
      caption="by index: a probe that sees no vectors; ceiling: trained and "
      "tested on the target",
    )
    header = ("trained -> tested", "by index", "ceiling", "by vector")
    _fill(out, (*header, "ceiling", "chance"), _transfer(summary))
  else:
    out = Table(title="Retrieval by codes alone (held-out samples, %)")
    header = ("query -> gallery", "recall@1", "chance", "recall@5", "chance")
    _fill(out, header, _retrieval(found))
  alike = Table(
    title="Same codes in two modalities (held-out samples, %; by chance)",
    caption=f"{book['awake']} of {book['size']} codes awake, {book['usage']} in"
    f" use, perplexity {book['perplexity']:.1f}. {_by_all(found)}",
  )
  _fill(alike, ("pair", *ALIKE), _alike(found))
  return Group(out, alike)


def _fill(table, header, rows):
  for i, column in enumerate(header):
    table.add_column(column, justify="right" if i else "left")
  for row in rows:
    table.add_row(*row)


def _transfer(summary) -> Iterator[list[str]]:
  by_index = summary["sharing"]["transfer"]
  for pair, vector in summary["cross_modal"].items():
    index = by_index.get(pair, {})
    values = [
      x.get(k) for x in (index, vector) for k in ("accuracy", "ceiling")
    ]
    yield [pair, *(_percent(x) for x in (*values, vector["chance"]))]


def _retrieval(found) -> Iterator[list[str]]:
  for pair, score in found["clip"]["recall"].items():
    names = ("r@1", "chance@1", "r@5", "chance@5")
    yield [pair, *(_percent(score.get(name)) for name in names)]


def _alike(found) -> Iterator[list[str]]:
  """A pair's agreement by clip, by step, by step of one event; its overlap."""
  clip, step = found["clip"], found["step"]
  for pair, overlap in clip["overlap"].items():
    yield [
      pair,
      *(
        _percent(x["agreement"].get(pair), x["agreement_chance"].get(pair))
        for x in (clip, step)
      ),
      _percent(step["agreement_same"].get(pair)),
      _percent(overlap),
    ]


def _percent(value, chance=None):
  if value is None:
    return "-"
  by_chance = "" if chance is None else f" ({100 * chance:.1f})"
  return f"{100 * value:.1f}{by_chance}"


def _by_all(found):
  codes = found["codes"]
  return (
    f"As codes of held-out clips, all modalities use {codes['used_by_all']} and"
    f" effectively share {codes['shared_effective']:.1f}."
  )


def picture(
  path: pathlib.Path,
  lines: Sequence[Mapping[str, float]],
  usage: Mapping[str, np.ndarray],
  by_class: Mapping[str, np.ndarray],
) -> None:
  """Draws the curves of training, and which modalities and classes use codes.

  Args:
    path: where the PNG goes.
    lines: logged metrics, see `train.log.read`.
    usage: modality -> (K,) how often each code is assigned to its steps.
    by_class: modality -> (K, C) the same by class, or empty.
  """
  heights = [3.8, 1.1 + 0.3 * len(usage), *([3.2] if by_class else [])]
  width = max(10, 2.5 * len(usage))
  figure = plt.figure(figsize=(width, sum(heights)))
  figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
  parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
  _curves(parts[0], lines)
  axis = parts[1].subplots()
  charts.code_by_modality(axis, usage)
  axis.set_title(f"Codes by modality: {axis.get_title()}")
  if by_class:
    parts[2].suptitle("Codes by class (all steps of its clips)")
    axes = parts[2].subplots(1, len(by_class), squeeze=False)[0]
    charts.code_by_class(axes, by_class)
  charts.save(figure, path)


def _curves(figure, lines):
  """Losses and, where it was logged, agreement."""
  last = lines[-1] if lines else {}
  agreed = [name for name in last if name.startswith(AGREEMENT)]
  axes = figure.subplots(1, 2 if agreed else 1, squeeze=False)[0]
  losses = {
    name.replace("_", " "): [
      sum(value for key, value in line.items() if _of(name, key))
      for line in lines
    ]
    for name in CURVES
    if any(_of(name, key) for key in last)
  }
  steps = [line["step"] for line in lines]
  charts.curves(axes[0], steps, losses)
  axes[0].set(xlabel="step", title="Unweighted losses")
  axes[0].set_yscale("symlog", linthresh=0.1)
  if agreed:
    shares = {
      "{1}, {0}s".format(*name.removeprefix(AGREEMENT).split("/")): [
        100 * line.get(name, np.nan) for line in lines
      ]
      for name in agreed
    }
    charts.curves(axes[1], steps, shares, columns=2)
    axes[1].set(xlabel="step", ylim=(-2, 102), title="Same code in both, %")


def _of(name, key):
  return key == name or key.startswith(f"{name}/")


def markdown(results: Mapping[str, Any]) -> str:
  """The results of downstream tasks as Markdown, in percent."""
  lines = [
    f"Protocol: {results['protocol']}. Checkpoint: {results['checkpoint']}.",
    "Mean of the probes' seeds with its 95 % interval. Without labels, TOC "
    f"would keep {results['chosen_keep']} dimensions"
    f" ({results['asleep']} codes are asleep).",
    *_sharing(results["sharing"]),
  ]
  for name, table in by_task(results["rows"]).items():
    rows = [row for found in table.values() for row in found]
    note = f" ({rows[0]['note']})" if rows[0]["note"] else ""
    guesses = {"chance": "chance", "baseline": "clip's class everywhere"}
    known = [key for key in guesses if any(x[key] is not None for x in rows)]
    *keeps, every = dict.fromkeys(str(row["keep"]) for row in rows)
    header = ["trained -> tested", *(guesses[key] for key in known)]
    header += [*keeps, f"{every} (off)"]
    lines += ["", f"## {name}: {rows[0]['metric']} %{note}", ""]
    lines += [_row(header), _row(["---"] * len(header))]
    for pair, values in table.items():
      cells = [_percent(values[0][key]) for key in known]
      lines.append(_row([pair, *cells, *map(_interval, values)]))
    lines += ["", *_verdicts(table, results["chosen_keep"])]
  return "\n".join(lines) + "\n"


def by_task(
  rows: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
  """Task -> "source->target" -> its leading rows, one a TOC mask."""
  found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
  for row in rows:
    if row["leads"]:
      pair = f"{row['source']}->{row['target']}"
      found.setdefault(row["task"], {}).setdefault(pair, []).append(row)
  return found


def _sharing(found) -> Iterator[str]:
  """How alike modalities use the codes, and what carries over by index."""
  header = ("pair", *ALIKE)
  yield from ("", "## sharing: same codes in two modalities, % (by chance)", "")
  for cells in (header, ["---"] * len(header), *_alike(found)):
    yield _row(cells)
  yield from ("", _by_all(found))
  for pair, score in found["transfer"].items():
    yield (
      f"- {pair} by index: {_percent(score['accuracy'])} "
      f"(ceiling {_percent(score['ceiling'])}, "
      f"chance {_percent(score['chance'])})"
    )


def _verdicts(table, chosen):
  """Whether TOC helps, said per direction across modalities."""
  for pair, rows in table.items():
    rows = [row for row in rows if row["keep"] is not None]
    if len(rows) < 2 or rows[0]["source"] == rows[0]["target"]:
      continue  # nothing to choose from, or a ceiling
    tuned = max(rows, key=lambda row: row["value"])
    nearest = min(rows, key=lambda row: abs(row["keep"] - chosen))
    groups: dict[str, list[str]] = {"better": [], "worse": [], "unclear": []}
    for row in rows[:-1]:
      groups[row["difference"]["verdict"]].append(str(row["keep"]))
    said = "; ".join(
      f"{v} at {', '.join(ks)}" for v, ks in groups.items() if ks
    )
    yield (
      f"- {pair}: TOC is {said}. Best on the test labels: {tuned['keep']}; "
      f"chosen without labels: {nearest['keep']}, regret "
      f"{100 * (tuned['value'] - nearest['value']):.1f}."
    )


def _interval(row):
  mean, low, high = (100 * row[k] for k in ("value", "low", "high"))
  if row["seeds"] < 2:
    return f"{mean:.1f}"
  return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _row(cells):
  return "| " + " | ".join(cells) + " |"


def accuracy_over_keep(path: pathlib.Path, results: Mapping[str, Any]) -> None:
  """Draws each task's score over the number of kept dimensions.

  Solid lines cross modalities, dashed ones are ceilings, bands are 95 %
  intervals.
  """
  tasks = by_task(results["rows"])
  rows, columns = -(-len(tasks) // 2), min(len(tasks), 2)
  figure, axes = plt.subplots(
    rows,
    columns,
    figsize=(5 * columns, 3.5 * rows),
    layout="tight",
    squeeze=False,
  )
  for axis in axes.flat[len(tasks) :]:
    axis.remove()
  for axis, (name, table) in zip(axes.flat, tasks.items(), strict=False):
    for i, (pair, found) in enumerate(table.items()):
      keep = [row["keep"] for row in found]
      mean, low, high = (  # no band beyond what a share can be
        np.clip([100 * row[k] for row in found], 0, 100)
        for k in ("value", "low", "high")
      )
      ceiling = found[0]["source"] == found[0]["target"]
      axis.plot(
        keep, mean, "--" if ceiling else "-o", color=f"C{i}", label=pair
      )
      axis.fill_between(keep, low, high, color=f"C{i}", alpha=0.15)
    first = next(iter(table.values()))[0]
    chance = max(found[0]["chance"] for found in table.values())
    axis.set(
      xlabel="dimensions kept",
      ylabel=f"{first['metric']} %",
      title=f"{name} (chance {100 * chance:.1f})",
    )
    axis.legend(fontsize="small")
  charts.save(figure, path)


def importance_curve(
  path: pathlib.Path, importance_D: np.ndarray, keep: Sequence[int], chosen: int
) -> None:
  """Draws importance, best dimension first, and where it would be cut."""
  figure, axis = plt.subplots(figsize=(7, 4), layout="tight")
  axis.plot(np.arange(1, len(importance_D) + 1), np.sort(importance_D)[::-1])
  for size in keep:
    axis.axvline(size, color="0.8", lw=0.8)
  axis.axvline(chosen, color="C1", label=f"{chosen}, chosen without labels")
  axis.set(xlabel="dimension, by importance", ylabel="importance", title="TOC")
  axis.legend()
  charts.save(figure, path)
