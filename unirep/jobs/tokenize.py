"""Features, or raw media, to files of codes: file by file, resumable."""

import pathlib
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from unirep import build, media
from unirep import workdir as workdirs
from unirep.build import Config
from unirep.data import arrays
from unirep.data.datasets import media as manifests
from unirep.errors import InputError
from unirep.extract import assembly, clips, samples
from unirep.jobs import extract
from unirep.tokenizer import load


def run(
  config: Config, workdir: pathlib.Path, console: Console | None = None
) -> dict[str, Any]:
  """Writes `codes/NAME.npz` into `workdir` for every NAME of features.

  Each holds modality -> int32 (N, T), -1 at padding and for what a sample
  lacks, and the labels that came with the features. A file that is there is not
  made again. Raw media become features in `workdir` first.

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
  targets = {p: folder / f"{_name(p)}.npz" for p in paths}
  waiting = [p for p in paths if not targets[p].exists()]
  if len(waiting) < len(paths):
    console.print(f"{len(paths) - len(waiting)} files are done already")
  missing = config.missing or bool(config.media)
  count = 0
  for path in track(waiting, "encoding", console=console, transient=True):
    count += _one(path, targets[path], tokenizer, missing)
  console.print(
    f"{count} samples of {len(waiting)} files; codes are in {folder}",
    soft_wrap=True,
  )
  return {"files": len(paths), "new": len(waiting), "samples": count}


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
  """The .npz files, or folders that extraction wrote, that `features` names.

  Raises:
    InputError: if there are none.
  """
  path = pathlib.Path(features)
  if path.is_dir():
    paths = sorted(path.glob("*.npz"))
    paths = paths or [path / s for s in samples.SPLITS if (path / s).is_dir()]
    paths = paths or [path] * any(path.glob("*.npy"))
  else:
    paths = [path]
  if not paths or not paths[0].exists():
    what = "no .npz file in there" if path.is_dir() else "no such file"
    raise InputError(f"features: {path}: {what}")
  return paths


def _name(path: pathlib.Path) -> str:
  return path.name if path.is_dir() else path.stem


def _load(path, tokenizer, missing):
  """A file's samples, once they are known to fit the model."""
  if path.is_dir():
    wanted = manifests.manifest(path)
    manifests.check(
      tokenizer.settings.get("extraction"),
      wanted,
      tokenizer.modalities,
      str(path),
    )
    source = arrays.load(path, missing=missing or wanted is not None)
  else:
    source = arrays.load_npz(path, missing=missing)
  known = {
    m: x for m, x in source.features.items() if m in tokenizer.modalities
  }
  try:
    if not known:
      raise InputError(
        f"holds {', '.join(source.features)}, and none of the model's "
        f"{', '.join(tokenizer.modalities)}"
      )
    tokenizer.check(_outline(known) if path.is_dir() else known)
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
  return source, known


def _outline(features):
  """What a check of shapes needs of features that may be large."""
  return {m: np.zeros((1, *x.shape[1:])) for m, x in features.items()}


def _one(path, target, tokenizer, missing) -> int:
  source, known = _load(path, tokenizer, missing)
  labels = {f"label/{name}": x for name, x in source.labels.items()}
  if path.is_dir():  # of any size: batch by batch
    arrays.save_npz(target, {**tokenizer.codes(source).idx, **labels})
    return len(source)
  lengths: Any = {m: n for m, n in source.lengths.items() if m in known}
  codes = tokenizer.encode(known, lengths)
  for m in {*codes} & {*source.present}:
    codes[m][~source.present[m]] = -1
  arrays.save_npz(target, {**codes, **labels})
  return len(source)
