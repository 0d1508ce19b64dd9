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
  """What extraction wrote.

  Attributes:
    manifest: see `assembly.assemble`.
    new: samples that were read now, and not by an earlier start.
  """

  manifest: dict[str, Any]
  new: int


def write(
  found: Sequence[Sample],
  made: Front,
  folder: pathlib.Path,
  *,
  workers: int,
  timeout: float,
  track: Callable[[Iterable[Any], int], Iterable[Any]] = lambda x, _: x,
) -> Result:
  """Writes `features/SPLIT/*.npy` and `failed.csv`, see `assembly`.

  Started again it goes on where it was stopped, and writes the same bytes.

  Args:
    found: all samples, each with a split or a problem.
    made: the extractors.
    folder: exists.
    workers: processes that read files, see `pool.each`.
    timeout: seconds for a sample, likewise.
    track: (iterable, length) -> the same, to show how far it is.

  Raises:
    InputError: if no sample can be read, or the folder holds features of other
      files or extractors.
  """
  settings = features.described(made)
  names = [
    _name(settings, i, found[i : i + CHUNK])
    for i in range(0, len(found), CHUNK)
  ]
  digest = _digest(names, [(s.split, s.label) for s in found])
  parts = folder / PARTS
  manifest = _finished(folder / FEATURES, digest)
  if manifest is not None:
    shutil.rmtree(parts, ignore_errors=True)  # of a run killed at its very end
    return Result(manifest, 0)
  parts.mkdir(exist_ok=True)
  waiting = [i for i, name in enumerate(names) if not (parts / name).exists()]
  numbers = {
    i: range(i * CHUNK, min((i + 1) * CHUNK, len(found))) for i in waiting
  }
  todo = [found[k] for i in waiting for k in numbers[i]]
  read = functools.partial(clips.read, plan=made.plan)
  answers = iter(track(pool.each(read, todo, workers, timeout), len(todo)))
  for i in waiting:
    given = [(k, found[k], next(answers)) for k in numbers[i]]
    _write_part(parts / names[i], made, given)
  next(answers, None)  # its end, which ends the workers and what is shown
  head = {"digest": digest, **settings}
  done = [parts / name for name in names]
  try:
    manifest = assembly.assemble(folder, done, found, head)
  except InputError:
    shutil.rmtree(parts)  # nothing was read: it may be a disk that comes back
    raise
  shutil.rmtree(parts)
  return Result(manifest, len(todo))


def _finished(target: pathlib.Path, digest: str) -> dict[str, Any] | None:
  """The manifest of features that are whole, if they are."""
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
  """Of a part: another one where its files, or extractors, are others."""
  what = [settings]
  for sample in chunk:
    what.append([*sample._replace(label="", split="")])
    for path in sample.files.values():
      try:
        status = os.stat(path)
        what.append([status.st_size, status.st_mtime_ns])
      except (OSError, ValueError):
        what.append([])
  return f"{first // CHUNK:07d}-{_digest(what)}.npz"


def _digest(*what: Any) -> str:
  return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _write_part(path: pathlib.Path, made: Front, given: Sequence) -> None:
  """Rows of some samples, and which failed.

  Args:
    path: of the part.
    made: the extractors.
    given: number of a sample, the sample, and what was read of it.
  """
  rows, failed, computed = [], [], []
  for number, sample, answer in given:
    if isinstance(answer, clips.Clip):
      found = features.compute(made, answer)
      if not isinstance(found, Failure):
        rows.append(Row(number, answer.steps, answer.longer))
        computed.append(found)
        continue
      answer = found
    file = next(iter(sample.files.values()), "")
    file = answer.file if isinstance(answer, Failure) and answer.file else file
    failed.append([sample.id, file, answer.reason])
  note = json.dumps({"rows": rows, "failed": failed}).encode()
  arrays = {"note": np.frombuffer(note, np.uint8)}
  for m in made.extractors:
    x, length_N = features.stack(made, m, [f.get(m) for f in computed])
    arrays |= {f"feature/{m}": x, f"length/{m}": length_N}
  with atomic.whole(path) as part, part.open("wb") as file:
    np.savez(file, allow_pickle=False, **arrays)
