"""Codes of the samples of a source, and their files."""

import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from unirep.files import npy

LAYOUT = 2  # of files of codes: those of another one are not read


class Codes(NamedTuple):
  """Codes and labels of N samples.

  Attributes:
    idx: modality -> (N, T) codes of its steps, see `Tokenizer.codes`; T is the
      modality's own. Padding, if it is left out, is -1, and so are all steps of
      a modality that the sample lacks.
    clip: modality -> (N,) codes of whole samples, -1 likewise.
    labels: name -> (N, ...) integers, as the source gives them.
  """

  idx: Mapping[str, np.ndarray]
  clip: Mapping[str, np.ndarray]
  labels: Mapping[str, np.ndarray]


def only(
  codes: Codes, steps: Mapping[str, Any], present: Mapping[str, Any]
) -> Codes:
  """The codes of what is there, and -1 elsewhere.

  Args:
    codes: of N samples.
    steps: modality -> (N, T) bool, False at padding; absent where nothing is.
    present: modality -> (N,) bool, False where a sample lacks it; likewise.
  """
  idx, clip = dict(codes.idx), dict(codes.clip)
  for m in {*steps} & {*idx}:
    idx[m] = np.where(steps[m], idx[m], -1)
  for m in {*present} & {*idx}:
    idx[m] = np.where(present[m][:, None], idx[m], -1)
    clip[m] = np.where(present[m], clip[m], -1)
  return codes._replace(idx=idx, clip=clip)


def has(idx_NxT: Any) -> Any:
  """Which samples have any code: (N,) bool."""
  return (np.asarray(idx_NxT) >= 0).any(1)


def join(parts: list[Codes]) -> Codes:
  """The samples of all parts, in order."""
  return Codes(*(_concatenate(part) for part in zip(*parts, strict=True)))


def join_passes(parts: Iterable[Codes], passes: int) -> Codes:
  """As `join` of parts that hold all passes: first the first pass of all."""
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
  """Writes codes as one npz file: a whole one or none.

  Whoever keeps it names it by `LAYOUT`, among what the codes depend on.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  names = {f"idx/{m}": x for m, x in codes.idx.items()}
  names |= {f"clip/{m}": x for m, x in codes.clip.items()}
  names |= {f"label/{n}": x for n, x in codes.labels.items()}
  npy.write_archive(path, names)


def read(path: pathlib.Path) -> Codes:
  """The inverse of `write`."""
  contents = npy.read_archive(path, sys.maxsize)  # of our own, of any size

  def below(prefix):
    return {
      name.removeprefix(prefix): x
      for name, x in contents.items()
      if name.startswith(prefix)
    }

  return Codes(below("idx/"), below("clip/"), below("label/"))
