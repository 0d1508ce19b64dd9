"""One style of figures, curves, and who uses which code.

Figures are as wide as a column or a page, and all of them survive a printer
without colors: what differs in color differs in lightness, dashes or marker
too. The drawings of codes show the same thing in one look: a code that
modalities share is dark in all of them.

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
  **{"font.size": 7, "axes.titlesize": 8, "figure.titlesize": 8},
  **{"axes.linewidth": 0.6, "axes.spines.top": False},
  **{"axes.spines.right": False, "lines.linewidth": 1, "lines.markersize": 3},
  **{"legend.frameon": False, "legend.fontsize": 7, "legend.handlelength": 3},
  **{"xtick.major.width": 0.6, "ytick.major.width": 0.6},
  **{"image.cmap": "gray_r", "savefig.dpi": 300},
  "pdf.fonttype": 42,  # letters stay letters
}
styled = style.context(STYLE, after_reset=True)  # of a function that draws
MOST = 128  # columns: more would be thinner than a pixel of a small panel
RARE = 0.1  # a modality with less of a code's use does not count as a user
FRAME = "0.6"
LETTER, LINE, HANDLE = 0.056, 0.15, 0.55  # of a legend, in inches
# From dark to light. The numbers of looks have no common factor: twenty curves
# before two look alike, with colors or without.
COLORS = ("#000000", "#1f3d8a", "#b5341c", "#3f9e74", "#dc9a2e")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# What a bound looks like, that is no result.
APART = {"color": "0.4", "ls": "--", "lw": 0.7, "mfc": "white"}


@styled
def save(figure: Figure, path: pathlib.Path) -> None:
  """Writes a figure as `path`, a PNG, and as a PDF beside it."""
  for suffix in (".png", ".pdf"):
    with atomic.whole(path.with_suffix(suffix)) as part:
      figure.savefig(part, format=suffix[1:])
    figure.set_layout_engine("none")  # it lies as it should: find out once


def figure(width: float, height: float) -> Figure:
  """An empty one, in inches."""
  made = Figure(figsize=(width, height), layout="constrained")
  made.set_layout_engine("constrained", h_pad=0.05, w_pad=0.05)
  return made


@styled
def stacked(
  parts: Sequence[tuple[float, Callable[[Any], None]]], path: pathlib.Path
) -> Figure:
  """Draws and writes a page of parts: (height in inches, what fills it)."""
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
  """Color, dashes and marker of a curve, by its place among others."""
  color = COLORS[index % len(COLORS)]
  dashes = DASHES[index % len(DASHES)]
  return {"color": color, "ls": dashes, "marker": MARKERS[index % len(MARKERS)]}


def curves(
  axis: Any, steps: Sequence[float], values: Mapping[str, Sequence[float]]
) -> None:
  """Draws named curves over steps, with some markers each."""
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
  """Names once what any of the axes show, in this order.

  Args:
    figure: where it stands.
    axes: what has the curves.
    names: theirs; those without a curve are left out.
    width: in inches, what it may take.
    place: as matplotlib calls it; "outside": beside the axes of the figure.
  """
  found: dict[str, Any] = {}
  for axis in axes:
    for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
      found.setdefault(name, handle)
  names = [name for name in names if name in found]
  if names:
    shown = [wrapped(name, width - HANDLE) for name in names]
    figure.legend(
      [found[name] for name in names],
      shown,
      loc=place,
      ncols=_columns(shown, width),
      columnspacing=1,
    )


def legend_height(names: Iterable[str], width: float) -> float:
  """What `legend` takes, in inches."""
  shown = [wrapped(name, width - HANDLE) for name in names]
  if not shown:
    return 0.0
  lines = max(name.count("\n") + 1 for name in shown)
  return LINE * (1 + lines * math.ceil(len(shown) / _columns(shown, width)))


def wrapped(name: str, width: float) -> str:
  """A name in lines of at most a width in inches."""
  words = name.replace("_", " ")
  return textwrap.fill(words, max(4, int(width / LETTER)))


def _columns(names, width):
  longest = max(len(line) for name in names for line in name.split("\n"))
  return min(len(names), max(1, int(width / (LETTER * longest + HANDLE + 0.1))))


def code_by_modality(
  axis: Any, usage: Mapping[str, np.ndarray], most: int = MOST
) -> Any:
  """Draws a row a modality and a column a code.

  Codes that all modalities use come first, then those of fewer, apart by thin
  lines, each group by use. Gray is the share of the modality's steps, on a
  square-root scale: rare codes stay visible.

  Args:
    axis: what to draw on.
    usage: modality -> (K,) how often it uses each code.
    most: codes to draw at most.

  Returns:
    The image, for a scale.
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
  """Draws a panel a modality: its codes over the classes, in one order.

  The order is that of `code_by_modality`, but for groups being sorted by the
  codes' most frequent class before use; lines are where the number of users
  changes. Where codes are
  shared, all panels show the same staircase; where they are not, each shows a
  short one of its own, and nothing where the others have theirs. Gray is the
  share of the steps of a class, on a square-root scale common to all panels.

  Args:
    axes: one for each modality.
    counts: modality -> (K, C) how often it uses each code in each class.
    most: codes to draw at most.

  Returns:
    The image of the last, for a scale.
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
  """A gray image with lines at edges; its columns are sorted, not numbered."""
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
  """How many modalities use the codes, below those of equal number."""
  users_U = _users(drawn_MxU).sum(0)
  marks, many = {}, len(drawn_MxU)
  for count in dict.fromkeys(users_U.tolist()):
    place_U = np.nonzero(users_U == count)[0]
    if len(place_U) * 20 >= len(users_U):  # room for a word
      marks[float(place_U.mean())] = f"by {'all' if count == many else count}"
  if many > 1 and marks:
    axis.set_xticks([*marks], [*marks.values()])
    axis.tick_params(axis="x", length=0)


def _users(share_MxU):
  """Which modalities have more than a rare part of a code's use, (M, U)."""
  return share_MxU >= RARE * share_MxU.sum(0)


