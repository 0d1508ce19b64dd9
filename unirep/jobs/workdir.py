"""The work directory of a run: its lock, its settings, its files."""

import contextlib
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator, Mapping
from typing import IO, Any

from absl import logging

from unirep.configuration import migrate
from unirep.files import guard
from unirep.runtime import atomic
from unirep.runtime.errors import InputError

CONFIG = "config.json"
SUMMARY = "summary.json"
REPORT = "report.png"
CHECKPOINTS = "checkpoints"
CODES = "codes"
NONFINITE = "nonfinite"
LOCK = "run.lock"
IDENTITY = "identity"  # of the data, among the settings that a run records
# Recorded beside the configuration, from which they can't be derived.
RECORDED = (IDENTITY, "extraction")
# Files that runs write. A directory that has one, and no settings of a run, is
# somebody else's and left alone.
OURS = (
  *(SUMMARY, REPORT, CHECKPOINTS, CODES, NONFINITE, "report.pdf"),
  *("metrics.jsonl", "tensorboard", "quarantine", "features", "failed.csv"),
  *(f"results.{x}" for x in ("json", "md", "png", "pdf")),
  *(f"toc.{x}" for x in ("json", "npz", "png", "pdf")),
  *("data.json", "wandb_id", "samples.png", "samples.pdf", "sounds"),
  *("model.safetensors", "model.json", "model.pt"),
  *("problems.csv", "exclude.txt", "check.json"),
)
# Leaves that may change when a run resumes: they change no result, or only the
# steps to come.
FREE = (
  *("steps", "log_every", "workers", "timeout", "mesh.model", "mesh.params"),
  *("checkpoint_every", "checkpoint_seconds", "checkpoints_kept"),
  *("checkpoints_required", "wandb", "allow_changed"),
  "data.device_resident",
)
_HELD: dict[pathlib.Path, IO[str]] = {}  # locks of this process


def check(workdir: pathlib.Path, settings: Mapping[str, Any]) -> None:
  """Refuses a work directory that isn't ours.

  Raises:
    InputError: if it holds a run with another configuration.
  """
  path = workdir / CONFIG
  if not path.exists():
    return
  old = guard.read_json(path)
  if not isinstance(old, dict):
    raise InputError(f"{path} does not hold the settings of a run")
  compare(str(workdir), old, settings)


def compare(
  where: str, old: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
  """Raises InputError where `where` holds a run with other settings or data."""
  old = migrate.completed(old, settings)
  known = old.get(IDENTITY)
  for key, values in sorted(differences(old, settings).items()):
    section = key.partition(".")[0]
    if section in RECORDED and section not in settings:
      continue
    if section == IDENTITY:
      if known and not settings.get("allow_changed"):
        raise InputError(
          f"{where} is of other data: {key} was {values[0]!r} and is "
          f"{values[1]!r}; bring back the data, or go on with these by "
          "--config.allow_changed"
        )
    elif key not in FREE:
      raise InputError(
        f"{where} holds a run with {key}={values[0]!r}, not {values[1]!r}; "
        "name another --workdir or delete it"
      )


def claim(workdir: pathlib.Path, settings: Mapping[str, Any]) -> None:
  """Makes the work directory ours, or checks that it is.

  Raises:
    InputError: if it holds a run with another configuration, or files of
      somebody else that a run would write over; if it can't be written to.
  """
  check(workdir, settings)
  taken = [x for x in OURS if os.path.lexists(workdir / x)]
  if taken and not (workdir / CONFIG).exists():
    raise InputError(
      f"{workdir} holds {taken[0]}, and no {CONFIG} of a run; name another "
      "--workdir, or move it away"
    )
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    _lock(workdir)
    atomic.write_json(workdir / CONFIG, settings)
  except OSError as error:
    raise InputError(f"cannot write to {workdir}: {error.strerror}") from error


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[None]:
  """A context in which `claim` locks a work directory against other runs.

  Raises:
    InputError: if one is in there already; before anything is prepared.
  """
  if workdir.resolve() in _HELD:
    raise InputError(f"{workdir} is in use by another run of this process")
  if (workdir / LOCK).is_file():
    _lock(workdir)
  try:
    yield
  finally:
    file = _HELD.pop(workdir.resolve(), None)
    if file:
      file.close()


def hold_on(workdir: pathlib.Path) -> None:
  """Makes sure that the directory is still ours, as somebody may delete locks.

  Raises:
    InputError: if another run has it now.
  """
  file = _HELD.get(workdir.resolve())
  if file and not _is_at(file, workdir / LOCK):
    _HELD.pop(workdir.resolve()).close()
    _lock(workdir)


def _lock(workdir: pathlib.Path) -> None:
  """Takes the lock, which ends with this process, also if it is killed."""
  key, path = workdir.resolve(), workdir / LOCK
  while key not in _HELD:
    file = path.open("a+")
    try:
      # Of the process, not of the open file: workers that are forked have none.
      fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
      file.seek(0)
      owner = " ".join(file.read(200).split()) or "another process"
      file.close()
      raise InputError(
        f"{workdir} is in use by {owner}; wait for its end, or name another "
        "--workdir"
      ) from None
    except OSError as error:
      logging.warning(
        "%s cannot be locked (%s): start no second run in there",
        workdir,
        error.strerror,
      )
    if _is_at(file, path):  # or it was deleted meanwhile
      file.truncate(0)
      file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
      file.flush()
      _HELD[key] = file
    else:
      file.close()


def _is_at(file: IO[str], path: pathlib.Path) -> bool:
  """Whether an open file is still the one at its path."""
  try:
    return os.path.samestat(os.fstat(file.fileno()), path.stat())
  except OSError:
    return False


def differences(old: Any, new: Any, prefix: str = "") -> dict[str, tuple]:
  """Leaves that differ: dotted key -> (old, new)."""
  if not (isinstance(old, dict) and isinstance(new, dict)):
    return {} if old == new else {prefix: (old, new)}
  found = {}
  for key in {*old, *new}:
    name = f"{prefix}.{key}" if prefix else key
    found |= differences(old.get(key), new.get(key), name)
  return found
