"""Features, or raw media, to files of codes: file by file, resumable."""

import pathlib
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.progress import track

from unirep.configuration import build
from unirep.configuration.build import Config
from unirep.data import arrays, formats, identity, pipeline
from unirep.data.datasets import extracted as manifests
from unirep.extract import assembly, clips, samples
from unirep.extract.features import Front
from unirep.extract.samples import Sample
from unirep.files import npy
from unirep.inference import media
from unirep.inference.tokenizer import Tokenizer, load
from unirep.jobs import encoding, extraction
from unirep.jobs import workdir as workdirs
from unirep.runtime import lockstep
from unirep.runtime.errors import InputError

SHARD = 2**16  # samples of a file of codes
MODEL, DATA = "stamp/model", "stamp/data"  # digests of model and features


class Job(NamedTuple):
  """Codes of features or of raw media, bound.

  Attributes:
    settings: the configuration as JSON values.
    tokenizer: the model.
    paths: files or folders of features; empty for media.
    media: the folder or table of raw media, or "".
    front: the extractors of the model; None without media.
    samples: of media.
    workers: processes that read media; 0 reads in this one.
    timeout: seconds after which a worker gives a file up.
    missing: whether features that are all NaN are missing.
    allow_changed: whether codes of another model or other features may be
      written over.
  """

  settings: Mapping[str, Any]
  tokenizer: Tokenizer
  paths: list[pathlib.Path]
  media: str
  front: Front | None
  samples: list[Sample]
  workers: int
  timeout: float
  missing: bool
  allow_changed: bool


def prepare(config: Config) -> Job:
  """Opens the model and finds the features, or the media.

  Args:
    config: as `configs/tokenize.py` gives it.

  Raises:
    InputError: for anything that the user can mend, of the first file.
  """
  if not config.checkpoint:
    raise InputError("checkpoint is empty; name the work directory of a run")
  if bool(config.features) == bool(config.media):
    raise InputError(
      "features and media: name one of them, an .npz file of features, a folder"
      " of them, or raw media"
    )
  if config.media and jax.process_count() > 1:
    raise InputError("media: several processes take features; extract them")
  tokenizer = load(config.checkpoint)
  paths, front, found = [], None, []
  if config.media:
    front = media.front(tokenizer.settings, tokenizer.modalities)
    found = samples.find(config.media, clips.columns(front.plan.needs))
    found = samples.divide(clips.pieces(found, front.plan), {})
  else:
    paths = find(config.features)
    _load(paths[0], tokenizer, config.missing)
  return Job(
    settings=build.as_json(config),
    tokenizer=tokenizer,
    paths=paths,
    media=config.media,
    front=front,
    samples=found,
    workers=config.workers,
    timeout=config.timeout,
    missing=config.missing or bool(config.media),
    allow_changed=config.allow_changed,
  )


def run(job: Job, workdir: pathlib.Path, console: Console) -> dict[str, Any]:
  """Writes `codes/NAME.npz` into `workdir` for every NAME of features.

  Other files and folders of features, see `data.formats`, keep their whole name
  before the `.npz`. More than `SHARD` samples become a folder `codes/NAME` of
  shards. Features are read as they are encoded, by all devices and processes.

  Each holds modality -> int32 (N, T), -1 at padding and for a missing modality,
  the labels that came with the features, and digests of the model and of the
  features, `stamp/model` and `stamp/data`. A file that is there is not made
  again, and neither are the codes that were finished before a process was
  killed. Raw media become features in `workdir` first.

  Args:
    job: from `prepare`.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for broken features, or another width than the model's. Files
      before the broken one are done.
  """
  if job.front:
    extraction.check_place(job.media, workdir)
  with lockstep.together():
    if jax.process_index() == 0:
      workdirs.claim(workdir, job.settings)
  paths, tokenizer = job.paths, job.tokenizer
  if job.front:
    extraction.write(
      job.samples, job.front, workdir, job.workers, job.timeout, console
    )
    paths = find(str(workdir / assembly.FEATURES))
  folder, new, count = workdir / "codes", 0, 0
  for path in paths:
    with lockstep.together():
      source = _load(path, tokenizer, job.missing)
      stamps = {MODEL: tokenizer.digest, DATA: identity.place(path)}
      shards = _shards(folder, path, len(source))
      done = [_done(file, stamps, job.allow_changed) for _, file in shards]
    # One process may be ahead of the others.
    waiting = [
      shard
      for shard, is_done in zip(shards, done, strict=True)
      if not lockstep.same(int(is_done))
    ]
    for window, file in waiting:
      _encode(source, window, file, tokenizer, stamps, console)
      count += len(window)
    new += bool(waiting)
  if new < len(paths):
    console.print(f"{len(paths) - new} files are done already")
  console.print(
    f"{count} samples of {new} files; codes are in {folder}", soft_wrap=True
  )
  return {"files": len(paths), "new": new, "samples": count}


