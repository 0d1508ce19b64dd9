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
    if any(k == name or k.startswith(f"{name}/") for k in lines[-1]):
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
