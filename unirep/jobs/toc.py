"""TOC of any codebook: a ranking, a curve, masks."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from unirep.configuration import build
from unirep.configuration.build import Config
from unirep.files import npy
from unirep.inference.tokenizer import load
from unirep.jobs import masks
from unirep.jobs import workdir as workdirs
from unirep.quantizer import toc
from unirep.quantizer.codebook import awake
from unirep.reports import pictures
from unirep.runtime import atomic
from unirep.runtime.errors import InputError


class Job(NamedTuple):
  """TOC of one codebook, bound.

  Attributes:
    settings: the configuration as JSON values.
    results: for `toc.json`.
    arrays: for `toc.npz`.
  """

  settings: Mapping[str, Any]
  results: dict[str, Any]
  arrays: dict[str, np.ndarray]


def prepare(config: Config) -> Job:
  """Reads a codebook and ranks its dimensions, by the codes that are awake.

  Args:
    config: as `configs/toc.py` gives it.

  Raises:
    InputError: for a codebook that is none, or numbers that do not fit it.
  """
  code_KxD: Any = read(config.codebook)
  K, D = code_KxD.shape
  options = masks.Options(
    similarity_weight=config.similarity_weight,
    variance_weight=config.variance_weight,
    top_share=config.top_share,
    centered=config.centered,
    spare_dead=config.spare_dead,
  )
  live_K = np.asarray(awake(code_KxD))
  try:
    keep_S = list(config.keep) or [k for k in masks.PUBLISHED if k <= D] or [D]
    for keep in keep_S:
      toc.check_keep(keep, D, options.top_share)
    importance_D, last_D = masks.ranking(code_KxD, live_K, options)
    rank_D = np.asarray(toc.rank(importance_D, last_D))
    mask_SxD = toc.sweep(importance_D, keep_S, options.top_share, last_D)
    chosen = toc.choose(code_KxD, live_K, config.share, importance_D, last_D)
  except ValueError as error:
    raise InputError(f"{config.codebook}: {error}") from error
  return Job(
    settings=build.as_json(config),
    results={
      "codes": K,
      "asleep": int((~live_K).sum()),
      "dimensions": D,
      "dead_dimensions": int(np.asarray(toc.dead(code_KxD, live_K)).sum()),
      "chosen_keep": chosen,
      "keep": keep_S,
      "rank": rank_D.tolist(),
    },
    arrays={
      "importance_D": np.asarray(importance_D),
      "rank_D": rank_D,
      "keep_S": np.array(keep_S),
      "mask_SxD": np.asarray(mask_SxD),
    },
  )


def run(job: Job, workdir: pathlib.Path, console: Console) -> dict[str, Any]:
  """Writes `toc.npz`, `toc.png`, `toc.pdf` and `toc.json` into `workdir`.

  The arrays are importance_D, rank_D, keep_S and mask_SxD.

  Args:
    job: from `prepare`.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for a work directory of something else.
  """
  workdirs.claim(workdir, job.settings)
  npy.write_archive(workdir / "toc.npz", job.arrays)
  results, importance_D = job.results, job.arrays["importance_D"]
  pictures.importance_curve(
    workdir / "toc.png", importance_D, results["keep"], results["chosen_keep"]
  )
  atomic.write_json(workdir / "toc.json", results)
  console.print(describe(results, importance_D), soft_wrap=True)
  console.print(
    f"toc.npz, .png, .pdf and .json are in {workdir}", soft_wrap=True
  )
  return results


def read(name: str) -> np.ndarray:
  """The (K, D) codes of a .npy file or of a checkpoint.

  Raises:
    InputError: if there are none, or they are not finite numbers.
  """
  if not name:
    raise InputError("codebook is empty; name a .npy file or a checkpoint")
  path = pathlib.Path(name)
  if not path.exists():
    raise InputError(f"codebook: {name} does not exist")
  if path.is_dir():
    return load(path).codebook
  try:
    code_KxD = npy.read(path)
  except InputError as error:
    raise InputError(f"codebook: {error}; it must be a .npy array") from error
  if code_KxD.dtype.kind not in "fiu":
    raise InputError(f"codebook: {name} must hold one array of real numbers")
  if code_KxD.ndim != 2 or min(code_KxD.shape) < 2:
    raise InputError(
      f"codebook: {name} must be (K, D), two or more each, got {code_KxD.shape}"
    )
  if not np.isfinite(code_KxD).all():
    raise InputError(f"codebook: {name} holds NaN or infinity")
  return code_KxD


def describe(results: dict[str, Any], importance_D: np.ndarray) -> str:
  """The ranking in a few lines."""
  rank = results["rank"]

  def some(dims):
    return ", ".join(f"{d} ({importance_D[d]:.3g})" for d in dims)

  return (
    f"{results['codes']} codes ({results['asleep']} asleep) of "
    f"{results['dimensions']} dimensions ({results['dead_dimensions']} dead)\n"
    f"best:  {some(rank[:8])}\n"
    f"worst: {some(rank[-8:])}\n"
    f"without labels, keep {results['chosen_keep']}"
  )
