"""Models of others become ours, and ours theirs."""

import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from unirep.configs import pretrain
from unirep.configuration import build
from unirep.configuration.build import Config
from unirep.files import state_dicts, torch_writer
from unirep.inference.tokenizer import Tokenizer
from unirep.interop import portable, released, releasing
from unirep.interop.model import Model, some
from unirep.jobs import workdir as workdirs
from unirep.methods.network import Network
from unirep.quantizer.codebook import Codebook
from unirep.runtime import atomic
from unirep.runtime.errors import InputError, pick
from unirep.train import digests, reading, saving
from unirep.train.state import TrainState

OFFICIAL = "model.pt"


class Job(NamedTuple):
  """A conversion of one model, bound.

  Attributes:
    settings: the configuration as JSON values.
    to: an entry of `TO`.
    model: the model, read and known to fit a network.
    file: import: whether it comes from one file of the official scripts.
  """

  settings: Mapping[str, Any]
  to: str
  model: Model
  file: bool = False


def prepare(config: Config) -> Job:
  """Reads the model.

  Args:
    config: as `configs/convert.py` gives it.

  Raises:
    InputError: for a model that is none, or fits no network.
  """
  settings = build.as_json(config)
  if pick(TO, "to", config.to) is _import:
    if not config.path:
      raise InputError("path is empty; name a .pt file, or a folder")
    path = pathlib.Path(os.path.expanduser(config.path))
    return Job(settings, config.to, _foreign(path), os.path.isfile(path))
  if not config.checkpoint:
    raise InputError("checkpoint is empty; name the work directory of a run")
  path = pathlib.Path(os.path.expanduser(config.checkpoint))
  return Job(settings, config.to, _own(path))


def run(job: Job, workdir: pathlib.Path, console: Console) -> dict[str, Any]:
  """Writes the model in the other format.

  Args:
    job: from `prepare`.
    workdir: made if needed.
    console: where to print.

  Raises:
    InputError: for a work directory of something else.
    SaveError: if a checkpoint can't be written.
  """
  return TO[job.to](job, workdir, console)


def _foreign(path: pathlib.Path) -> Model:
  """A model of the official scripts, or of `_safetensors`."""
  read = _portable if os.path.isdir(path) else _official
  try:
    model = read(path)
    _network(model)
  except InputError as error:
    said = str(error)
    line = said if said.startswith(str(path)) else f"{path}: {said}"
    raise InputError(line) from error
  return model


def _own(path: pathlib.Path) -> Model:
  """A model of ours, in the precision that it is kept in."""
  with jax.enable_x64(True):
    step, *arrays, settings = reading.read_newest(path, build.shapes)
    params, book = jax.tree.map(np.asarray, arrays)
  model = Model(params, book, settings, step)
  _network(model)
  return model


def _import(job: Job, workdir, console) -> dict[str, Any]:
  model = job.model
  network = _network(model)
  workdirs.claim(workdir, job.settings)
  new = _save(model, workdir)
  widths = ", ".join(
    f"{m} {network.width(model.params, m)}" for m in network.order
  )
  K, D = model.codebook["code_KxD"].shape
  lines = [f"{K} codes of {D}; features: {widths}; step {model.step}"]
  left = model.settings["imported"]["left_out"] if job.file else []
  if left:
    lines.append(f"left out: {some(left, 12)}")
  lines.append(f"{workdir} {'holds the model' if new else 'held it already'}")
  for line in lines:
    console.print(line, soft_wrap=True, markup=False)
  return {
    "codes": K,
    "step": model.step,
    "left_out": left,
    "new": new,
  }


def _official(path: pathlib.Path) -> Model:
  """The model of a file of the official scripts."""
  with state_dicts.opened(path) as saved:
    found = released.recognize(saved.value)
    likes = released.stored(found, path.stat().st_size)
    settings = _settings(found, path.name, portable.digest(path))
    expected = build.shapes(settings, likes)
    released.check(found, expected)
    params, book = released.read(found, saved)
  return Model(params, book, settings, found.step)


