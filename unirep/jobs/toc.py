"""TOC of any codebook: a ranking, a curve, masks."""

import pathlib
from typing import Any

import numpy as np
from rich.console import Console

from unirep.config import build
from unirep.config.build import Config
from unirep.files import npy
from unirep.inference.tokenizer import load
from unirep.jobs import workdir as workdirs
from unirep.quantizer import toc
from unirep.quantizer.codebook import awake
from unirep.reports import pictures
from unirep.runtime import atomic
from unirep.runtime.errors import InputError

PUBLISHED = (64, 128, 144, 168, 196, 224)


def run(
  config: Config, workdir: pathlib.Path, console: Console
) -> dict[str, Any]:
  """Ranks the dimensions of a codebook, by the codes that are awake.

  Writes `toc.npz` (importance_D, rank_D, keep_S, mask_SxD), `toc.png`,
  `toc.pdf` and `toc.json` into `workdir`.

  Args:
    config: as `configs/toc.py` gives it.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for a codebook that is none, or numbers that do not fit it.
  """
  code_KxD: Any = read(config.codebook)
  K, D = code_KxD.shape
  share = tuple(config.top_share)
  live_K = np.asarray(awake(code_KxD))
  try:
    keep_S = list(config.keep) or [k for k in PUBLISHED if k <= D] or [D]
    for keep in keep_S:
      toc.check_keep(keep, D, share)
    importance_D = np.asarray(
      toc.importance(
        code_KxD,
        config.similarity_weight,
        config.variance_weight,
        live_K,
        centered=config.centered,
      )
    )
    dead_D = toc.dead(code_KxD, live_K)
    last_D = dead_D if config.spare_dead else None
    rank_D = np.asarray(toc.rank(importance_D, last_D))
    mask_SxD = np.asarray(toc.sweep(importance_D, keep_S, share, last_D))
    chosen = toc.choose(code_KxD, live_K, config.share, importance_D, last_D)
  except ValueError as error:
    raise InputError(f"{config.codebook}: {error}") from error
  found = {"importance_D": importance_D, "rank_D": rank_D}
  found |= {"keep_S": np.array(keep_S), "mask_SxD": mask_SxD}
  results = {
    "codes": K,
    "asleep": int((~live_K).sum()),
    "dimensions": D,
    "dead_dimensions": int(np.asarray(dead_D).sum()),
    "chosen_keep": chosen,
    "keep": keep_S,
    "rank": rank_D.tolist(),
  }
  workdirs.claim(workdir, build.as_json(config))
  _tell(results, found, workdir, console)
  return results


def _tell(results, found, workdir, console) -> None:
  npy.write_archive(workdir / "toc.npz", found)
  importance_D, keep_S = found["importance_D"], results["keep"]
  path = workdir / "toc.png"
  pictures.importance_curve(path, importance_D, keep_S, results["chosen_keep"])
  atomic.write_json(workdir / "toc.json", results)
  console.print(describe(results, importance_D), soft_wrap=True)
  console.print(
    f"toc.npz, .png, .pdf and .json are in {workdir}", soft_wrap=True
  )


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
