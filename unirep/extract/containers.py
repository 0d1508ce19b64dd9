"""Videos and sounds by PyAV: frames and samples on the container's clock.

Time is in seconds from where the container begins. Dimensions: T segments, H/W
rows and columns, S samples.
"""

import contextlib
import fractions
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.extract import images
from unirep.extract.broken import BrokenError, one_line, promised, regular

# Suffix -> the format that the file must have. Without this check FFmpeg might
# take a text for a video, or for a list of other files to open.
FORMATS = {
  suffix: name
  for name, suffixes in {
    "mov": ".mp4 .mov .m4v .m4a .3gp",
    "matroska": ".mkv .webm .mka",
    "avi": ".avi",
    "flv": ".flv",
    "mpegts": ".ts",
    "mpeg": ".mpg .mpeg",
    "asf": ".wmv .wma",
    "wav": ".wav",
    "mp3": ".mp3",
    "flac": ".flac",
    "aac": ".aac",
    "aiff": ".aiff",
    "ogg": ".ogg .oga .opus .ogv",
  }.items()
  for suffix in suffixes.split()
}
SOUNDS = (
  ".wav",
  ".mp3",
  ".flac",
  ".ogg",
  ".oga",
  ".opus",
  ".m4a",
  ".mka",
  ".aac",
  ".aiff",
  ".wma",
)
EXACT = {"mov", "matroska", "wav", "flac"}  # with exact times after a seek
TOLD = {"mov", "matroska", "flac", "aiff"}  # with an exact length
BEFORE = 0.5  # seconds before the wanted ones, for decoders to settle
SLACK = 0.02  # seconds by which time stamps may be off without a gap
LOST = 0.5  # seconds missing at the end that make a file cut off
RATES = (1000, 400_000)  # samples a second


class Track(NamedTuple):
  """Frames or samples of one track.

  Attributes:
    values: see the function that returns it.
    end: where the track ends, in seconds, or where reading stopped.
  """

  values: np.ndarray
  end: float


def duration(path: str) -> float:
  """Seconds of a file, from its header; 0 if that has no length.

  Raises:
    BrokenError: if the file can't be opened.
  """
  with _opened(path) as container:
    return (container.duration or 0) / 1e6


def size(path: str) -> tuple[int, int] | None:
  """Height and width of a video; None if the file has no pictures.

  Raises:
    BrokenError: if the file can't be opened.
  """
  with _opened(path) as container:
    stream = _stream(container, "video")
    return stream and (stream.codec_context.height, stream.codec_context.width)


def frames(
  path: str, times: Sequence[float], stop: float, size: tuple[int, int]
) -> Track | None:
  """The frames that are shown at some times, (T, H, W, 3) uint8, upright.

  Args:
    path: the file.
    times: ascending, in seconds. Times before the first frame get the first,
      and times after the last get the last.
    stop: the time at which reading may stop.
    size: height and width of the result.

  Returns:
    None if there are no pictures.

  Raises:
    BrokenError: if a part can't be decoded, or the end is missing.
  """
  with _opened(path) as container:
    stream = _stream(container, "video")
    if stream is None:
      return None
    context = stream.codec_context
    images.check_size(path, context.width, context.height)
    shown: list[np.ndarray] = []
    last, end = None, -math.inf
    step = float(1 / stream.average_rate) if stream.average_rate else 0.0
    stretch = float(stream.sample_aspect_ratio or 1)
    for frame, time in _decoded(path, container, stream, times[0]):
      while last and len(shown) < len(times) and time > times[len(shown)]:
        shown.append(_upright(path, last, stretch, size))
      if time >= stop:
        last, end = last or frame, time
        break
      last, end = frame, time + _length(frame, step)
    else:
      _check_end(path, container, stream, end)
    if last is None:
      raise BrokenError(path, "no frame of it can be read")
    if len(shown) < len(times):
      still = _upright(path, last, stretch, size)
      shown += [still] * (len(times) - len(shown))
    return Track(np.stack(shown), end)


