"""Extraction: samples to features on disk, in parts that survive a crash."""

import functools
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.extract import assembly, clips, features, pool
from unirep.extract.assembly import FEATURES, MANIFEST, Row
from unirep.extract.clips import Failure
from unirep.extract.features import Front
from unirep.extract.samples import Sample
from unirep.files import guard
from unirep.runtime import atomic
from unirep.runtime.errors import InputError

CHUNK = 16  # samples of a part
PARTS = "parts"


class Result(NamedTuple):
  """The result of an extraction.

  Attributes:
    manifest: see `assembly.assemble`.
    new: the number of samples that were read now, not by an earlier start.
  """

  manifest: dict[str, Any]
  new: int


def write(
  samples: Sequence[Sample],
  front: Front,
  folder: pathlib.Path,
  *,
  workers: int,
  timeout: float,
  track: Callable[[Iterable[Any], int], Iterable[Any]] = lambda x, _: x,
) -> Result:
  """Writes `features/SPLIT/*.npy` and `failed.csv`, see `assembly`.

  If it is stopped and started again, it goes on, and writes the same bytes.

  Args:
    samples: all samples, each with a split or a problem.
    front: the extractors.
    folder: an existing folder.
    workers: processes that read files, see `pool.each`.
    timeout: seconds for a sample, likewise.
    track: (iterable, length) -> the same iterable, to show progress.

  Raises:
    InputError: if no sample can be read, or the folder holds features of other
      files or extractors.
  """
  settings = features.described(front)
  names = [
    _name(settings, i, samples[i : i + CHUNK])
    for i in range(0, len(samples), CHUNK)
  ]
  digest = _digest(names, [(s.split, s.label) for s in samples])
  parts = folder / PARTS
  manifest = _finished(folder / FEATURES, digest)
  if manifest is not None:
    shutil.rmtree(parts, ignore_errors=True)  # if it was killed at its end
    return Result(manifest, 0)
  parts.mkdir(exist_ok=True)
  waiting = [i for i, name in enumerate(names) if not (parts / name).exists()]
  numbers = {
    i: range(i * CHUNK, min((i + 1) * CHUNK, len(samples))) for i in waiting
  }
  todo = [samples[k] for i in waiting for k in numbers[i]]
  read = functools.partial(clips.read, plan=front.plan)
  answers = iter(track(pool.each(read, todo, workers, timeout), len(todo)))
  for i in waiting:
    given = [(k, samples[k], next(answers)) for k in numbers[i]]
    _write_part(parts / names[i], front, given)
  next(answers, None)  # runs to its end, which ends workers and progress
  head = {"digest": digest, **settings}
  done = [parts / name for name in names]
  try:
    manifest = assembly.assemble(folder, done, samples, head)
  except InputError:
    shutil.rmtree(parts)  # nothing was read: the disk may come back
    raise
  shutil.rmtree(parts)
  return Result(manifest, len(todo))


def _finished(target: pathlib.Path, digest: str) -> dict[str, Any] | None:
  """The manifest of features that are complete, or None."""
  if not (target / MANIFEST).exists():
    return None
  manifest = guard.read_json(target / MANIFEST)
  if not isinstance(manifest, dict) or manifest.get("digest") != digest:
    raise InputError(
      f"{target} was made of other files, or by other extractors; delete it,"
      " or name another place"
    )
  return manifest


def _name(settings: Any, first: int, chunk: Sequence[Sample]) -> str:
  """The name of a part, which changes with its files and the settings."""
  depends = [settings]
  for sample in chunk:
    depends.append([*sample._replace(label="", split="")])
    for path in sample.files.values():
      try:
        status = os.stat(path)
        depends.append([status.st_size, status.st_mtime_ns])
      except (OSError, ValueError):
        depends.append([])
  return f"{first // CHUNK:07d}-{_digest(depends)}.npz"


def _digest(*values: Any) -> str:
  return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def _write_part(path: pathlib.Path, front: Front, given: Sequence) -> None:
  """Writes features of some samples, and the list of those that failed.

  Args:
    path: the file of the part.
    front: the extractors.
    given: for each sample its number, itself, and its clip or failure.
  """
  rows, failed, computed = [], [], []
  for number, sample, answer in given:
    if isinstance(answer, clips.Clip):
      output = features.compute(front, answer)
      if not isinstance(output, Failure):
        rows.append(Row(number, answer.steps, answer.longer))
        computed.append(output)
        continue
      answer = output
    file = next(iter(sample.files.values()), "")
    file = answer.file if isinstance(answer, Failure) and answer.file else file
    failed.append([sample.id, file, answer.reason])
  note = json.dumps({"rows": rows, "failed": failed}).encode()
  arrays = {"note": np.frombuffer(note, np.uint8)}
  for m in front.extractors:
    x, length_N = features.stack(front, m, [f.get(m) for f in computed])
    arrays |= {f"feature/{m}": x, f"length/{m}": length_N}
  with atomic.whole(path) as part, part.open("wb") as file:
    np.savez(file, allow_pickle=False, **arrays)
