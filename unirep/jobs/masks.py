"""TOC masks of a trained model, as jobs apply them.

Dimensions: K codes, D code width, M masks.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.quantizer import toc
from unirep.runtime.errors import InputError

PUBLISHED = (64, 128, 144, 168, 196, 224)


class Options(NamedTuple):
  """How TOC ranks dimensions; the keys `toc` of a configuration.

  Attributes:
    similarity_weight: of similarity in the importance of a dimension.
    variance_weight: of variance.
    top_share: parts of highest and of lowest importance.
    centered: ranks by variance alone.
    spare_dead: whether dimensions that are always zero come last.
  """

  similarity_weight: float
  variance_weight: float
  top_share: tuple[int, int]
  centered: bool
  spare_dead: bool


def check(keep: int | tuple[int, ...], dims: int, options: Options) -> None:
  """Raises InputError for numbers of dimensions that TOC can't keep."""
  try:
    for size in (keep,) if isinstance(keep, int) else keep:
      if size != dims:
        toc.check_keep(size, dims, options.top_share)
  except ValueError as error:
    raise InputError(f"toc.keep={keep}: {error}") from error


def sizes(keep_M: Sequence[int], dims: int, options: Options) -> list[int]:
  """The numbers of dimensions to keep, all of them last.

  Args:
    keep_M: those asked for; empty for the published ones that fit.
    dims: D.
    options: how to rank.

  Raises:
    InputError: for one that TOC can't keep.
  """
  keep_M = tuple(keep_M) or tuple(keep for keep in PUBLISHED if keep <= dims)
  check(keep_M, dims, options)
  return [*sorted({*keep_M} - {dims}), dims]


def ranking(
  code_KxD: Any, live_K: np.ndarray, options: Options
) -> tuple[Any, Any]:
  """The importance of dimensions, and those that come last; None for none."""
  importance_D = toc.importance(
    code_KxD,
    options.similarity_weight,
    options.variance_weight,
    live_K=live_K,
    centered=options.centered,
  )
  dead_D = toc.dead(code_KxD, live_K) if options.spare_dead else None
  return importance_D, dead_D


def sweep(
  code_KxD: Any, keep_M: Sequence[int], live_K: np.ndarray, options: Options
) -> np.ndarray:
  """A mask (D,) bool for each number of dimensions: (M, D).

  Args:
    code_KxD: the codebook.
    keep_M: the numbers; D keeps everything, for any `top_share`.
    live_K: codes that the ranking looks at.
    options: how to rank.
  """
  importance_D, dead_D = ranking(code_KxD, live_K, options)
  mask_MxD = toc.sweep(
    importance_D, np.array(keep_M), options.top_share, dead_D
  )
  whole_M = np.array(keep_M) == len(importance_D)
  return np.asarray(mask_MxD) | whole_M[:, None]


def choose(code_KxD: Any, live_K: np.ndarray, options: Options) -> int:
  """The number of dimensions to keep, chosen without labels.

  All of them, where no two codes are awake.
  """
  if live_K.sum() < 2:
    return code_KxD.shape[1]
  importance_D, dead_D = ranking(code_KxD, live_K, options)
  return toc.choose(code_KxD, live_K, importance_D=importance_D, dead_D=dead_D)
