"""The style of figures, and charts: curves, codes by modality and by class.

Figures are as wide as a column or a page, and can be printed without colors:
curves of different colors also differ in lightness, dashes or markers.

Dimensions: M modalities, K codes, C classes, U codes that are drawn.
"""

import math
import pathlib
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colors, style, ticker
from matplotlib.figure import Figure

from unirep.runtime import atomic

COLUMN, PAGE = 3.4, 7.0  # widths of figures, in inches
STYLE = {
  "font.size": 7,
  "axes.titlesize": 8,
  "figure.titlesize": 8,
  "axes.linewidth": 0.6,
  "axes.spines.top": False,
  "axes.spines.right": False,
  "lines.linewidth": 1,
  "lines.markersize": 3,
  "legend.frameon": False,
  "legend.fontsize": 7,
  "legend.handlelength": 3,
  "xtick.major.width": 0.6,
  "ytick.major.width": 0.6,
  "image.cmap": "gray_r",
  "savefig.dpi": 300,
  "pdf.fonttype": 42,  # text stays text, which other programs can edit
}
styled = style.context(STYLE, after_reset=True)  # decorates functions that draw
MOST = 128  # columns: more would be thinner than a pixel of a small panel
RARE = 0.1  # a modality with a smaller share of a code's use is not its user
FRAME = "0.6"
LETTER, LINE, HANDLE = (
  0.056,
  0.15,
  0.55,
)  # widths and heights in legends, inches
# From dark to light. The numbers of colors, dashes and markers have no common
# factor, so that twenty curves differ, with colors or without.
COLORS = ("#000000", "#1f3d8a", "#b5341c", "#3f9e74", "#dc9a2e")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# The style of ceilings, which are no results.
APART = {"color": "0.4", "ls": "--", "lw": 0.7, "mfc": "white"}


@styled
def save(figure: Figure, path: pathlib.Path) -> None:
  """Writes a figure to `path`, a PNG, and as a PDF beside it."""
  for suffix in (".png", ".pdf"):
    with atomic.whole(path.with_suffix(suffix)) as part:
      figure.savefig(part, format=suffix[1:])
    figure.set_layout_engine("none")  # laid out by the first; it takes long


def figure(width: float, height: float) -> Figure:
  """An empty figure of a size in inches."""
  empty = Figure(figsize=(width, height), layout="constrained")
  empty.set_layout_engine("constrained", h_pad=0.05, w_pad=0.05)
  return empty


@styled
def stacked(
  parts: Sequence[tuple[float, Callable[[Any], None]]], path: pathlib.Path
) -> Figure:
  """Draws parts below each other on a page, and writes it.

  Args:
    parts: for each its height in inches, and a function that draws on a figure.
    path: a PNG; a PDF is written beside it.

  Returns:
    The figure.
  """
  heights = [height for height, _ in parts]
  page = figure(PAGE, sum(heights))
  panels: Any = page.subfigures(
    len(parts), 1, height_ratios=heights, squeeze=False
  )
  for panel, (_, draw) in zip(panels[:, 0], parts, strict=True):
    draw(panel)
  save(page, path)
  return page


def look(index: int) -> dict[str, Any]:
  """Color, dashes and marker of the curve with this index."""
  color = COLORS[index % len(COLORS)]
  dashes = DASHES[index % len(DASHES)]
  return {"color": color, "ls": dashes, "marker": MARKERS[index % len(MARKERS)]}


def curves(
  axis: Any, steps: Sequence[float], values: Mapping[str, Sequence[float]]
) -> None:
  """Draws curves over steps, with about six markers each.

  Args:
    axis: axes to draw on.
    steps: x values.
    values: name -> y values.
  """
  every = max(1, math.ceil(len(steps) / 6))
  for i, (name, curve) in enumerate(values.items()):
    marked = {"markevery": (i % every, every), "clip_on": False}
    axis.plot(steps, curve, label=name, **look(i), **marked)
  axis.xaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))


