"""Files of features to files of codes, file by file, resumable."""

import pathlib
from typing import Any

from rich.console import Console
from rich.progress import track

from unirep import build
from unirep import workdir as workdirs
from unirep.build import Config
from unirep.data import arrays
from unirep.errors import InputError
from unirep.tokenizer import load


def run(
  config: Config, workdir: pathlib.Path, console: Console | None = None
) -> dict[str, Any]:
  """Writes `codes/NAME.npz` into `workdir` for every NAME.npz of features.

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
  waiting = [p for p in paths if not (folder / p.name).exists()]
  if len(waiting) < len(paths):
    console.print(f"{len(paths) - len(waiting)} files are done already")
  samples = 0
  for path in track(waiting, "encoding", console=console, transient=True):
    samples += _one(path, folder / path.name, tokenizer, missing)
  console.print(
    f"{samples} samples of {len(waiting)} files; codes are in {folder}",
    soft_wrap=True,
  )
  return {"files": len(paths), "new": len(waiting), "samples": samples}


def find(features: str) -> list[pathlib.Path]:
  """The .npz files that `features` names.

  Raises:
    InputError: if there are none.
  """
  if not features:
    raise InputError("features is empty; name an .npz file or a folder of them")
  path = pathlib.Path(features)
  paths = sorted(path.glob("*.npz")) if path.is_dir() else [path]
  if not paths or not paths[0].exists():
    what = "no .npz file in there" if path.is_dir() else "no such file"
    raise InputError(f"features: {path}: {what}")
  return paths


def _load(path, tokenizer, missing):
  """A file's samples, once they are known to fit the model."""
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
    tokenizer.check(known)
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
  return source, known


def _one(path, target, tokenizer, missing) -> int:
  source, known = _load(path, tokenizer, missing)
  lengths: Any = {m: n for m, n in source.lengths.items() if m in known}
  codes = tokenizer.encode(known, lengths)
  for m in {*codes} & {*source.present}:
    codes[m][~source.present[m]] = -1
  labels = {f"label/{name}": x for name, x in source.labels.items()}
  arrays.save_npz(target, {**codes, **labels})
  return len(source)
