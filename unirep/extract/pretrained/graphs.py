"""Any ONNX model as an extractor, run by onnxruntime.

Dimensions: N segments, S samples, C channels, H/W rows and columns, 3 colours.
"""

import hashlib
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from unirep.extract.broken import one_line
from unirep.extract.extractor import Extractor, Loaded
from unirep.extract.weights import need
from unirep.files import guard
from unirep.runtime.errors import InputError

NUMBERS = {
  "tensor(float)": np.float32,
  "tensor(float16)": np.float16,
  "tensor(double)": np.float64,
}
MOST = 16  # segments at once, if the model takes any number
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
FOLDER = "session.model_external_initializers_file_folder_path"
SIDE = 4096  # pixels of an image, at most


class Spec(NamedTuple):
  """The input of a model.

  Attributes:
    takes: as in `Extractor`.
    shape: of one input; None for an axis of any length.
    dtype: of the input.
    batch: segments at once; None for any number, 0 if there is no such axis.
    size: height and width of images.
    rate: samples a second of waveforms.
    before: makes arrays of that shape from segments; `dtype` is set later.
    first: whether channels come first, in images and so in grids.
  """

  takes: str
  shape: tuple[int | None, ...]
  dtype: Any
  batch: int | None
  size: tuple[int, int] | None
  rate: int | None
  before: Callable[[np.ndarray], np.ndarray]
  first: bool = False


def onnx(file: str) -> Extractor:
  """The first output of a model of images, waveforms or series.

  Images are (N, 3, H, W) or (N, H, W, 3), in uint8 or in 0..1. The latter are
  reduced by `mean` and divided by `std` if the metadata have these. Waveforms
  are (N, S), (N, 1, S) or (S,), with the `rate` of the metadata or 16 kHz.
  Series are (N, S, C). Grids of features get their channels last.

  Raises:
    InputError: if the file is no such model.
  """
  name = f"onnx:{file}"
  data = guard.read(name, file, "an ONNX model")
  session = _session(name, data)
  spec = _spec(name, session)
  shape = _run(name, session, spec)(_example(spec)).shape[1:]
  samples = spec.shape[-1] if spec.takes == "waveform" else None

  def load():
    run = _run(name, _session(name, data), spec)
    return Loaded(run, hashlib.sha256(data).hexdigest())

  return Extractor(
    name=name,
    takes=spec.takes,
    shape=shape,
    rate=spec.rate,
    window=samples / spec.rate if samples and spec.rate else 0.0,
    size=spec.size,
    licence="that of the file",
    origin="the file",
    load=load,
  )


def _session(name, data):
  runtime = need("onnxruntime")
  options = runtime.SessionOptions()
  options.log_severity_level = 4  # faults are reported below
  # A folder without files: the sha256 would not cover weights in other files.
  options.add_session_config_entry(FOLDER, os.devnull)
  available = runtime.get_available_providers()
  try:
    return runtime.InferenceSession(
      data, options, [x for x in PROVIDERS if x in available]
    )
  except Exception as error:  # the package has a type for each code
    raise InputError(
      f"{name} is no ONNX model in one file ({one_line(str(error))})"
    ) from error


def _spec(name, session) -> Spec:
  """Reads the input that a model takes.

  Raises:
    InputError: if no modality fits it.
  """
  inputs = session.get_inputs()
  given = ", ".join(f"{x.name} {x.type} {x.shape}" for x in inputs)
  refused = InputError(
    f"{name} takes {given}; allowed is one input: images (N, 3, H, W) or (N, H,"
    " W, 3) of fixed size, waveforms (N, S), (N, 1, S) or (S), or series (N, S,"
    " C), in floats (images also in uint8)"
  )
  if len(inputs) != 1 or not 1 <= len(inputs[0].shape) <= 4:
    raise refused
  shape = tuple(
    x if isinstance(x, int) and x > 0 else None for x in inputs[0].shape
  )
  metadata = session.get_modelmeta().custom_metadata_map
  if len(shape) == 4:
    dtype = (NUMBERS | {"tensor(uint8)": np.uint8}).get(inputs[0].type)
    spec = _images(name, shape, dtype, metadata)
  else:
    dtype = NUMBERS.get(inputs[0].type)
    spec = _signals(name, shape, dtype, metadata)
  if dtype is None or spec is None:
    raise refused
  return spec