def legend(
  figure: Any,
  axes: Iterable[Any],
  names: Iterable[str],
  width: float,
  place: str = "outside lower center",
) -> None:
  """Draws one legend of the curves of several axes.

  Args:
    figure: the figure to draw on.
    axes: axes with the curves.
    names: names of curves in the order of the legend; a name without a curve is
      left out.
    width: width of the legend in inches, at most.
    place: `loc` of matplotlib; "outside ..." is beside the axes of the figure.
  """
  handles: dict[str, Any] = {}
  for axis in axes:
    for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
      handles.setdefault(name, handle)
  names = [name for name in names if name in handles]
  if names:
    labels = [wrapped(name, width - HANDLE) for name in names]
    figure.legend(
      [handles[name] for name in names],
      labels,
      loc=place,
      ncols=_columns(labels, width),
      columnspacing=1,
    )


def legend_height(names: Iterable[str], width: float) -> float:
  """The height of a `legend` of all names, in inches."""
  labels = [wrapped(name, width - HANDLE) for name in names]
  if not labels:
    return 0.0
  lines = max(label.count("\n") + 1 for label in labels)
  return LINE * (1 + lines * math.ceil(len(labels) / _columns(labels, width)))


def wrapped(name: str, width: float) -> str:
  """The name, broken into lines of a width in inches."""
  words = name.replace("_", " ")
  return textwrap.fill(words, max(4, int(width / LETTER)))


def _columns(names, width):
  longest = max(len(line) for name in names for line in name.split("\n"))
  return min(len(names), max(1, int(width / (LETTER * longest + HANDLE + 0.1))))


def code_by_modality(
  axis: Any, usage: Mapping[str, np.ndarray], most: int = MOST
) -> Any:
  """Draws the use of codes: a row for each modality, a column for each code.

  Codes are grouped by the modalities that use them, those of all modalities
  first, and sorted by use within a group; thin lines separate the groups. Gray
  is the share of the modality's steps, on a square-root scale, on which rare
  codes stay visible.

  Args:
    axis: axes to draw on.
    usage: modality -> (K,) how often each code is assigned.
    most: number of codes to draw, at most.

  Returns:
    The image, for a color bar.
  """
  share_MxK = np.stack([_share(x) for x in usage.values()])
  order_U = _most_used(share_MxK, most)
  order_U, edges = _by_users(share_MxK, order_U)
  drawn_MxU = share_MxK[:, order_U]
  image = _heat(axis, drawn_MxU, float(drawn_MxU.max(initial=0)), edges)
  axis.set_yticks(range(len(usage)), [wrapped(m, 1.2) for m in usage])
  _name_users(axis, drawn_MxU)
  for edge in range(1, len(usage)):
    axis.axhline(edge - 0.5, color=FRAME, lw=0.8)
  used, shared = (share_MxK > 0).any(0).sum(), (share_MxK > 0).all(0).sum()
  axis.set(
    xlabel=_code(share_MxK, order_U),
    title=f"{used} of {share_MxK.shape[1]} used, {shared} by all",
  )
  return image


def code_by_class(
  axes: Sequence[Any], counts: Mapping[str, np.ndarray], most: int = MOST
) -> Any:
  """Draws the use of codes in each class: a panel for each modality.

  All panels have the same columns. Codes are grouped as in `code_by_modality`,
  and sorted by their most frequent class, then by use; lines show where the
  number of modalities that use a code changes. Shared codes make the same
  staircase in all panels. Codes of a single modality make a staircase in its
  panel alone. Gray is the share of the steps of a class, on a square-root scale
  common to all panels.

  Args:
    axes: axes to draw on, for each modality.
    counts: modality -> (K, C) how often each code is assigned in each class.
    most: number of codes to draw, at most.

  Returns:
    The last panel's image, for a color bar.
  """
  share = {m: _by_class(x) for m, x in counts.items()}
  share_MxKxC = np.stack(list(share.values()))
  use_MxK = np.stack([_share(x.sum(1)) for x in counts.values()])
  order_U = _most_used(use_MxK, most)
  class_U = share_MxKxC[:, order_U].sum(0).argmax(1)
  order_U, edges = _by_users(use_MxK, order_U, class_U, apart=False)
  top = float(share_MxKxC[:, order_U].max(initial=0))
  image = None
  for axis, (m, share_KxC) in zip(axes, share.items(), strict=True):
    image = _heat(axis, share_KxC[order_U].T, top, edges)
    axis.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    axis.set_title(wrapped(m, 1.2))
    axis.label_outer()
  axes[0].set_ylabel("class")
  return image


