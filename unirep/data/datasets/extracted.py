"""Features that extraction wrote, and the manifest of their extractors."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from unirep.data import arrays
from unirep.data.sample import Source
from unirep.files import guard
from unirep.runtime.errors import InputError

FEATURES, MANIFEST = "features", "manifest.json"
MADE = "extractors"  # the key that only manifests of ours have
# Keys that a model keeps of the manifest of its training data.
REMEMBERED = ("seconds", "steps", "words", "dtype", MADE)


def pair(
  options: Mapping[str, Any], modalities: Iterable[str]
) -> tuple[Source, Source]:
  """Training samples, and those of the validation split.

  Without a validation split some are held out, as of other arrays.
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
  """The folder of the splits, in the work directory of an extraction."""
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
  """The manifest of a folder of features; None if it has none of ours."""
  file = pathlib.Path(path) / MANIFEST
  if not file.exists():
    return None
  value = guard.read_json(file)
  if not isinstance(value, dict) or not {*REMEMBERED} <= {*value}:
    return None  # the manifest of something else
  return {key: value[key] for key in REMEMBERED}


def made(data: Mapping[str, Any]) -> dict[str, Any] | None:
  """The manifest of the data of a configuration; None if there is none."""
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
  """Refuses features of other extractors than those of the training data.

  Args:
    trained: the manifest that the model keeps; None if it has none.
    given: the manifest of the features; None if they have none.
    modalities: those of the model.
    where: the name of the features in errors.

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
