"""Features of clips: inputs through extractors.

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
PACKAGES = {"image": ("PIL", "av"), "waveform": ("av",)}  # that readers need


class Settings(NamedTuple):
  """What decides features, but for the files.

  Attributes:
    extractors: modality -> name of an extractor.
    seconds: of a segment.
    steps: segments of a clip, at most.
    words: of a text, at most.
    dtype: that features are kept in.
  """

  extractors: Mapping[str, str]
  seconds: float
  steps: int
  words: int
  dtype: str


class Front(NamedTuple):
  """Extractors that are ready to run.

  Attributes:
    settings: as they were asked for.
    extractors: modality -> extractor.
    loaded: modality -> its weights.
    plan: how samples are cut.
  """

  settings: Settings
  extractors: Mapping[str, Extractor]
  loaded: Mapping[str, Loaded]
  plan: Plan


def front(settings: Settings) -> Front:
  """Opens all extractors.

  Raises:
    InputError: for unknown ones, missing weights or numbers out of range.
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
  made = {
    m: registry.extractor(f"extractors.{m}", name)
    for m, name in settings.extractors.items()
  }
  for m, e in made.items():
    for package in PACKAGES.get(e.takes, ()):
      if importlib.util.find_spec(package) is None:
        raise InputError(
          f"extractors.{m}={e.name!r} needs the package {package!r}:"
          " pip install 'unirep[media]'"
        )
  needs = {m: clips.need(e) for m, e in made.items()}
  plan = Plan(settings.seconds, settings.steps, needs)
  loaded = {m: e.load() for m, e in made.items()}
  return Front(settings, made, loaded, plan)


def described(made: Front) -> dict[str, Any]:
  """What the features depend on, as JSON values: for a manifest."""
  return {
    **made.settings._asdict(),
    "extractors": {
      m: {
        "name": e.name,
        "version": e.version,
        "sha256": made.loaded[m].sha256,
        "shape": [*e.shape],
        "rate": e.rate,
        "window": e.window,
        "size": e.size and [*e.size],
        "licence": e.licence,
        "origin": e.origin,
      }
      for m, e in made.extractors.items()
    },
  }


def compute(made: Front, clip: Clip) -> dict[str, np.ndarray] | Failure:
  """Modality -> its features, (T, ...): those that the sample has.

  T is that of the clip, or the number of words, and so without padding.
  """
  found = {}
  for m, x in clip.inputs.items():
    e, run = made.extractors[m], made.loaded[m].run
    try:
      # All segments, of which some may be behind the end: one shape to compile.
      out = run([x])[0][: made.settings.words] if e.takes == "text" else run(x)
    except InputError as error:
      return Failure("", one_line(f"{m}: {error}"))
    out = np.asarray(out)
    count = len(out) if e.takes == "text" else clip.steps
    if not count:
      return Failure("", f"{m}: there is no word in it")
    if out.shape[1:] != e.shape:
      return Failure("", f"{m}: {e.name} gave {out.shape[1:]}, not {e.shape}")
    with np.errstate(over="ignore"):  # the check below says it
      out = out[:count].astype(made.settings.dtype)
    if not np.isfinite(out).all():
      what = f"{e.name} gave numbers that are no {made.settings.dtype}"
      return Failure("", f"{m}: {what}")
    found[m] = out
  return found


def stack(
  made: Front, m: str, parts: Sequence[np.ndarray | None]
) -> tuple[np.ndarray, np.ndarray]:
  """Features of one modality of N samples, (N, T, ...), and lengths (N,).

  Zeros are padding; what a sample lacks is NaN, of length 1.
  """
  e, settings = made.extractors[m], made.settings
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
