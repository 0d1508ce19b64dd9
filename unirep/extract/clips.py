"""A clip: what a sample's files hold, cut into segments on one clock.

Dimensions: T segments, S samples of a segment, C channels.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.extract import containers, images, series, texts
from unirep.extract.broken import BrokenError, one_line
from unirep.extract.extractor import Extractor
from unirep.extract.samples import Sample


class Need(NamedTuple):
  """What an extractor has to be given; see there."""

  takes: str
  rate: int | None
  window: float
  size: tuple[int, int] | None


class Plan(NamedTuple):
  """How samples are cut.

  Attributes:
    seconds: of a segment.
    steps: segments of a clip, at most.
    needs: modality -> what its extractor takes.
  """

  seconds: float
  steps: int
  needs: Mapping[str, Need]


class Clip(NamedTuple):
  """What extractors are given.

  Attributes:
    inputs: modality -> a text, or an array of `plan.steps` segments; those that
      the sample has.
    steps: how many segments all of them cover; 1 where there is only text.
    longer: whether there is more behind the last one.
  """

  inputs: Mapping[str, Any]
  steps: int
  longer: bool = False


class Failure(NamedTuple):
  """Why there is no clip."""

  file: str
  reason: str


class Found(NamedTuple):
  """A modality of a sample: what is there, and until when in seconds.

  A photo covers any time, and a text has none: `end` is None.
  """

  values: Any
  end: float | None


# Where a modality has no file of its own, it looks into these.
FALLBACK = {"waveform": "video", "image": "image", "text": "", "series": ""}


def need(extractor: Extractor) -> Need:
  """What can be sent to another process."""
  return Need(*(getattr(extractor, field) for field in Need._fields))


def columns(needs: Mapping[str, Need]) -> set[str]:
  """Those of a table that modalities look at."""
  found = {*needs}, {FALLBACK[n.takes] for n in needs.values()} - {""}
  return set.union(*found)


def read(sample: Sample, plan: Plan) -> Clip | Failure:
  """A sample's clip, or why there is none: no file makes it raise."""
  file = next(iter(sample.files.values()), "")
  if sample.problem:
    return Failure(file, sample.problem)
  try:
    found = {
      m: READERS[n.takes](sample, m, n, plan) for m, n in plan.needs.items()
    }
    return _clip({m: x for m, x in found.items() if x}, sample, plan)
  except BrokenError as error:
    return Failure(error.file, error.reason)
  except MemoryError:
    return Failure(file, "needs more memory than there is")
  except Exception as error:  # of decoders: there is no end of their kinds
    return Failure(file, one_line(f"{type(error).__name__}: {error}"))


def _clip(found: Mapping[str, Found], sample: Sample, plan: Plan) -> Clip:
  """The segments that all of the timed modalities cover at least by half."""
  file = next(iter(sample.files.values()), "")
  if not found:
    raise BrokenError(file, "holds nothing for any modality")
  stop = math.inf if sample.end is None else sample.end
  steps, ends = {}, []
  for m, x in found.items():
    if x.end is not None:
      seconds = min(x.end, stop) - sample.start
      steps[m] = min(math.floor(seconds / plan.seconds + 0.5), plan.steps)
      ends.append(min(x.end, stop))
  there = {m: x.values for m, x in found.items() if steps.get(m, 1) > 0}
  if steps and max(steps.values()) < 1:
    raise BrokenError(
      file, f"has less than half a segment of {plan.seconds} s to be read"
    )
  count = min([n for n in steps.values() if n > 0], default=1)
  longest = sample.start + (plan.steps + 0.5) * plan.seconds
  return Clip(there, count, min(ends, default=0.0) >= longest)


def _images(sample: Sample, m: str, n: Need, plan: Plan) -> Found | None:
  assert n.size
  middles = [sample.start + (k + 0.5) * plan.seconds for k in range(plan.steps)]
  if m in sample.files and not _is_image(sample.files[m]):
    # A little further, to know whether there is more.
    until = middles[-1] + 1.5 * plan.seconds
    track = containers.frames(sample.files[m], middles, until, n.size)
    return track and Found(*track)
  path = sample.files.get(m) or sample.files.get(FALLBACK[n.takes])
  if not path:
    return None
  return Found(np.stack([images.read(path, n.size)] * plan.steps), None)


def _is_image(path: str) -> bool:
  return path.lower().endswith(images.SUFFIXES)


def _waves(sample: Sample, m: str, n: Need, plan: Plan) -> Found | None:
  assert n.rate
  path = sample.files.get(m) or sample.files.get(FALLBACK[n.takes])
  if not path or _is_image(path):
    return None
  window = max(n.window, plan.seconds)
  begin = sample.start - (window - plan.seconds) / 2
  until = begin + window + plan.steps * plan.seconds
  track = containers.wave(path, begin, until, n.rate)
  if track is None:
    if m in sample.files:
      raise BrokenError(path, "holds no sound")
    return None
  count = round(window * n.rate)
  first = [round(k * plan.seconds * n.rate) for k in range(plan.steps)]
  return Found(_cut(track.values, first, count), track.end)


def _series(sample: Sample, m: str, n: Need, plan: Plan) -> Found | None:
  if m not in sample.files:
    return None
  if n.rate is None:
    raise BrokenError(sample.files[m], "has no rate that its extractor names")
  x_SxC = series.read(sample.files[m], n.rate)
  begin, count = sample.start * n.rate, max(1, round(plan.seconds * n.rate))
  first = [round(begin + k * plan.seconds * n.rate) for k in range(plan.steps)]
  return Found(_cut(x_SxC, first, count), len(x_SxC) / n.rate)


def _texts(sample: Sample, m: str, n: Need, plan: Plan) -> Found | None:
  del n, plan
  if m in sample.files:
    return Found(texts.read(sample.files[m]), None)
  if not sample.text:
    return None
  texts.check(sample.id, sample.text)
  return Found(sample.text, None)


def _cut(x: np.ndarray, first: Sequence[int], count: int) -> np.ndarray:
  """Rows of `count` from each place on, zeros behind the end: (T, S, ...)."""
  room = np.zeros((first[-1] + count, *x.shape[1:]), x.dtype)
  part = x[: len(room)]
  room[: len(part)] = part
  return np.stack([room[i : i + count] for i in first])


READERS: Mapping[str, Callable[..., Found | None]] = {
  "image": _images,
  "waveform": _waves,
  "series": _series,
  "text": _texts,
}


def pieces(samples: Iterable[Sample], plan: Plan) -> list[Sample]:
  """Samples cut so that no file has an end that no clip holds.

  Pieces are named ID@SECONDS. The length is what files say of themselves.
  """
  found, length = [], plan.steps * plan.seconds
  for sample in samples:
    end, piece = sample.end or _duration(sample, plan), sample
    count = math.ceil((end - sample.start) / length - plan.seconds / length / 2)
    for k in range(1, max(count, 1)):
      start = sample.start + k * length
      found.append(piece._replace(end=start))
      piece = sample._replace(id=f"{sample.id}@{start:g}", start=start)
    found.append(piece)
  return found


def _duration(sample: Sample, plan: Plan) -> float:
  """The longest of what is cut; 0 where that is not known."""
  known = [0.0]
  for column in columns(plan.needs):
    path = sample.files.get(column, "")
    if path.lower().endswith(tuple(containers.FORMATS)):
      try:
        known.append(containers.duration(path))
      except BrokenError:
        continue  # whoever reads it says so
  return max(known)
