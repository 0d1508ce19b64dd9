"""Features, or raw media, to files of codes: file by file, resumable."""

import pathlib
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from unirep import build, media
from unirep import workdir as workdirs
from unirep.build import Config
from unirep.data import arrays, formats, identity, pipeline
from unirep.data.columns import BROKEN
from unirep.data.datasets import media as manifests
from unirep.data.sample import PRESENT
from unirep.errors import InputError
from unirep.extract import assembly, clips, samples
from unirep.jobs import extract
from unirep.tokenizer import load

CHUNK = 2**26  # bytes of features, as float32, that are encoded at once
MODEL, DATA = "stamp/model", "stamp/data"  # what codes were made by, and of
BUCKET = 64  # samples of the tokenizer's largest call: nobody sees the seams


def run(
  config: Config, workdir: pathlib.Path, console: Console | None = None
) -> dict[str, Any]:
  """Writes `codes/NAME.npz` into `workdir` for every NAME of features.

  Other files and folders of features, see `data.formats`, keep their whole name
  before the `.npz`. Features are read as they are encoded.

  Each holds modality -> int32 (N, T), -1 at padding and for what a sample
  lacks, the labels that came with the features, and digests of the model and of
  the features, `stamp/model` and `stamp/data`. A file that is there is not made
  again. Raw media become features in `workdir` first.

  Args:
    config: as `configs/tokenize.py` gives it.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for missing or broken features, or another width than the
      model's. Files before the broken one are done.
  """
  console = console or Console()
  if not config.checkpoint:
    raise InputError("checkpoint is empty; name the work directory of a run")
  if bool(config.features) == bool(config.media):
    raise InputError(
      "features and media: name one of them, an .npz file of features, a folder"
      " of them, or raw media"
    )
  extract.check_workers(config)
  tokenizer = load(config.checkpoint)
  if config.media:
    paths = _extracted(config, tokenizer, workdir, console)
  else:
    paths = find(config.features)
    _load(paths[0], tokenizer, config.missing)  # before anything is written
    workdirs.claim(workdir, build.as_json(config))
  folder = workdir / "codes"
  folder.mkdir(exist_ok=True)
  targets = {p: folder / _name(p) for p in paths}
  waiting = [
    p
    for p in paths
    if not _done(p, targets[p], tokenizer, config.allow_changed)
  ]
  if len(waiting) < len(paths):
    console.print(f"{len(paths) - len(waiting)} files are done already")
  missing = config.missing or bool(config.media)
  count = 0
  for path in waiting:
    count += _one(path, targets[path], tokenizer, missing, console)
  console.print(
    f"{count} samples of {len(waiting)} files; codes are in {folder}",
    soft_wrap=True,
  )
  return {"files": len(paths), "new": len(waiting), "samples": count}


def _done(path, to, tokenizer, changed) -> bool:
  """Whether codes are there, of this model and these features.

  Raises:
    InputError: where they are of others, which may not be.
  """
  if not to.exists():
    return False
  now = _stamps(path, tokenizer)
  try:
    with np.load(to, allow_pickle=False) as file:
      then = {name: str(file[name]) for name in now if name in file}
  except BROKEN as error:
    raise InputError(f"{to} is no file of codes; move it away") from error
  for name in now:
    if then.get(name) != now[name] and not changed:
      raise InputError(
        f"{to}: {name} was {then.get(name, 'not said')} and is {now[name]}; "
        "name another --workdir, or make it anew by --config.allow_changed"
      )
  return then == now


def _stamps(path, tokenizer) -> dict[str, str]:
  """What codes of a file or folder depend on."""
  return {MODEL: tokenizer.digest, DATA: identity.place(path)}


def _extracted(config, tokenizer, workdir, console) -> list[pathlib.Path]:
  """Folders of features that the model's own extractors make of media."""
  extract.check_place(config.media, workdir)
  made = media.front(tokenizer.settings, tokenizer.modalities)
  found = samples.find(config.media, clips.columns(made.plan.needs))
  found = samples.divide(clips.pieces(found, made.plan), {})
  workdirs.claim(workdir, build.as_json(config))
  extract.extracted(config, found, made, workdir, console)
  return find(str(workdir / assembly.FEATURES))


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


def _one(path, to, tokenizer, missing, console) -> int:
  """Some rows at a time: only codes and labels are held as a whole."""
  source = _load(path, tokenizer, missing)
  size = sum(x.nbytes for x in source[0]["features"].values())
  rows = max(1, CHUNK // size // BUCKET) * BUCKET
  starts = range(0, len(source), rows)
  parts: dict[str, list[np.ndarray]] = {}
  for first in track(starts, path.name, console=console, transient=True):
    last = min(first + rows, len(source))
    batch = pipeline.stack([source[i] for i in range(first, last)])
    known = _known(batch["features"], tokenizer)
    lengths: Any = {m: n for m, n in batch["lengths"].items() if m in known}
    codes = tokenizer.encode(known, lengths)
    present = batch.get(PRESENT, {})
    for m, idx in codes.items():
      if m in present:
        idx[~present[m]] = -1
      parts.setdefault(m, []).append(idx)
  whole = {m: np.concatenate(x) for m, x in parts.items()}
  labels = {f"label/{name}": x for name, x in source.labels.items()}
  stamps = {k: np.array(x) for k, x in _stamps(path, tokenizer).items()}
  arrays.save_npz(to, {**whole, **labels, **stamps})
  return len(source)