def wave(path: str, start: float, stop: float, rate: int) -> Track | None:
  """Sound from `start` to `stop`: (S,) float32 in -1..1, the mean of channels.

  It is silent before 0, after the end, and in gaps.

  Args:
    path: the file.
    start: in seconds, maybe negative.
    stop: in seconds, after `start`.
    rate: samples a second of the result.

  Returns:
    None if there is no sound.

  Raises:
    BrokenError: if a part can't be decoded, or the end is missing.
  """
  with _opened(path) as container:
    stream = _stream(container, "audio")
    if stream is None:
      return None
    x_S, own, at, end = np.zeros(0, np.float32), 0, None, -math.inf
    for frame, time in _decoded(path, container, stream, start):
      if not own:
        own = frame.sample_rate
        if not RATES[0] <= own <= RATES[1]:
          raise BrokenError(path, f"{own} samples a second")
        x_S = np.zeros(math.ceil((stop - start) * own), np.float32)
      if frame.sample_rate != own:
        raise BrokenError(path, f"changes from {own} to {frame.sample_rate} Hz")
      stamp = round((time - start) * own)
      # Stamps are coarse in some containers: samples follow each other unless
      # the gap is large.
      at = stamp if at is None or abs(stamp - at) > SLACK * own else at
      samples = _mono(path, frame)
      into = slice(max(at, 0), max(at + len(samples), 0))
      room = len(x_S[into])
      skip = max(-at, 0)
      x_S[into] = samples[skip : skip + room]
      at += len(samples)
      end = start + at / own
      if end >= stop:
        break
    else:
      _check_end(path, container, stream, end)
    if not own:
      raise BrokenError(path, "no sound of it can be read")
    ratio = fractions.Fraction(rate, own)
    if ratio != 1:
      from scipy import signal  # here: the import takes half a second

      x_S = signal.resample_poly(x_S, ratio.numerator, ratio.denominator)
    x_S = x_S[: round((stop - start) * rate)]
    return Track(x_S.astype(np.float32).clip(-1, 1), end)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Any]:
  import av
  from av.error import ArgumentError, FFmpegError

  regular(path)
  suffix = pathlib.Path(path).suffix.lower()
  if suffix not in FORMATS:
    raise BrokenError(path, f"{suffix!r} is no suffix of a video or sound")
  if suffix in (".wav", ".avi"):
    promised(path)
  allowed = {"format_whitelist": FORMATS[suffix], "protocol_whitelist": "file"}
  name = str(pathlib.Path(path).absolute())  # never a URL
  try:
    container = av.open(name, options=allowed, metadata_errors="ignore")
  except ArgumentError as error:
    raise BrokenError(path, f"does not hold what {suffix} says") from error
  except FFmpegError as error:
    raise BrokenError(path, f"cannot be opened: {error.strerror}") from error
  try:
    with container:
      yield container
  except FFmpegError as error:
    reason = one_line(error.strerror or str(error))
    raise BrokenError(path, f"cannot be read: {reason}") from error


def _stream(container: Any, kind: str) -> Any:
  """The first track of a kind; pictures of a cover don't count."""
  from av.stream import Disposition

  for stream in container.streams:
    if stream.type != kind or stream.disposition & Disposition.attached_pic:
      continue
    if stream.codec_context is None:
      raise BrokenError(container.name, f"holds {kind} of an unknown kind")
    stream.codec_context.thread_count = 1  # workers run in parallel
    stream.codec_context.options = {"err_detect": "explode"}
    return stream
  return None


def _decoded(path: str, container: Any, stream: Any, start: float) -> Iterator:
  """Yields frames and their times, beginning a little before `start`."""
  zero = (container.start_time or 0) / 1e6
  early = start - BEFORE
  if early > 0 and _is(container, EXACT):
    container.seek(math.floor((early + zero) * 1e6))
  time = 0.0
  for frame in container.decode(stream):
    time = time if frame.time is None else float(frame.time) - zero
    if frame.is_corrupt and time >= early:
      raise BrokenError(path, f"is damaged at {time:.2f} s")
    yield frame, time


def _check_end(path: str, container: Any, stream: Any, end: float) -> None:
  """Raises BrokenError for a track shorter than its header says."""
  zero = (container.start_time or 0) / 1e6
  if not _is(container, TOLD):
    return
  if stream.duration:
    until = ((stream.start_time or 0) + stream.duration) * stream.time_base
    says = float(until) - zero
  else:
    says = _tagged(stream.metadata.get("DURATION", ""))
  if says - max(end, 0.0) > LOST:
    raise BrokenError(
      path, f"is cut off: {max(end, 0.0):.2f} s of {says:.2f} s are there"
    )


def _is(container: Any, names: set[str]) -> bool:
  return bool({*container.format.name.split(",")} & names)


def _tagged(text: str) -> float:
  """Seconds of HH:MM:SS.fraction; 0 for any other text."""
  try:
    hours, minutes, seconds = map(float, text.split(":"))
  except ValueError:
    return 0.0
  return 3600 * hours + 60 * minutes + seconds


def _length(frame: Any, step: float) -> float:
  return float(frame.duration * frame.time_base) if frame.duration else step


def _upright(
  path: str, frame: Any, stretch: float, size: tuple[int, int]
) -> np.ndarray:
  """A frame turned as the phone was held, and resized."""
  from PIL import Image

  images.check_size(path, frame.width, frame.height)
  image = Image.fromarray(frame.to_ndarray(format="rgb24"))
  turn = round(frame.rotation / 90) % 4
  if turn:
    image = image.transpose(
      (
        Image.Transpose.ROTATE_90,
        Image.Transpose.ROTATE_180,
        Image.Transpose.ROTATE_270,
      )[turn - 1]
    )
    stretch = 1 / stretch if turn % 2 else stretch
  return images.fit(image, size, stretch)


def _mono(path: str, frame: Any) -> np.ndarray:
  """The mean of all channels, float32."""
  x = frame.to_ndarray()
  if not frame.format.is_planar:
    x = x.reshape(-1, frame.layout.nb_channels).T
  if x.dtype.kind == "u":
    x = x.astype(np.float32) / 128 - 1
  elif x.dtype.kind == "i":
    x = x.astype(np.float32) / -float(np.iinfo(x.dtype).min)
  x_S = x.mean(0, dtype=np.float32)
  if not np.isfinite(x_S).all():
    raise BrokenError(path, "holds sound that is not finite")
  return x_S