def _code(share_MxK, order_U):
  """What the columns are, and how much of all use, if it is not all of it."""
  if len(order_U) == (share_MxK > 0).any(0).sum():
    return "code"
  part = share_MxK[:, order_U].sum() / share_MxK.sum()
  return f"{len(order_U)} codes, {100 * part:.0f} % of all use"


def _share(count_K):
  count_K = np.asarray(count_K, float)
  return count_K / max(count_K.sum(), 1)


def _by_class(count_KxC):
  """The share of the steps of a class that each code has, (K, C)."""
  count_KxC = np.asarray(count_KxC, float)
  return count_KxC / np.maximum(count_KxC.sum(0), 1)


def _most_used(share_MxK, most):
  """The codes to draw, most used first.

  By the modality that uses a code most: by total use, codes of one modality
  would drop out before those of all, and the drawing would flatter.
  """
  use_K = share_MxK.max(0)
  order_K = np.lexsort((-share_MxK.sum(0), -use_K))
  return order_K[: min((use_K > 0).sum(), most)]


def _by_users(share_MxK, order_U, class_U=None, apart=True):
  """The codes by users, then class, then use; and where users change.

  Or, not `apart`, where only their number does.
  """
  drawn_MxU = share_MxK[:, order_U]
  users_MxU = _users(drawn_MxU)
  group_U = (1 << np.arange(len(users_MxU))) @ users_MxU
  keys = [-drawn_MxU.sum(0), class_U, group_U, -users_MxU.sum(0)]
  # The last key counts most.
  place_U = np.lexsort([key for key in keys if key is not None])
  kind_U = group_U if apart else users_MxU.sum(0)
  return order_U[place_U], np.nonzero(np.diff(kind_U[place_U]))[0] + 1
