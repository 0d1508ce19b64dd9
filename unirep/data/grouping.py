"""Held-out samples that share no file with training samples.

Rows of a data set may reuse recordings: one sound stands beside eight photos.
A split by rows then has the same sound on both sides, and what is measured on
the held-out side was seen in training. Here files are split, not rows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from unirep.data.sample import PRESENT, Source, stored
from unirep.runtime.errors import InputError

READ = 2**30  # bytes of a source that are read to find equal files


class Split(NamedTuple):
  """Rows of both sides.

  Attributes:
    train: rows without a held-out file, in order.
    test: rows whose files are all held out, in order.
    dropped: number of rows that have files of both kinds.
    note: one line on files that rows share, or "".
  """

  train: np.ndarray
  test: np.ndarray
  dropped: int
  note: str = ""


def hold_out(source: Source, share: float, seed: int) -> Split:
  """Splits a source so that no file is on both sides.

  Rows of one file have equal features. Two kinds of sources are not read for
  that, and their rows are split one by one: those of more than `READ` bytes,
  and those of a user's function, whose samples may take long to make. A source
  may say itself which rows belong together: `groups` (N,) of integers.

  Args:
    source: two samples or more.
    share: of the rows, or of the files, to hold out.
    seed: of the draw.

  Raises:
    InputError: where rows share so many files that none can be held out.
  """
  size = len(source)
  every = np.arange(size)[:, None]
  class_N = (getattr(source, "labels", None) or {}).get("class")
  if class_N is not None and np.shape(class_N) != (size,):
    class_N = None
  nbytes = sum(x.nbytes for x in source[0]["features"].values())
  groups = getattr(source, "groups", None)
  if groups is not None:
    columns = {"groups": np.unique(groups, return_inverse=True)[1]}
  elif hasattr(source, "stored") and nbytes * size <= READ:
    columns = files(source)
  else:
    why = "too large" if hasattr(source, "stored") else "made by a function"
    return split(every, share, seed)._replace(
      note="held-out rows may share files with others, since the data are"
      f" {why}: they are not compared"
    )
  used = reused(columns, share, class_N)
  file_NxM = np.stack([*used.values()], 1) if used else every
  rows = split(file_NxM, share, seed, class_N)
  shared = [
    m for m, x in columns.items() if len(np.unique(x[x >= 0])) < (x >= 0).sum()
  ]
  if not shared:
    return rows
  both = [m for m in shared if m not in used]
  parts = [f"rows share files of {', '.join(shared)}"]
  if rows.dropped:
    parts.append(f"{rows.dropped} rows with files of both sides are left out")
  if both:
    parts.append(f"too few of {', '.join(both)} to hold some out")
  return rows._replace(note="; ".join(parts))


def split(
  file_NxM: np.ndarray,
  share: float,
  seed: int,
  class_N: np.ndarray | None = None,
) -> Split:
  """Splits rows at random so that no file is on both sides.

  Rows that share files, directly or through other rows, form components. If
  these are small, whole components are held out and no row is dropped. Else,
  as where every sound of a class was paired with every photo of it, a share of
  each column's files is held out, class by class where there are classes, and
  rows that have files of both kinds are dropped.

  Args:
    file_NxM: the file of each row in each of M columns, a number from 0; below
      0 where the row has none.
    share: of the rows, or of the files of each column, to hold out; in (0, 1).
    seed: of the draw.
    class_N: classes of the rows, if they are known; below 0 for none.

  Raises:
    InputError: where no row would be left on one side.
  """
  rng = np.random.default_rng(seed)
  component_N = components(file_NxM)
  sizes = np.bincount(component_N)
  wanted = min(max(round(share * len(file_NxM)), 1), len(file_NxM) - 1)
  # Several components are held out, so that none of them is a whole class.
  if sizes.max() <= max(wanted // 4, 1) and len(sizes) > 1:
    order = rng.permutation(len(sizes))
    taken = order[np.cumsum(sizes[order]) <= wanted]
    taken = taken if len(taken) else order[:1]
    held_N = np.isin(component_N, taken)
    return Split(np.flatnonzero(~held_N), np.flatnonzero(held_N), 0)
  held_NxM = np.stack(
    [_held(column, share, rng, class_N) for column in file_NxM.T], 1
  )
  there_NxM = file_NxM >= 0
  train_N = ~(held_NxM & there_NxM).any(1)
  test_N = (held_NxM | ~there_NxM).all(1) & there_NxM.any(1)
  if not (train_N.any() and test_N.any()):
    raise InputError(
      "rows share so many files that none can be held out; give a validation"
      " split of files that training does not have"
    )
  dropped = len(file_NxM) - int(train_N.sum()) - int(test_N.sum())
  return Split(np.flatnonzero(train_N), np.flatnonzero(test_N), dropped)


def components(file_NxM: np.ndarray) -> np.ndarray:
  """Numbers (N,) of connected components: rows that share a file are one."""
  parent = np.arange(len(file_NxM))

  def root(i):
    while parent[i] != i:
      parent[i] = parent[parent[i]]
      i = parent[i]
    return i

  for column in file_NxM.T:
    first: dict[int, int] = {}
    for row, file in enumerate(column.tolist()):
      if file >= 0:
        parent[root(row)] = root(first.setdefault(file, row))
  return np.unique([root(i) for i in range(len(parent))], return_inverse=True)[
    1
  ]


def _held(file_N, share, rng, class_N) -> np.ndarray:
  """Rows whose file is held out: a share of the files of each class."""
  group_N = np.zeros_like(file_N) if class_N is None else class_N
  chosen: list[np.ndarray] = []
  for group in np.unique(group_N):
    files = np.unique(file_N[(group_N == group) & (file_N >= 0)])
    count = max(round(share * len(files)), 1) if len(files) > 1 else 0
    chosen.append(rng.permutation(files)[:count])
  return np.isin(file_N, np.concatenate(chosen)) & (file_N >= 0)


def files(source: Source) -> dict[str, np.ndarray]:
  """The file of each row, by modality: modality -> (N,) from 0, -1 if missing.

  Rows with equal features are of one file. All of a row is compared: clips may
  begin alike, with silence, and end alike, with padding.
  """
  digests: dict[str, list[bytes]] = {}
  for i in range(len(source)):
    sample = stored(source, i)
    present = sample.get(PRESENT, {})
    for m, x in sample["features"].items():
      there = bool(present.get(m, True))
      digest = hashlib.blake2b(x.tobytes(), digest_size=16).digest()
      digests.setdefault(m, []).append(digest if there else b"")
  return {m: _numbers(x) for m, x in digests.items()}


def _numbers(digests: Sequence[bytes]) -> np.ndarray:
  known: dict[bytes, int] = {}
  return np.array(
    [known.setdefault(x, len(known)) if x else -1 for x in digests]
  )


def reused(
  columns: Mapping[str, np.ndarray],
  share: float,
  class_N: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
  """The columns whose files can be split.

  A column with few different files, like the captions of ten classes, can't:
  holding out some of them would hold out whole classes. Neither can one in
  which some class has a single file.

  Args:
    columns: see `files`.
    share: of files to hold out.
    class_N: classes of the rows, if they are known.
  """
  chosen = {}
  for m, file_N in columns.items():
    there_N = file_N >= 0
    if len(np.unique(file_N[there_N])) < 2 / share:
      continue
    if class_N is not None:
      known_N = there_N & (class_N >= 0)
      pairs = np.unique(np.stack([class_N, file_N], 1)[known_N], axis=0)
      if (
        len(pairs)
        and np.bincount(pairs[:, 0])[np.unique(pairs[:, 0])].min() < 2
      ):
        continue
    chosen[m] = file_N
  return chosen
