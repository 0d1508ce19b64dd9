"""Features of clips, computed by extractors.

Dimensions: T segments or words, ... the shape of an extractor's output.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.extract import clips, registry
from unirep.extract.broken import one_line
from unirep.extract.clips import Clip, Failure, Plan
from unirep.extract.extractor import Extractor, Loaded
from unirep.runtime.errors import InputError

DTYPES = ("float16", "float32")
PACKAGES = {"image": ("PIL", "av"), "waveform": ("av",)}  # of the readers


class Settings(NamedTuple):
  """Settings of an extraction.

  Attributes:
    extractors: modality -> name of an extractor.
    seconds: length of a segment.
    steps: segments of a clip, at most.
    words: words of a text, at most.
    dtype: of the features on disk.
  """

  extractors: Mapping[str, str]
  seconds: float
  steps: int
  words: int
  dtype: str


class Front(NamedTuple):
  """Extractors that are ready to run.

  Attributes:
    settings: the settings of the extraction.
    extractors: modality -> extractor.
    loaded: modality -> the same extractor with its weights.
    plan: how samples are cut into segments.
  """

  settings: Settings
  extractors: Mapping[str, Extractor]
  loaded: Mapping[str, Loaded]
  plan: Plan


def front(settings: Settings) -> Front:
  """Opens all extractors.

  Raises:
    InputError: for unknown extractors, missing weights, or settings out of
      range.
  """
  if not settings.extractors:
    raise InputError("extractors is empty; name one a modality")
  if not 0.01 <= settings.seconds <= 3600:
    raise InputError(f"seconds={settings.seconds} must lie in 0.01..3600")
  for key in ("steps", "words"):
    if not 1 <= getattr(settings, key) <= 10**5:
      got = getattr(settings, key)
      raise InputError(f"{key}={got} must lie in 1..100000")
  if settings.dtype not in DTYPES:
    raise InputError(f"dtype={settings.dtype!r} is not one of {DTYPES}")
  extractors = {
    m: registry.extractor(f"extractors.{m}", name)
    for m, name in settings.extractors.items()
  }
  for m, e in extractors.items():
    for package in PACKAGES.get(e.takes, ()):
      if importlib.util.find_spec(package) is None:
        raise InputError(
          f"extractors.{m}={e.name!r} needs the package {package!r}:"
          " pip install 'unirep[media]'"
        )
  needs = {m: clips.need(e) for m, e in extractors.items()}
  plan = Plan(settings.seconds, settings.steps, needs)
  loaded = {m: e.load() for m, e in extractors.items()}
  return Front(settings, extractors, loaded, plan)


def described(front: Front) -> dict[str, Any]:
  """Settings and extractors as JSON values, for a manifest."""
  return {
    **front.settings._asdict(),
    "extractors": {
      m: {
        "name": e.name,
        "version": e.version,
        "sha256": front.loaded[m].sha256,
        "shape": [*e.shape],
        "rate": e.rate,
        "window": e.window,
        "size": e.size and [*e.size],
        "licence": e.licence,
        "origin": e.origin,
      }
      for m, e in front.extractors.items()
    },
  }


def compute(front: Front, clip: Clip) -> dict[str, np.ndarray] | Failure:
  """Features of a clip: modality -> (T, ...), without padding.

  T is the number of steps of the clip, or of words. Modalities that the clip
  lacks are left out.
  """
  features = {}
  for m, x in clip.inputs.items():
    e, run = front.extractors[m], front.loaded[m].run
    try:
      # Also segments behind the end: so there is one shape to compile.
      out = run([x])[0][: front.settings.words] if e.takes == "text" else run(x)
    except InputError as error:
      return Failure("", one_line(f"{m}: {error}"))
    out = np.asarray(out)
    count = len(out) if e.takes == "text" else clip.steps
    if not count:
      return Failure("", f"{m}: there is no word in it")
    if out.shape[1:] != e.shape:
      return Failure("", f"{m}: {e.name} gave {out.shape[1:]}, not {e.shape}")
    with np.errstate(over="ignore"):  # the check below reports it
      out = out[:count].astype(front.settings.dtype)
    if not np.isfinite(out).all():
      dtype = front.settings.dtype
      return Failure("", f"{m}: {e.name} gave numbers that are no {dtype}")
    features[m] = out
  return features


def stack(
  front: Front, m: str, parts: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray]:
  """Stacks features of one modality of N samples, (N, T, ...).

  Args:
    front: the extractors.
    m: the modality.
    parts: features of each sample, None for a missing modality.

  Returns:
    Features, padded with zeros, and lengths (N,). A missing modality is NaN, of
    length 1.
  """
  e, settings = front.extractors[m], front.settings
  steps = settings.words if e.takes == "text" else settings.steps
  x = np.zeros((len(parts), steps, *e.shape), settings.dtype)
  length_N = np.ones(len(parts), np.int32)
  for i, part in enumerate(parts):
    if part is None:
      x[i] = np.nan
    else:
      x[i, : len(part)] = part
      length_N[i] = len(part)
  return x, length_N
