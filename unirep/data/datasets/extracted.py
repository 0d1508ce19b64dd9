"""What extraction wrote, and how features were made."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from unirep.data import arrays
from unirep.data.sample import Source
from unirep.files import guard
from unirep.runtime.errors import InputError

FEATURES, MANIFEST = "features", "manifest.json"
MADE = "extractors"  # what tells our manifests from those of others
# What a model remembers of the features it learned from.
REMEMBERED = ("seconds", "steps", "words", "dtype", MADE)


def pair(
  options: Mapping[str, Any], modalities: Iterable[str]
) -> tuple[Source, Source]:
  """Samples to learn from, and those of the validation split.

  Where there is no validation split, some are held out as of other arrays.
  """
  train = _split(options["path"], "train", tuple(modalities))
  if (_folder(options["path"]) / "validation").is_dir():
    return train, _split(options["path"], "validation", tuple(modalities))
  return arrays.split(train, options["holdout"], options["holdout_seed"])


def source(options: Mapping[str, Any], kind: str, split: str) -> Source:
  """The samples of one split."""
  del kind
  return _split(options["path"], split, None)


def _folder(path: str) -> pathlib.Path:
  """Where the splits are, in the work directory of an extraction."""
  if not path:
    raise InputError("data.path is empty; name the workdir of an extraction")
  folder = pathlib.Path(path)
  if not (folder / MANIFEST).is_file():
    folder = folder / FEATURES
  if manifest(folder) is None:
    raise InputError(
      f"data.path={path} holds no features; write them with configs/extract.py"
    )
  return folder


def _split(path, split, modalities):
  folder = _folder(path) / split
  if not folder.is_dir():
    raise InputError(f"{folder}: no sample is in this split")
  return arrays.load(folder, modalities=modalities, missing=True)


def manifest(path: str | pathlib.Path) -> dict[str, Any] | None:
  """How the features of a folder were made; None where nobody says."""
  file = pathlib.Path(path) / MANIFEST
  if not file.exists():
    return None
  found = guard.read_json(file)
  if not isinstance(found, dict) or not {*REMEMBERED} <= {*found}:
    return None  # of something else
  return {key: found[key] for key in REMEMBERED}


def made(data: Mapping[str, Any]) -> dict[str, Any] | None:
  """The manifest of the data that a configuration names, if it has one."""
  folders = {
    "media": lambda: _folder(data["path"]),
    "arrays": lambda: data["path"] if "path" in data else data["test"],
  }
  name = data["source"]
  return manifest(folders[name]()) if name in folders else None


def check(
  trained: Mapping[str, Any] | None,
  given: Mapping[str, Any] | None,
  modalities: Iterable[str],
  where: str,
) -> None:
  """Refuses features that other extractors made than a model learned from.

  Args:
    trained: what the model remembers; None if it knows nothing.
    given: how the features were made; None if nobody says.
    modalities: of the model.
    where: what to call the features.

  Raises:
    InputError: naming the modality and both extractors.
  """
  if trained is None or given is None:
    return
  for m in modalities:
    ours, theirs = trained[MADE].get(m), given[MADE].get(m)
    for key in ("name", "version", "sha256"):
      if ours and theirs and ours[key] != theirs[key]:
        raise InputError(
          f"{where}: {m!r} was made by {key} {theirs[key]!r}, but the model"
          f" learned from {ours[key]!r}; extract with {ours['name']!r}"
        )
  if trained["seconds"] != given["seconds"]:
    raise InputError(
      f"{where}: segments of {given['seconds']} s, but the model learned from"
      f" {trained['seconds']} s"
    )
