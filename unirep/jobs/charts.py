"""Curves, and who uses which code, on axes that the caller lays out.

The drawings of codes show the same thing in one look: a code that modalities
share is dark in all of them. All of it survives a printer without colors.

Dimensions: M modalities, K codes, C classes, U codes that are drawn.
"""

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import colors, ticker

from unirep import files

mpl.use("Agg")
from matplotlib import pyplot as plt

MOST = 128  # columns: more would be thinner than a pixel of a small panel
RARE = 0.1  # a modality with less of a code's use does not count as a user
FRAME = "0.6"
# Their numbers have no common factor: twenty curves before two look alike.
COLORS = ("black", "tab:blue", "tab:red", "tab:green", "tab:orange")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))


def save(figure: Any, path: pathlib.Path) -> None:
  """Writes a figure as `path`, a PNG, and as a PDF beside it, and closes it."""
  with plt.rc_context({"pdf.fonttype": 42}):  # letters stay letters
    for form in ("png", "pdf"):
      with files.whole(path.with_suffix(f".{form}")) as part:
        figure.savefig(part, dpi=120, format=form)
  plt.close(figure)


def curves(
  axis: Any,
  steps: Sequence[float],
  values: Mapping[str, Sequence[float]],
  columns: int = 3,
) -> None:
  """Draws named curves over steps, and their names below, in some columns."""
  styles = zip(itertools.cycle(COLORS), itertools.cycle(DASHES), strict=False)
  for name, curve in values.items():
    color, dashes = next(styles)
    axis.plot(steps, curve, label=name, color=color, ls=dashes, lw=1.3)
  if values:
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
    below = 4.2  # what the axis says of itself, in heights of a letter
    axis.legend(
      **place,
      borderaxespad=below,
      fontsize="small",
      ncols=columns,
      frameon=False,
    )


def code_by_modality(
  axis: Any, usage: Mapping[str, np.ndarray], most: int = MOST
) -> None:
  """Draws a row a modality and a column a code.

  Codes that all modalities use come first, then those of fewer, apart by thin
  lines, each group by use. Gray is the share of the modality's steps, on a
  square-root scale: rare codes stay visible.

  Args:
    axis: what to draw on.
    usage: modality -> (K,) how often it uses each code.
    most: codes to draw at most.
  """
  share_MxK = np.stack([_share(x) for x in usage.values()])
  order_U = _most_used(share_MxK, most)
  order_U, edges = _by_users(share_MxK, order_U)
  drawn_MxU = share_MxK[:, order_U]
  _heat(axis, drawn_MxU, float(drawn_MxU.max(initial=0)), edges)
  axis.set_yticks(range(len(usage)), list(usage))
  for edge in range(1, len(usage)):
    axis.axhline(edge - 0.5, color=FRAME, lw=0.8)
  used, shared = (share_MxK > 0).any(0).sum(), (share_MxK > 0).all(0).sum()
  axis.set(
    xlabel=_code(share_MxK, order_U),
    title=f"{used} of {share_MxK.shape[1]} used, {shared} by all",
  )


def code_by_class(
  axes: Sequence[Any], counts: Mapping[str, np.ndarray], most: int = MOST
) -> None:
  """Draws a panel a modality: its codes over the classes, in one order.

  The order is that of `code_by_modality`, but for groups being sorted by the
  codes' most frequent class before use. Where codes are
  shared, all panels show the same staircase; where they are not, each shows a
  short one of its own, and nothing where the others have theirs. Gray is the
  share of the steps of a class, on a square-root scale common to all panels.

  Args:
    axes: one for each modality.
    counts: modality -> (K, C) how often it uses each code in each class.
    most: codes to draw at most.
  """
  share = {m: _by_class(x) for m, x in counts.items()}
  share_MxKxC = np.stack(list(share.values()))
  use_MxK = np.stack([_share(x.sum(1)) for x in counts.values()])
  order_U = _most_used(use_MxK, most)
  class_U = share_MxKxC[:, order_U].sum(0).argmax(1)
  order_U, edges = _by_users(use_MxK, order_U, class_U)
  top = float(share_MxKxC[:, order_U].max(initial=0))
  for i, (axis, (m, share_KxC)) in enumerate(
    zip(axes, share.items(), strict=True)
  ):
    _heat(axis, share_KxC[order_U].T, top, edges)
    axis.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    axis.set(title=m, xlabel=_code(use_MxK, order_U))
    if i:
      axis.tick_params(labelleft=False)
    else:
      axis.set_ylabel("class")


def _heat(axis, share, top, edges):
  """A gray image with lines at edges; its columns are sorted, not numbered."""
  if not share.shape[1]:
    share = np.zeros((len(share), 1))  # blank: an image needs a column
  norm = colors.PowerNorm(0.5, vmin=0, vmax=top or 1)
  axis.imshow(
    share, cmap="Greys", norm=norm, aspect="auto", interpolation="nearest"
  )
  axis.set_xticks([])
  for edge in edges:
    axis.axvline(edge - 0.5, color=FRAME, lw=0.8)
  for spine in axis.spines.values():
    spine.set_color(FRAME)


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


def _by_users(share_MxK, order_U, class_U=None):
  """The codes by users, then class, then use; and where users change."""
  drawn_MxU = share_MxK[:, order_U]
  users_MxU = drawn_MxU >= RARE * drawn_MxU.sum(0)
  group_U = (1 << np.arange(len(users_MxU))) @ users_MxU
  keys = [-drawn_MxU.sum(0), class_U, group_U, -users_MxU.sum(0)]
  # The last key counts most.
  place_U = np.lexsort([key for key in keys if key is not None])
  return order_U[place_U], np.nonzero(np.diff(group_U[place_U]))[0] + 1
