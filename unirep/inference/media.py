"""Codes of raw media, by the extractors that a model was trained on."""

import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unirep.extract import clips, features, samples
from unirep.extract.features import Front, Settings
from unirep.extract.samples import Sample
from unirep.runtime.errors import InputError


def front(settings: Mapping[str, Any], modalities: Sequence[str]) -> Front:
  """The extractors of a model.

  Args:
    settings: settings of the run that trained it.
    modalities: modalities of the model.

  Raises:
    InputError: if the settings name no extractors, or this machine has other
      versions of them.
  """
  if "extraction" not in settings:
    raise InputError(
      "this model does not know how its features were made; train it on what"
      " configs/extract.py writes"
    )
  extraction = settings["extraction"]
  extractors = {
    m: extraction["extractors"][m]
    for m in modalities
    if m in extraction["extractors"]
  }
  return _opened(json.dumps({**extraction, "extractors": extractors}))


@functools.lru_cache(maxsize=2)  # weights are large: open them once
def _opened(extraction: str) -> Front:
  trained = json.loads(extraction)
  names = {m: e["name"] for m, e in trained["extractors"].items()}
  values = {key: trained[key] for key in Settings._fields}
  values["extractors"] = names
  opened = features.front(Settings(**values))
  here = features.described(opened)["extractors"]
  for m, extractor in trained["extractors"].items():
    for key in ("version", "sha256"):
      if here[m][key] != extractor[key]:
        raise InputError(
          f"{m}: the model learned from {extractor['name']!r} of {key}"
          f" {extractor[key]!r}, and here it has {here[m][key]!r}"
        )
  return opened


def encode(
  tokenizer: Any, paths: Sequence[str | pathlib.Path | Mapping[str, str]]
) -> list[dict[str, np.ndarray]]:
  """Codes of raw media.

  Args:
    tokenizer: a model that was trained on extracted features.
    paths: samples, see `Tokenizer.encode_files`, as are results and errors.
  """
  if isinstance(paths, str | pathlib.Path | Mapping):
    raise InputError("give a list of files")
  extractors = front(tokenizer.settings, tokenizer.modalities)
  return [
    _encode(tokenizer, extractors, _sample(path, extractors)) for path in paths
  ]


def _sample(path, extractors: Front) -> Sample:
  """The sample of a file, whose kind is told by its suffix, or of a mapping."""
  allowed = clips.columns(extractors.plan.needs)
  if isinstance(path, Mapping):
    columns = {name: str(file) for name, file in path.items()}
  else:
    kind = samples.KINDS.get(pathlib.Path(path).suffix.lower(), "")
    columns = {kind: str(path)}
  if not columns or not {*columns} <= allowed:
    raise InputError(
      f"{path}: nothing for this model, which takes"
      f" {', '.join(sorted(allowed))}"
    )
  return Sample(id=str(path), files=columns)


def _encode(
  tokenizer, extractors: Front, sample: Sample
) -> dict[str, np.ndarray]:
  """Codes of one sample, clip by clip as in training."""
  parts: dict[str, list[np.ndarray]] = {}
  for piece in clips.pieces([sample], extractors.plan):
    clip = clips.read(piece, extractors.plan)
    if isinstance(clip, clips.Clip):
      clip = features.compute(extractors, clip)
    if isinstance(clip, clips.Failure):
      raise InputError(f"{clip.file or sample.id}: {clip.reason}")
    for m, x in clip.items():
      row, length = features.stack(extractors, m, [x])
      codes = tokenizer.encode({m: row}, {m: length})[m][0]
      parts.setdefault(m, []).append(codes[codes >= 0])
  return {m: np.concatenate(codes) for m, codes in parts.items()}