def _settings(found: released.Found, name: str, sha256: str) -> dict[str, Any]:
  """Of the run that the official script is, as far as the file tells."""
  config: Any = pretrain.get_config(
    f"method={found.method},preset=released,data=arrays,size=paper"
  )
  widths = released.widths(found)
  config.modalities = found.modalities
  config.fine = found.modalities
  if found.method == "fcid":
    config.fine = ("video", "audio")
  for m in [*config.encoders]:
    if m not in found.modalities:
      del config.encoders[m]
  for m, width in widths["specific"].items():
    config.encoders[m].specific = width
  if len(found.modalities) == 2:
    config.loss.commitment.other_weight = 0.5
  if found.method == "dcid":
    config.model.front = tuple(m for m in found.modalities if m == "text")
  config.model.update({x: widths[x] for x in ("dim", "hidden", "layers")})
  config.codebook.size = widths["codes"]
  settings = build.as_json(config)
  settings["imported"] = {
    "file": name,
    "sha256": sha256,
    "epoch": found.epoch,
    "left_out": found.left_out,
  }
  return settings


def _portable(folder: pathlib.Path) -> Model:
  """The model of a folder that `_safetensors` wrote."""
  model = portable.read(folder)
  try:
    portable.check(model, build.shapes(model.settings, portable.stored(model)))
  except build.BROKEN as error:
    if isinstance(error, InputError):
      raise
    raise InputError(f"its settings are none ({error!r:.200})") from error
  return model


def _network(model: Model) -> Network:
  """The network, once the settings are known to be whole."""
  try:
    config = build.from_json(model.settings)
    network = build.network(config)
    build.distribution(config)
    Tokenizer(network, model.params, np.zeros((1, 1)), model.settings)
  except build.BROKEN as error:
    if isinstance(error, InputError):
      raise
    raise InputError(f"its settings are none ({error!r:.200})") from error
  return network


def _save(model: Model, workdir: pathlib.Path) -> bool:
  """Writes the model as a checkpoint; whether it was not there already."""
  root = workdir / workdirs.CHECKPOINTS
  if _is_there(root, model):
    return False

  def failed(error: saving.SaveError) -> None:
    raise error

  saver = saving.Saver(saving.open_manager(root), failed, 1)
  with jax.enable_x64(True):  # numbers stay as they are
    book = Codebook(**model.codebook)
    count: Any = np.int32(model.step)
    state = TrainState(count, model.params, book, {}, {})
    saver.save(jax.device_put(state), model.settings, {})
    saver.wait()
  return True


def _is_there(root: pathlib.Path, model: Model) -> bool:
  """Whether an import of that file has been here, and came to its end.

  An import that was killed is finished, or removed.
  """
  place, step = root / str(model.step), model.step
  if {*digests.known(root)} - {place.name}:
    raise InputError(f"{root} holds a model of another file")
  if not place.is_dir():
    return False
  if digests.damage(root, step):
    digests.remove(root, step)
    return False
  try:
    settings = reading.configuration(place)
  except OSError as error:
    raise InputError(f"{place} is in the way, and no checkpoint") from error
  if settings != model.settings:
    raise InputError(f"{root} holds a model of another file")
  if place.name not in digests.known(root):
    digests.write(root, step)
  return True


def _safetensors(job: Job, workdir, console) -> dict[str, Any]:
  workdirs.claim(workdir, job.settings)
  portable.write(workdir, job.model)
  names = [portable.ARRAYS, portable.ABOUT]
  console.print(
    f"{' and '.join(names)} are in {workdir}", soft_wrap=True, markup=False
  )
  return {"files": names}


def _to_official(job: Job, workdir, console) -> dict[str, Any]:
  whole = build.as_json(build.from_json(job.model.settings))
  value = releasing.state_dicts(job.model._replace(settings=whole))
  workdirs.claim(workdir, job.settings)
  with atomic.whole(workdir / OFFICIAL) as part:
    torch_writer.write(part, value)
  console.print(f"{OFFICIAL} is in {workdir}", soft_wrap=True, markup=False)
  return {"files": [OFFICIAL]}


TO = {
  "import": _import,
  "safetensors": _safetensors,
  "official": _to_official,
}