def _heat(axis, share, top, edges):
  """Draws a gray image with vertical lines at `edges`."""
  if not share.shape[1]:
    share = np.zeros((len(share), 1))  # blank: an image needs a column
  norm = colors.PowerNorm(0.5, vmin=0, vmax=top or 1)
  image = axis.imshow(share, norm=norm, aspect="auto", interpolation="nearest")
  axis.set_xticks([])
  for edge in edges:
    axis.axvline(edge - 0.5, color=FRAME, lw=0.8)
  for spine in axis.spines.values():
    spine.set(color=FRAME, visible=True)
  return image


def _name_users(axis, drawn_MxU):
  """Writes the number of modalities that use them below the codes."""
  users_U = _users(drawn_MxU).sum(0)
  labels, modalities = {}, len(drawn_MxU)
  for count in dict.fromkeys(users_U.tolist()):
    place_U = np.nonzero(users_U == count)[0]
    if len(place_U) * 20 >= len(users_U):  # wide enough for a word
      number = "all" if count == modalities else count
      labels[float(place_U.mean())] = f"by {number}"
  if modalities > 1 and labels:
    axis.set_xticks([*labels], [*labels.values()])
    axis.tick_params(axis="x", length=0)


def _users(share_MxU):
  """Whether each modality uses each code, (M, U) bool; see `RARE`."""
  return share_MxU >= RARE * share_MxU.sum(0)


def _code(share_MxK, order_U):
  """The label of the columns, with their share of use if some are left out."""
  if len(order_U) == (share_MxK > 0).any(0).sum():
    return "code"
  part = share_MxK[:, order_U].sum() / share_MxK.sum()
  return f"{len(order_U)} codes, {100 * part:.0f} % of all use"


def _share(count_K):
  count_K = np.asarray(count_K, float)
  return count_K / max(count_K.sum(), 1)


def _by_class(count_KxC):
  """The share of each code in the steps of each class, (K, C)."""
  count_KxC = np.asarray(count_KxC, float)
  return count_KxC / np.maximum(count_KxC.sum(0), 1)


def _most_used(share_MxK, most):
  """Indices of the codes to draw, most used first.

  Codes are compared by the modality that uses them most. By total use, codes of
  a single modality would be left out before shared ones, and the chart would
  look better than the codebook is.
  """
  use_K = share_MxK.max(0)
  order_K = np.lexsort((-share_MxK.sum(0), -use_K))
  return order_K[: min((use_K > 0).sum(), most)]


def _by_users(share_MxK, order_U, class_U=None, apart=True):
  """Codes sorted by their users, class and use, and the edges of groups.

  With `apart` a group has the same users, else the same number of users.
  """
  drawn_MxU = share_MxK[:, order_U]
  users_MxU = _users(drawn_MxU)
  group_U = (1 << np.arange(len(users_MxU))) @ users_MxU
  keys = [-drawn_MxU.sum(0), class_U, group_U, -users_MxU.sum(0)]
  # The last key counts most.
  place_U = np.lexsort([key for key in keys if key is not None])
  kind_U = group_U if apart else users_MxU.sum(0)
  return order_U[place_U], np.nonzero(np.diff(kind_U[place_U]))[0] + 1
