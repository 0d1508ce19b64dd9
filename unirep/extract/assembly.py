"""Parts of an extraction to one folder of arrays a split."""

import csv
import json
import pathlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.extract import samples
from unirep.extract.samples import Sample
from unirep.files import guard, npy
from unirep.runtime import atomic
from unirep.runtime.errors import InputError

FEATURES, FAILED = "features", "failed.csv"
MANIFEST, SAMPLES = "manifest.json", "samples.csv"


class Row(NamedTuple):
  """A sample whose features are there.

  Attributes:
    sample: its number among all.
    steps: segments that are no padding.
    longer: whether there was more behind the last one.
  """

  sample: int
  steps: int
  longer: bool


def assemble(
  folder: pathlib.Path,
  parts: Sequence[pathlib.Path],
  found: Sequence[Sample],
  head: Mapping[str, Any],
) -> dict[str, Any]:
  """Joins parts; `features` is whole or not there.

  Each split is a folder as `unirep.data.arrays` reads it: MODALITY.npy, in
  which rows of samples that lack it are NaN, length/MODALITY.npy,
  label/class.npy where there are classes, and label/id.npy, in which samples
  of one file are equal, where there are any. `samples.csv` says which sample a
  row is, `manifest.json` what made it. A modality that no sample has is left
  out.

  Args:
    folder: where `features` and `failed.csv` go.
    parts: files as `store.write` makes them, of all samples in order.
    found: the samples.
    head: what the manifest begins with, its extractors among it.

  Returns:
    The manifest.

  Raises:
    InputError: if there is no row.
  """
  rows, failed, there = _survey(parts, head["extractors"])
  with atomic.whole(folder / FAILED) as path:
    _write_csv(path, ("id", "file", "reason"), failed)
  if not rows:
    raise InputError(
      f"none of {len(found)} samples can be read; {folder / FAILED} says why"
    )
  members = _members(rows, found)
  numbers = samples.classes(found)
  manifest = {
    **head,
    "extractors": {m: head["extractors"][m] for m in there},
    "classes": numbers,
    "samples": {split: int(mine.sum()) for split, mine in members.items()},
    "failed": len(failed),
    "longer": sum(row.longer for row in rows),
  }
  building = folder / f"{FEATURES}.part"
  shutil.rmtree(building, ignore_errors=True)
  for split, mine in members.items():
    into = building / split
    (into / "length").mkdir(parents=True)
    for m in there:
      _join(into / f"{m}.npy", parts, f"feature/{m}", mine)
      _join(into / "length" / f"{m}.npy", parts, f"length/{m}", mine)
    own = [found[rows[i].sample] for i in np.flatnonzero(mine)]
    _write_labels(into / "label", own, numbers, _shared(found))
    atomic.write_json(into / MANIFEST, manifest)
  fields = "split", "row", "id", "label", "segments"
  _write_csv(building / SAMPLES, fields, _listed(rows, found))
  atomic.write_json(building / MANIFEST, manifest)
  building.rename(folder / FEATURES)
  return manifest


def _shared(found: Sequence[Sample]) -> dict[str, int]:
  """A number for every file, if any of them is that of several samples."""
  groups = sorted({sample.group for sample in found})
  if len(groups) == len(found):
    return {}
  return {group: number for number, group in enumerate(groups)}


def _members(rows, found) -> dict[str, np.ndarray]:
  """Split -> (rows,) bool, of splits that have any."""
  members = {
    split: np.array([found[row.sample].split == split for row in rows])
    for split in samples.SPLITS
  }
  return {split: mine for split, mine in members.items() if mine.any()}


def _write_labels(
  folder: pathlib.Path,
  found: Sequence[Sample],
  numbers: Mapping[str, int],
  shared: Mapping[str, int],
) -> None:
  """Classes, and which samples share a file; either if there are any."""
  labels = {
    "class": [numbers[sample.label] for sample in found] if numbers else [],
    "id": [shared[sample.group] for sample in found] if shared else [],
  }
  for name, number_N in labels.items():
    if number_N:
      folder.mkdir(exist_ok=True)
      np.save(folder / f"{name}.npy", np.array(number_N, np.int32))


def _survey(parts, modalities) -> tuple[list[Row], list, list[str]]:
  """All rows, all failures, and the modalities that any sample has."""
  rows, failed, has = [], [], dict.fromkeys(modalities, False)
  for path in parts:
    with guard.reading(path):
      keys = "note", *(f"feature/{m}" for m in has)
      part = npy.read_archive(path, sys.maxsize, keys=keys)
      note = json.loads(part["note"].tobytes())
      rows += [Row(*row) for row in note["rows"]]
      failed += note["failed"]
      for m in has:
        x = part[f"feature/{m}"]
        first_N = x[(slice(None), *(0,) * (x.ndim - 1))]
        has[m] |= not np.isnan(first_N).all()
  return rows, failed, [m for m in has if has[m]]


def _join(path, parts, key: str, mine: np.ndarray) -> None:
  """Streams rows into one .npy file: no split need fit into memory."""
  with path.open("wb") as file:
    for i, x in enumerate(_pieces(parts, key, mine)):
      if i == 0:
        header = np.lib.format.header_data_from_array_1_0(x)
        header["shape"] = (int(mine.sum()), *x.shape[1:])
        np.lib.format.write_array_header_1_0(file, header)
      file.write(x.tobytes())


def _pieces(parts, key: str, mine: np.ndarray) -> Iterator[np.ndarray]:
  first = 0
  for path in parts:
    x = npy.read_archive(path, sys.maxsize, keys=(key,))[key]
    yield x[mine[first : first + len(x)]]
    first += len(x)


def _listed(rows: Sequence[Row], found: Sequence[Sample]) -> Iterator[list]:
  count: dict[str, int] = dict.fromkeys(samples.SPLITS, 0)
  for row in rows:
    sample = found[row.sample]
    yield [
      *(sample.split, count[sample.split]),
      *(sample.id, sample.label, row.steps),
    ]
    count[sample.split] += 1


def _write_csv(path, head: Iterable[str], rows: Iterable[Iterable]) -> None:
  # Names of files are bytes, and maybe no UTF-8.
  options = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
  with path.open("w", **options) as file:
    csv.writer(file).writerows([head, *rows])
