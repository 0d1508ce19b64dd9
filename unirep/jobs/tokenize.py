"""Files of features to files of codes, file by file, resumable."""

import pathlib
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from unirep import build
from unirep import workdir as workdirs
from unirep.build import Config
from unirep.data import arrays, formats, pipeline
from unirep.data.sample import PRESENT
from unirep.errors import InputError
from unirep.tokenizer import load

CHUNK = 2**26  # bytes of features, as float32, that are encoded at once
BUCKET = 64  # samples of the tokenizer's largest call: nobody sees the seams


def run(
  config: Config, workdir: pathlib.Path, console: Console | None = None
) -> dict[str, Any]:
  """Writes `codes/NAME.npz` into `workdir` for every NAME.npz of features.

  Other files and folders of features, see `data.formats`, keep their whole name
  before the `.npz`. Features are read as they are encoded.

  Each holds modality -> int32 (N, T), -1 at padding and for what a sample
  lacks, and the labels that came with the features. A file that is there is not
  made again.

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
  paths = find(config.features)
  tokenizer = load(config.checkpoint)
  missing = config.missing
  _load(paths[0], tokenizer, missing)  # before anything is written
  workdirs.claim(workdir, build.as_json(config))
  folder = workdir / "codes"
  folder.mkdir(exist_ok=True)
  waiting = [p for p in paths if not target(folder, p).exists()]
  if len(waiting) < len(paths):
    console.print(f"{len(paths) - len(waiting)} files are done already")
  samples = 0
  for path in waiting:
    samples += _one(path, target(folder, path), tokenizer, missing, console)
  console.print(
    f"{samples} samples of {len(waiting)} files; codes are in {folder}",
    soft_wrap=True,
  )
  return {"files": len(paths), "new": len(waiting), "samples": samples}


def find(features: str) -> list[pathlib.Path]:
  """The files or folders that `features` names, each with codes of its own.

  Raises:
    InputError: if there are none.
  """
  if not features:
    raise InputError("features is empty; name a file or folder of features")
  path = pathlib.Path(features)
  if not path.exists():
    raise InputError(f"features: {path}: no such file or folder")
  return formats.shards(path)


def target(folder: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
  """Where the codes of `path` go."""
  name = path.resolve().name  # "." has none
  return folder / (name if path.suffix == ".npz" else f"{name}.npz")


def _load(path, tokenizer, missing) -> arrays.Arrays:
  """The samples of a file, once they are known to fit the model."""
  source = arrays.load(path, missing=missing)
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
  arrays.save_npz(to, {**whole, **labels})
  return len(source)