def _shards(
  folder: pathlib.Path, path: pathlib.Path, size: int
) -> list[tuple[range, pathlib.Path]]:
  """The files of codes, each with the range of its samples."""
  name = _name(path)
  if size <= SHARD:
    return [(range(size), folder / name)]
  below = folder / name.removesuffix(".npz")
  return [
    (range(first, min(first + SHARD, size)), below / f"{i:05d}.npz")
    for i, first in enumerate(range(0, size, SHARD))
  ]


def _done(file: pathlib.Path, now: Mapping[str, str], changed: bool) -> bool:
  """Whether codes are there, of this model and these features.

  Raises:
    InputError: where they are of others, which may not be.
  """
  if not file.exists():
    return False
  held = npy.read_archive(file, sys.maxsize)
  then = {name: held[name].tobytes().hex() for name in now if name in held}
  for name in now:
    if then.get(name) != now[name] and not changed:
      raise InputError(
        f"{file}: {name} was {then.get(name, 'not said')} and is {now[name]}; "
        "name another --workdir, or make it anew by --config.allow_changed"
      )
  return then == now


def find(features: str) -> list[pathlib.Path]:
  """The files or folders that `features` names, each with codes of its own.

  Raises:
    InputError: if there are none.
  """
  path = pathlib.Path(features)
  if not path.exists():
    raise InputError(f"features: {path}: no such file or folder")
  splits = [path / s for s in samples.SPLITS if (path / s).is_dir()]
  return splits or formats.shards(path)  # as extraction wrote them


def _name(path: pathlib.Path) -> str:
  """Of the file of codes; `.` is asked for its own name."""
  name = path.resolve().name
  return name if path.suffix == ".npz" else f"{name}.npz"


def _load(path, tokenizer, missing) -> arrays.Arrays:
  """The samples of a file, once they are known to fit the model."""
  wanted = None
  if path.is_dir():
    wanted = manifests.manifest(path)
    manifests.check(
      tokenizer.settings.get("extraction"),
      wanted,
      tokenizer.modalities,
      str(path),
    )
  source = arrays.load(path, missing=missing or wanted is not None)
  try:
    known = _known(source[0]["features"], tokenizer)
    if not known:
      raise InputError(
        f"holds {', '.join(source.features)}, and none of the model's "
        f"{', '.join(tokenizer.modalities)}"
      )
    tokenizer.check({m: x[None] for m, x in known.items()})
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
  return source


def _known(features, tokenizer):
  return {m: x for m, x in features.items() if m in tokenizer.modalities}


def _encode(source, window, file, tokenizer, stamps, console) -> None:
  """One shard: only its codes and labels are held as a whole."""
  file.parent.mkdir(parents=True, exist_ok=True)

  def shown(chunks):
    return track(chunks, file.name, console=console, transient=True)

  stamp = encoding.stamp(tokenizer, stamps[DATA], window.start)
  aside = file.with_name(f".{file.stem}-{stamp}.npz")
  rows = np.arange(window.start, window.stop)
  codes = encoding.encoded(
    tokenizer, pipeline.Subset(source, rows), aside, shown=shown
  )
  if jax.process_index() == 0:
    idx = dict(codes.idx)
    for m in {*source.lengths} & {*idx} & {*tokenizer.settings["fine"]}:
      valid_NxT = np.arange(idx[m].shape[1]) < source.lengths[m][rows, None]
      idx[m] = np.where(valid_NxT, idx[m], -1)
    labels = {f"label/{name}": x for name, x in codes.labels.items()}
    digests = {
      name: np.frombuffer(bytes.fromhex(text), np.uint8)
      for name, text in stamps.items()
    }
    npy.write_archive(file, {**idx, **labels, **digests})
    aside.unlink(missing_ok=True)
  lockstep.wait(f"written {file.name}", encoding.DAY)
