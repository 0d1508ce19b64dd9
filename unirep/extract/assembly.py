"""Assembly of the parts of an extraction, one folder of arrays a split."""

import csv
import json
import pathlib
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.extract.samples import SPLITS, Sample, classes
from unirep.files import guard, npy
from unirep.runtime import atomic
from unirep.runtime.errors import InputError

FEATURES, FAILED = "features", "failed.csv"
MANIFEST, SAMPLES = "manifest.json", "samples.csv"


class Row(NamedTuple):
  """A sample whose features were written.

  Attributes:
    sample: its number among all samples.
    steps: segments without padding.
    longer: whether its files go on behind the last segment.
  """

  sample: int
  steps: int
  longer: bool


def assemble(
  folder: pathlib.Path,
  parts: Sequence[pathlib.Path],
  samples: Sequence[Sample],
  head: Mapping[str, Any],
) -> dict[str, Any]:
  """Joins parts; `features` is complete or absent at any time.

  Each split is a folder that `unirep.data.arrays` reads: MODALITY.npy, with NaN
  for missing modalities, length/MODALITY.npy, label/class.npy if there are
  classes, and label/id.npy, which is equal for samples of one file, if any
  file has several. `samples.csv` names the sample of each row, and
  `manifest.json` the settings and extractors. A modality that no sample has is
  left out.

  Args:
    folder: the folder for `features` and `failed.csv`.
    parts: files that `store.write` made, of all samples in order.
    samples: the samples.
    head: the first entries of the manifest, with its extractors.

  Returns:
    The manifest.

  Raises:
    InputError: if no sample was read.
  """
  rows, failed, present = _survey(parts, head["extractors"])
  with atomic.whole(folder / FAILED) as path:
    _write_csv(path, ("id", "file", "reason"), failed)
  if not rows:
    raise InputError(
      f"none of {len(samples)} samples can be read; {folder / FAILED} says why"
    )
  members = _members(rows, samples)
  numbers = classes(samples)
  manifest = {
    **head,
    "extractors": {m: head["extractors"][m] for m in present},
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
    for m in present:
      _join(into / f"{m}.npy", parts, f"feature/{m}", mine)
      _join(into / "length" / f"{m}.npy", parts, f"length/{m}", mine)
    own = [samples[rows[i].sample] for i in np.flatnonzero(mine)]
    _write_labels(into / "label", own, numbers, _shared(samples))
    atomic.write_json(into / MANIFEST, manifest)
  fields = "split", "row", "id", "label", "segments"
  _write_csv(building / SAMPLES, fields, _listed(rows, samples))
  atomic.write_json(building / MANIFEST, manifest)
  building.rename(folder / FEATURES)
  return manifest


def _shared(samples: Sequence[Sample]) -> dict[str, int]:
  """A number for each group of samples; none if each has one sample."""
  groups = sorted({sample.group for sample in samples})
  if len(groups) == len(samples):
    return {}
  return {group: number for number, group in enumerate(groups)}


def _members(rows, samples) -> dict[str, np.ndarray]:
  """Split -> mask of its rows, for splits that have any."""
  members = {
    split: np.array([samples[row.sample].split == split for row in rows])
    for split in SPLITS
  }
  return {split: mine for split, mine in members.items() if mine.any()}


def _write_labels(
  folder: pathlib.Path,
  samples: Sequence[Sample],
  numbers: Mapping[str, int],
  shared: Mapping[str, int],
) -> None:
  """Writes classes, and equal ids for samples of one file, if any."""
  labels = {
    "class": [numbers[sample.label] for sample in samples] if numbers else [],
    "id": [shared[sample.group] for sample in samples] if shared else [],
  }
  for name, number_N in labels.items():
    if number_N:
      folder.mkdir(exist_ok=True)
      np.save(folder / f"{name}.npy", np.array(number_N, np.int32))


def _survey(parts, modalities) -> tuple[list[Row], list, list[str]]:
  """All rows, all failures, and the modalities that some sample has."""
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
  """Streams rows into one .npy file, so that it need not fit into memory."""
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


def _listed(rows: Sequence[Row], samples: Sequence[Sample]) -> Iterator[list]:
  count: dict[str, int] = dict.fromkeys(SPLITS, 0)
  for row in rows:
    sample = samples[row.sample]
    number = count[sample.split]
    yield [sample.split, number, sample.id, sample.label, row.steps]
    count[sample.split] += 1


def _write_csv(path, head: Iterable[str], rows: Iterable[Iterable]) -> None:
  # Names of files may be no UTF-8.
  options = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}
  with path.open("w", **options) as file:
    csv.writer(file).writerows([head, *rows])
