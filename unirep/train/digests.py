"""Digests of checkpoints: whether the files are as they were written.

A step is a folder named by its number. The record of digests lies beside the
steps, and says which of them are of this run: nothing else is ever removed. It
may come from anyone, and so may the steps: only regular files inside of a step
are looked at.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import stat
from typing import Any

from unirep.runtime import atomic
from unirep.runtime.errors import InputError

FILE = "digests.json"
LARGEST = 2**24  # bytes of the record: it takes about 100 for a file


def write(root: pathlib.Path, new: int) -> list[int]:
  """Takes the digests of step `new`; returns the steps that are recorded."""
  kept = {name: x for name, x in known(root).items() if (root / name).is_dir()}
  # Known or not: a step that was damaged may have been written once more.
  kept[str(new)] = {
    name: _digest(root / str(new) / name) for name in listing(root / str(new))
  }
  atomic.write_json(root / FILE, kept)
  return sorted(map(int, kept))


def known(root: pathlib.Path) -> dict[str, dict[str, str]]:
  """By step. If the record itself is damaged there are none.

  Raises:
    InputError: if it names what is no file of a step.
  """
  path = root / FILE
  try:
    if not stat.S_ISREG(path.stat().st_mode) or path.stat().st_size > LARGEST:
      raise InputError(f"{path} is no record of digests")
    found = json.loads(path.read_text())
  except FileNotFoundError:
    return {}
  except (ValueError, RecursionError):
    return {}
  if not isinstance(found, dict):
    return {}
  return {
    step: names
    for step, names in found.items()
    if step.isdecimal() and _is_record(path, names)
  }


def _is_record(path: pathlib.Path, names: Any) -> bool:
  """Whether it is one of a step; raises InputError for names elsewhere."""
  if not isinstance(names, dict):
    return False
  for name, digest in names.items():
    parts = pathlib.PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\0" in name:
      raise InputError(f"{path} names {name!r}, which is no file of a step")
    if not isinstance(digest, str):
      return False
  return True


def listing(step: pathlib.Path, below: str = "") -> dict[str, int]:
  """Files of a step: name -> size in bytes.

  Args:
    step: its folder.
    below: a folder in there, or all of it.

  Raises:
    InputError: for links, pipes and devices: nothing is read through them.
    OSError: if a folder can't be read.
  """
  found = {}
  waiting = [step / below]
  while waiting:
    with os.scandir(waiting.pop()) as entries:
      for entry in entries:
        path = pathlib.Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
          waiting.append(path)
        elif entry.is_file(follow_symlinks=False):
          size = entry.stat(follow_symlinks=False).st_size
          found[path.relative_to(step).as_posix()] = size
        else:
          raise InputError(
            f"{path} is a link, or no file; copy checkpoints with what their "
            "links lead to (cp -L)"
          )
  return dict(sorted(found.items()))


def unrecorded(root: pathlib.Path, step: int, below: str = "") -> list[str]:
  """Files of a step that no digest vouches for."""
  record = known(root).get(str(step)) or {}
  return [x for x in listing(root / str(step), below) if x not in record]


def damage(root: pathlib.Path, step: int, below: str = "") -> str:
  """Names the first file that is not as it was written, or returns "".

  Args:
    root: the folder of steps.
    step: which.
    below: as in `listing`.

  Raises:
    InputError: as `listing` and `known` do.
    OSError: if a file can't be read, which is no damage.
  """
  there = listing(root / str(step), below)
  for name, digest in (known(root).get(str(step)) or {}).items():
    if below and not name.startswith(f"{below}/"):
      continue
    if name not in there:
      return f"{name} is missing"
    if _digest(root / str(step) / name) != digest:
      return f"{name} has changed since it was written"
  return ""


def remove(root: pathlib.Path, step: int) -> None:
  """Deletes what the record has of a step, then its place in there.

  What else lies in the folder stays, and the folder with it.
  """
  record = known(root)
  names = record.pop(str(step), {})
  for name in names:
    (root / str(step) / name).unlink(missing_ok=True)
  for folder, _, _ in os.walk(root / str(step), topdown=False):
    with contextlib.suppress(OSError):  # not empty
      pathlib.Path(folder).rmdir()
  atomic.write_json(root / FILE, record)


def set_aside(root: pathlib.Path, step: int, to: pathlib.Path) -> pathlib.Path:
  """Moves a recorded step to a place of its own; returns it."""
  to.mkdir(parents=True, exist_ok=True)
  names = [f"checkpoint-{step}", *(f"checkpoint-{step}-{i}" for i in range(99))]
  place = next(to / x for x in names if not os.path.lexists(to / x))
  (root / str(step)).rename(place)
  record = known(root)
  del record[str(step)]
  atomic.write_json(root / FILE, record)
  return place


def _digest(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
