"""Codes of the samples of a source, and their files.

Dimensions: N samples, T time.
"""

import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from unirep.files import npy

LAYOUT = (
  2  # version of the files; part of their names, so that others go unread
)


class Codes(NamedTuple):
  """Codes and labels of N samples.

  Attributes:
    idx: modality -> (N, T) codes of steps; T may differ between modalities. -1
      at padding, if the model leaves padding out, and at missing modalities.
    clip: modality -> (N,) codes of clips, -1 at missing modalities.
    labels: name -> (N, ...) integers, as the source gives them.
  """

  idx: Mapping[str, np.ndarray]
  clip: Mapping[str, np.ndarray]
  labels: Mapping[str, np.ndarray]


def masked(
  codes: Codes, valid: Mapping[str, Any], present: Mapping[str, Any]
) -> Codes:
  """The codes, with -1 at padding and at missing modalities.

  Args:
    codes: codes of N samples.
    valid: modality -> (N, T) bool, False at padding; a modality without padding
      can be left out.
    present: modality -> (N,) bool, False where it is missing; a modality that
      no sample misses can be left out.
  """
  idx, clip = dict(codes.idx), dict(codes.clip)
  for m in {*valid} & {*idx}:
    idx[m] = np.where(valid[m], idx[m], -1)
  for m in {*present} & {*idx}:
    idx[m] = np.where(present[m][:, None], idx[m], -1)
    clip[m] = np.where(present[m], clip[m], -1)
  return codes._replace(idx=idx, clip=clip)


def has(idx_NxT: Any) -> Any:
  """Whether each sample has a code other than -1: (N,) bool."""
  return (np.asarray(idx_NxT) >= 0).any(1)


def join(parts: list[Codes]) -> Codes:
  """The samples of all parts, in order."""
  return Codes(*(_concatenate(part) for part in zip(*parts, strict=True)))


def join_passes(parts: Iterable[Codes], passes: int) -> Codes:
  """Joins parts that each hold all passes: (part, pass) to (pass, part) order.

  Args:
    parts: codes of passes * N samples each, pass after pass.
    passes: number of passes.
  """
  split = [
    [Codes(*(_share(part, i, passes) for part in codes)) for i in range(passes)]
    for codes in parts
  ]
  return join([codes[i] for i in range(passes) for codes in split])


def _share(part, i, passes):
  return {name: np.split(x, passes)[i] for name, x in part.items()}


def _concatenate(parts):
  return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def write(path: pathlib.Path, codes: Codes) -> None:
  """Writes codes as one npz file, in one step: it is complete or not there.

  A cache must name its files by `LAYOUT` and by all that the codes depend on.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  names = {f"idx/{m}": x for m, x in codes.idx.items()}
  names |= {f"clip/{m}": x for m, x in codes.clip.items()}
  names |= {f"label/{n}": x for n, x in codes.labels.items()}
  npy.write_archive(path, names)


def read(path: pathlib.Path) -> Codes:
  """Reads codes that `write` wrote."""
  contents = npy.read_archive(path, sys.maxsize)  # our own file: no limit

  def named(prefix):
    return {
      name.removeprefix(prefix): x
      for name, x in contents.items()
      if name.startswith(prefix)
    }

  return Codes(named("idx/"), named("clip/"), named("label/"))