def _images(name, shape, dtype, metadata):
  first, last = shape[1] == 3, shape[3] == 3
  size = shape[2:] if first else shape[1:3]
  if not (first or last) or not all(x and x <= SIDE for x in size):
    return None
  mean = _listed(name, metadata, "mean", (0.0, 0.0, 0.0))
  deviation = _listed(name, metadata, "std", (1.0, 1.0, 1.0))
  if not all(deviation):
    raise InputError(f"{name}: std in its metadata has a 0")

  def before(x_NxHxWx3):
    x = x_NxHxWx3
    if dtype != np.uint8:
      x = ((x / np.float32(255) - mean) / deviation).astype(dtype)
    return x.transpose(0, 3, 1, 2) if first else x

  return Spec("image", shape[1:], dtype, shape[0], size, None, before, first)


def _signals(name, shape, dtype, metadata):
  if len(shape) == 3 and shape[1] != 1:
    return Spec("series", shape[1:], dtype, shape[0], None, None, lambda x: x)
  (rate,) = _listed(name, metadata, "rate", (16000.0,))
  if not 1000 <= rate <= 384000 or rate % 1:
    raise InputError(f"{name}: rate={rate} in its metadata is no rate in Hz")
  count = shape[-1]

  def before(wave_NxS):
    extra = wave_NxS.shape[1] - (count or wave_NxS.shape[1])
    begin = max(0, extra // 2)  # the middle
    x = wave_NxS[:, begin : begin + count] if count else wave_NxS
    return x[:, None] if len(shape) == 3 else x

  batch = shape[0] if len(shape) > 1 else 0
  one = shape[1:] if len(shape) > 1 else shape
  return Spec("waveform", one, dtype, batch, None, int(rate), before)


def _listed(
  name: str, metadata: Mapping[str, str], key: str, default: tuple[float, ...]
) -> tuple[float, ...]:
  """Numbers of the metadata, "0.5,0.5,0.5"."""
  try:
    values = tuple(map(float, metadata[key].split(",")))
  except KeyError:
    return default
  except ValueError:
    values = ()
  if len(values) != len(default) or not all(map(math.isfinite, values)):
    raise InputError(
      f"{name}: {key}={metadata[key]!r} in its metadata is not"
      f" {len(default)} numbers"
    )
  return values


def _example(spec):
  """Two segments of zeros, to learn the shape of the output."""
  if spec.takes == "image":
    return np.zeros((2, *spec.size, 3), np.uint8)
  if spec.takes == "waveform":
    return np.zeros((2, spec.shape[-1] or spec.rate), np.float32)
  samples, channels = spec.shape
  return np.zeros((2, samples or 100, channels or 1), np.float32)


def _run(name, session, spec):
  """A function of segments to features (N, ...).

  It raises InputError for segments of another shape than the model's, and if
  the model fails.
  """
  most = spec.batch or (1 if spec.batch == 0 else MOST)

  def run(segments):
    x = spec.before(segments)
    fits = len(x.shape) == len(spec.shape) + 1 and all(
      want in (None, got)
      for want, got in zip(spec.shape, x.shape[1:], strict=True)
    )
    if not fits:
      raise InputError(f"{name} takes {spec.shape}, not {x.shape[1:]}")
    x = x.astype(spec.dtype)
    parts = [
      _outputs(name, session, spec, x[i : i + most])
      for i in range(0, len(x), most)
    ]
    out = np.concatenate(parts)
    grid = spec.first and out.ndim == 4
    return out.transpose(0, 2, 3, 1) if grid else out

  return run


def _outputs(name, session, spec, x):
  """The first output for as many segments as the model takes, or fewer."""
  count = len(x)
  if spec.batch == 0:
    x = x[0]
  elif spec.batch:
    x = x[np.minimum(np.arange(spec.batch), count - 1)]  # padded with the last
  outputs = [session.get_outputs()[0].name]
  try:
    (out,) = session.run(outputs, {session.get_inputs()[0].name: x})
  except Exception as error:  # the package has a type for each code
    raise InputError(f"{name} failed ({one_line(str(error))})") from error
  if not isinstance(out, np.ndarray) or out.dtype.kind not in "fiu":
    raise InputError(f"{name} gives {outputs[0]}, which is no array of numbers")
  if spec.batch == 0 and out.shape[:1] != (1,):
    out = out[None]
  if out.shape[:1] != (spec.batch or count,):
    raise InputError(f"{name} gives {out.shape} for {count} segments")
  out = out[:count].astype(np.float32)
  return out if out.ndim > 1 else out[:, None]
