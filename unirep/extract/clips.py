"""Clips: the files of a sample, cut into segments on one clock.

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
  """The fields of an `Extractor` that decide its inputs."""

  takes: str
  rate: int | None
  window: float
  size: tuple[int, int] | None


class Plan(NamedTuple):
  """How samples are cut.

  Attributes:
    seconds: of a segment.
    steps: segments of a clip, at most.
    needs: modality -> the inputs of its extractor.
  """

  seconds: float
  steps: int
  needs: Mapping[str, Need]


class Clip(NamedTuple):
  """Inputs of extractors, of one sample.

  Attributes:
    inputs: modality -> a text, or an array of `plan.steps` segments, for the
      modalities that the sample has.
    steps: the number of segments that all modalities cover; 1 for text alone.
    longer: whether the files go on behind the last segment.
  """

  inputs: Mapping[str, Any]
  steps: int
  longer: bool = False


class Failure(NamedTuple):
  """The reason why a sample gives no clip, and the file at fault."""

  file: str
  reason: str


class Input(NamedTuple):
  """Values of one modality of a sample, and where they end, in seconds.

  A photo covers any time, and a text has none: `end` is None.
  """

  values: Any
  end: float | None


# The column that a modality reads if it has no file of its own.
FALLBACK = {"waveform": "video", "image": "image", "text": "", "series": ""}


def need(extractor: Extractor) -> Need:
  """The inputs of an extractor, which can be sent to another process."""
  return Need(*(getattr(extractor, field) for field in Need._fields))


def columns(needs: Mapping[str, Need]) -> set[str]:
  """The columns of a table that modalities read."""
  return {*needs} | {FALLBACK[n.takes] for n in needs.values()} - {""}


def read(sample: Sample, plan: Plan) -> Clip | Failure:
  """A sample's clip, or the reason why it has none. It never raises."""
  file = next(iter(sample.files.values()), "")
  if sample.problem:
    return Failure(file, sample.problem)
  try:
    inputs = {
      m: READERS[n.takes](sample, m, n, plan) for m, n in plan.needs.items()
    }
    return _clip({m: x for m, x in inputs.items() if x}, sample, plan)
  except BrokenError as error:
    return Failure(error.file, error.reason)
  except MemoryError:
    return Failure(file, "needs more memory than there is")
  except Exception as error:  # decoders raise all kinds
    return Failure(file, one_line(f"{type(error).__name__}: {error}"))


def _clip(inputs: Mapping[str, Input], sample: Sample, plan: Plan) -> Clip:
  """The segments that all timed modalities cover by half or more."""
  file = next(iter(sample.files.values()), "")
  if not inputs:
    raise BrokenError(file, "holds nothing for any modality")
  stop = math.inf if sample.end is None else sample.end
  steps, ends = {}, []
  for m, x in inputs.items():
    if x.end is not None:
      seconds = min(x.end, stop) - sample.start
      steps[m] = min(math.floor(seconds / plan.seconds + 0.5), plan.steps)
      ends.append(min(x.end, stop))
  there = {m: x.values for m, x in inputs.items() if steps.get(m, 1) > 0}
  if steps and max(steps.values()) < 1:
    raise BrokenError(
      file, f"has less than half a segment of {plan.seconds} s to be read"
    )
  count = min([n for n in steps.values() if n > 0], default=1)
  longest = sample.start + (plan.steps + 0.5) * plan.seconds
  return Clip(there, count, min(ends, default=0.0) >= longest)


def _images(sample: Sample, m: str, n: Need, plan: Plan) -> Input | None:
  assert n.size
  middles = [sample.start + (k + 0.5) * plan.seconds for k in range(plan.steps)]
  if m in sample.files and not _is_image(sample.files[m]):
    # A little further, to see whether the file goes on.
    until = middles[-1] + 1.5 * plan.seconds
    track = containers.frames(sample.files[m], middles, until, n.size)
    return track and Input(*track)
  path = sample.files.get(m) or sample.files.get(FALLBACK[n.takes])
  if not path:
    return None
  return Input(np.stack([images.read(path, n.size)] * plan.steps), None)


def _is_image(path: str) -> bool:
  return path.lower().endswith(images.SUFFIXES)


def _waves(sample: Sample, m: str, n: Need, plan: Plan) -> Input | None:
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
  return Input(_cut(track.values, first, count), track.end)


def _series(sample: Sample, m: str, n: Need, plan: Plan) -> Input | None:
  if m not in sample.files:
    return None
  if n.rate is None:
    raise BrokenError(sample.files[m], "has no rate that its extractor names")
  x_SxC = series.read(sample.files[m], n.rate)
  begin, count = sample.start * n.rate, max(1, round(plan.seconds * n.rate))
  first = [round(begin + k * plan.seconds * n.rate) for k in range(plan.steps)]
  return Input(_cut(x_SxC, first, count), len(x_SxC) / n.rate)


def _texts(sample: Sample, m: str, n: Need, plan: Plan) -> Input | None:
  del n, plan
  if m in sample.files:
    return Input(texts.read(sample.files[m]), None)
  if not sample.text:
    return None
  texts.check(sample.id, sample.text)
  return Input(sample.text, None)


def _cut(x: np.ndarray, first: Sequence[int], count: int) -> np.ndarray:
  """Slices of `count` rows from each start, padded with zeros: (T, S, ...)."""
  room = np.zeros((first[-1] + count, *x.shape[1:]), x.dtype)
  part = x[: len(room)]
  room[: len(part)] = part
  return np.stack([room[i : i + count] for i in first])


READERS: Mapping[str, Callable[..., Input | None]] = {
  "image": _images,
  "waveform": _waves,
  "series": _series,
  "text": _texts,
}


def pieces(samples: Iterable[Sample], plan: Plan) -> list[Sample]:
  """Cuts samples that are longer than a clip into several samples.

  Pieces are named ID@SECONDS. Lengths are read from the headers of files.
  """
  cut, length = [], plan.steps * plan.seconds
  for sample in samples:
    end, piece = sample.end or _duration(sample, plan), sample
    count = math.ceil((end - sample.start) / length - plan.seconds / length / 2)
    for k in range(1, max(count, 1)):
      start = sample.start + k * length
      cut.append(piece._replace(end=start))
      piece = sample._replace(id=f"{sample.id}@{start:g}", start=start)
    cut.append(piece)
  return cut


def _duration(sample: Sample, plan: Plan) -> float:
  """Seconds of a sample's longest file; 0 if no length is known."""
  lengths = [0.0]
  for column in columns(plan.needs):
    path = sample.files.get(column, "")
    if path.lower().endswith(tuple(containers.FORMATS)):
      try:
        lengths.append(containers.duration(path))
      except BrokenError:
        continue  # `read` will report it
  return max(lengths)
