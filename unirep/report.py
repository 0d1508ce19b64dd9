"""What a finished run has to show: a table and a picture."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from rich.table import Table

mpl.use("Agg")
from matplotlib import pyplot as plt

CURVES = ("loss", "cpc", "infonce", "cmcm", "club", "fine_reconstruction")


def table(summary: Mapping[str, Any]) -> Table:
  """Cross-modal accuracy of every pair, beside its ceiling and chance."""
  out = Table(title="Cross-modal transfer of frozen codes (held-out sequences)")
  out.add_column("probe trained on -> tested on")
  for column in ("accuracy %", "ceiling %", "chance %"):
    out.add_column(column, justify="right")
  for pair, score in summary["cross_modal"].items():
    values = (score["accuracy"], score["ceiling"], score["chance"])
    out.add_row(pair, *(f"{100 * value:.1f}" for value in values))
  book = summary["codebook"]
  out.caption = (
    f"{book['usage']} of {book['size']} codes in use, perplexity "
    f"{book['perplexity']:.1f}"
  )
  return out


def picture(
  path: pathlib.Path,
  lines: Sequence[Mapping[str, float]],
  usage: Mapping[str, np.ndarray],
) -> None:
  """Draws loss curves, and for each code which modalities use it.

  The lower panel is the field's usual one (figure 4 of the NeurIPS 2023 paper):
  codes sorted by use, each bar split by modality; a shared codebook shows all
  colors in every bar.

  Args:
    path: where the PNG goes.
    lines: logged metrics, see `train.log.read`.
    usage: modality -> (K,) how often each code is assigned to its segments.
  """
  figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 7), layout="tight")
  steps = [line["step"] for line in lines]
  for name in CURVES:
    values = [
      sum(v for k, v in line.items() if k == name or k.startswith(f"{name}/"))
      for line in lines
    ]
    known = lines[-1] if lines else ()
    if any(k == name or k.startswith(f"{name}/") for k in known):
      top.plot(steps, values, label=name.replace("_", " "))
  top.set(xlabel="step", ylabel="loss", title="Unweighted losses")
  top.set_yscale("symlog", linthresh=0.1)
  top.legend(ncols=3, fontsize="small")
  share = {m: count / max(count.sum(), 1) for m, count in usage.items()}
  total = np.sum(list(share.values()), 0)
  order = np.argsort(-total, kind="stable")
  base = np.zeros(len(order))
  for m, value in share.items():
    bottom.bar(range(len(order)), value[order], 1.0, bottom=base, label=m)
    base += value[order]
  bottom.set(
    xlabel="code, sorted by use",
    ylabel="share of a modality's segments",
    title=f"{int((total > 0).sum())} of {len(order)} codes in use",
    xlim=(-0.5, len(order) - 0.5),
  )
  bottom.legend()
  figure.savefig(path, dpi=120)
  plt.close(figure)


def markdown(results: Mapping[str, Any]) -> str:
  """The results of downstream tasks as Markdown, in percent."""
  lines = [
    f"Protocol: {results['protocol']}. Checkpoint: {results['checkpoint']}.",
    "Mean of the probes' seeds with its 95 % interval. Without labels, TOC "
    f"would keep {results['chosen_keep']} dimensions.",
  ]
  for name, task in results["tasks"].items():
    note = f" ({task['note']})" if task["note"] else ""
    keeps = list(next(iter(task["directions"].values()))["keep"])
    header = ["trained -> tested", "chance", *keeps[:-1], f"{keeps[-1]} (off)"]
    lines += ["", f"## {name}: {task['primary']} %{note}", ""]
    lines += [_row(header), _row(["---"] * len(header))]
    for pair, direction in task["directions"].items():
      cells = [
        _interval(x[task["primary"]]) for x in direction["keep"].values()
      ]
      chance = f"{100 * direction['chance']:.1f}"
      lines.append(_row([pair, chance, *cells]))
    lines += ["", *_verdicts(task, results["chosen_keep"])]
  return "\n".join(lines) + "\n"


def _verdicts(task, chosen):
  """Whether TOC helps, said per direction across modalities."""
  for pair, direction in task["directions"].items():
    if len(set(pair.split("->"))) == 1:
      continue  # a ceiling
    keep = direction["keep"]
    off = list(keep)[-1]
    tuned = max(keep, key=lambda k: keep[k][task["primary"]]["mean"])
    nearest = min(keep, key=lambda k: abs(int(k) - chosen))
    groups: dict[str, list[str]] = {"better": [], "worse": [], "unclear": []}
    for k in keep:
      if k != off:
        groups[keep[k]["toc"]["verdict"]].append(k)
    said = "; ".join(
      f"{v} at {', '.join(ks)}" for v, ks in groups.items() if ks
    )
    regret = (
      keep[tuned][task["primary"]]["mean"]
      - keep[nearest][task["primary"]]["mean"]
    )
    yield (
      f"- {pair}: TOC is {said or 'not tried'}. Best on the test labels: "
      f"{tuned}; chosen without labels: {nearest}, regret {100 * regret:.1f}."
    )


def _interval(estimate):
  mean, low, high = (100 * estimate[k] for k in ("mean", "low", "high"))
  if estimate["seeds"] < 2:
    return f"{mean:.1f}"
  return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _row(cells):
  return "| " + " | ".join(cells) + " |"


def accuracy_over_keep(path: pathlib.Path, results: Mapping[str, Any]) -> None:
  """Draws each task's score over the number of kept dimensions.

  Solid lines cross modalities, dashed ones are ceilings, bands are 95 %
  intervals.
  """
  tasks = results["tasks"]
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
  for axis, (name, task) in zip(axes.flat, tasks.items(), strict=False):
    for i, (pair, direction) in enumerate(task["directions"].items()):
      keep = [int(k) for k in direction["keep"]]
      mean, low, high = (
        [100 * x[task["primary"]][k] for x in direction["keep"].values()]
        for k in ("mean", "low", "high")
      )
      ceiling = len(set(pair.split("->"))) == 1
      axis.plot(
        keep, mean, "--" if ceiling else "-o", color=f"C{i}", label=pair
      )
      axis.fill_between(keep, low, high, color=f"C{i}", alpha=0.15)
    chance = max(x["chance"] for x in task["directions"].values())
    axis.set(
      xlabel="dimensions kept",
      ylabel=f"{task['primary']} %",
      title=f"{name} (chance {100 * chance:.1f})",
    )
    axis.legend(fontsize="small")
  figure.savefig(path, dpi=120)
  plt.close(figure)


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
  figure.savefig(path, dpi=120)
  plt.close(figure)
