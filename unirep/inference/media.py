"""Raw media through the extractors that a model was trained on."""

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
    settings: of the run that trained it.
    modalities: of the model.

  Raises:
    InputError: if it does not know them, or those of today are others.
  """
  if "extraction" not in settings:
    raise InputError(
      "this model does not know how its features were made; train it on what"
      " configs/extract.py writes"
    )
  made = settings["extraction"]
  known = {
    m: made["extractors"][m] for m in modalities if m in made["extractors"]
  }
  return _opened(json.dumps({**made, "extractors": known}))


@functools.lru_cache(maxsize=2)
def _opened(made: str) -> Front:
  """Opened once, since weights are large."""
  trained = json.loads(made)
  names = {m: e["name"] for m, e in trained["extractors"].items()}
  asked = {key: trained[key] for key in Settings._fields}
  opened = features.front(Settings(**{**asked, "extractors": names}))
  now = features.described(opened)["extractors"]
  for m, then in trained["extractors"].items():
    for key in ("version", "sha256"):
      if now[m][key] != then[key]:
        raise InputError(
          f"{m}: the model learned from {then['name']!r} of {key}"
          f" {then[key]!r}, and here it has {now[m][key]!r}"
        )
  return opened


def encode(
  tokenizer: Any, paths: Sequence[str | pathlib.Path | Mapping[str, str]]
) -> list[dict[str, np.ndarray]]:
  """Codes of raw media.

  Args:
    tokenizer: a model that was trained on extracted features.
    paths: files; or, of files that belong together, mappings from a modality
      (or "video", "image") to a file.

  Returns:
    For each a mapping from modality to int32 codes (T,) of its segments, all of
    them however long it is, and (1,) of a caption. What a file does not hold is
    not in there.

  Raises:
    InputError: for a file that is broken or has nothing for the model.
  """
  if isinstance(paths, str | pathlib.Path | Mapping):
    raise InputError("give a list of files")
  made = front(tokenizer.settings, tokenizer.modalities)
  return [_encoded(tokenizer, made, _sample(path, made)) for path in paths]


def _sample(path, made: Front) -> Sample:
  """What a path names, by its suffix."""
  known = clips.columns(made.plan.needs)
  if isinstance(path, Mapping):
    columns = {name: str(file) for name, file in path.items()}
  else:
    kind = samples.KINDS.get(pathlib.Path(path).suffix.lower(), "")
    columns = {kind: str(path)}
  if not columns or not {*columns} <= known:
    raise InputError(
      f"{path}: nothing for this model, which takes {', '.join(sorted(known))}"
    )
  return Sample(id=str(path), files=columns)


def _encoded(tokenizer, made: Front, sample: Sample) -> dict[str, np.ndarray]:
  """Codes of one sample, clip by clip as in training."""
  found: dict[str, list[np.ndarray]] = {}
  for piece in clips.pieces([sample], made.plan):
    clip = clips.read(piece, made.plan)
    if isinstance(clip, clips.Clip):
      clip = features.compute(made, clip)
    if isinstance(clip, clips.Failure):
      raise InputError(f"{clip.file or sample.id}: {clip.reason}")
    for m, x in clip.items():
      row, length = features.stack(made, m, [x])
      codes = tokenizer.encode({m: row}, {m: length})[m][0]
      found.setdefault(m, []).append(codes[codes >= 0])
  return {m: np.concatenate(codes) for m, codes in found.items()}
