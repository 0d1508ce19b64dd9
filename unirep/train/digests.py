"""Digests of checkpoints, which show damaged files.

A step is a folder named by its number. A record beside the steps holds the
digests of their files. It also says which steps belong to this run: nothing
else is ever removed. Record and steps may come from a stranger, so only regular
files inside a step are read.
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
LARGEST = 2**24  # bytes of the record, which has about 100 for each file


def write(root: pathlib.Path, new: int) -> list[int]:
  """Records the digests of step `new`; returns all recorded steps, sorted."""
  kept = {name: x for name, x in known(root).items() if (root / name).is_dir()}
  # Even if there is an entry: a damaged step may have been written again.
  kept[str(new)] = {
    name: _digest(root / str(new) / name) for name in listing(root / str(new))
  }
  atomic.write_json(root / FILE, kept)
  return sorted(map(int, kept))


def known(root: pathlib.Path) -> dict[str, dict[str, str]]:
  """Reads the record: step -> file -> digest. A damaged record is empty.

  Raises:
    InputError: if it names a file outside of a step.
  """
  path = root / FILE
  try:
    if not stat.S_ISREG(path.stat().st_mode) or path.stat().st_size > LARGEST:
      raise InputError(f"{path} is no record of digests")
    record = json.loads(path.read_text())
  except FileNotFoundError:
    return {}
  except (ValueError, RecursionError):
    return {}
  if not isinstance(record, dict):
    return {}
  return {
    step: names
    for step, names in record.items()
    if step.isdecimal() and _is_record(path, names)
  }


def _is_record(path: pathlib.Path, names: Any) -> bool:
  """Whether `names` are the digests of a step."""
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
  """Lists the files of a step: name -> size in bytes.

  Args:
    step: its folder.
    below: a folder inside the step; all of the step if "".

  Raises:
    InputError: for links, pipes and devices: nothing is read through them.
    OSError: if a folder can't be read.
  """
  sizes = {}
  waiting = [step / below]
  while waiting:
    with os.scandir(waiting.pop()) as entries:
      for entry in entries:
        path = pathlib.Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
          waiting.append(path)
        elif entry.is_file(follow_symlinks=False):
          size = entry.stat(follow_symlinks=False).st_size
          sizes[path.relative_to(step).as_posix()] = size
        else:
          raise InputError(
            f"{path} is a link, or no file; copy checkpoints with what their "
            "links lead to (cp -L)"
          )
  return dict(sorted(sizes.items()))


def unrecorded(root: pathlib.Path, step: int, below: str = "") -> list[str]:
  """Lists the files of a step that have no digest."""
  record = known(root).get(str(step)) or {}
  return [x for x in listing(root / str(step), below) if x not in record]


def damage(root: pathlib.Path, step: int, below: str = "") -> str:
  """Names a file of a step that is missing or has changed; "" if none.

  Args:
    root: the folder of steps.
    step: number of the step.
    below: as in `listing`.

  Raises:
    InputError: as `listing` and `known` do.
    OSError: if a file can't be read; that is no damage.
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
  """Deletes the recorded files of a step, then its entry in the record.

  Other files in the folder stay, and so does the folder then.
  """
  record = known(root)
  names = record.pop(str(step), {})
  for name in names:
    (root / str(step) / name).unlink(missing_ok=True)
  for folder, _, _ in os.walk(root / str(step), topdown=False):
    with contextlib.suppress(OSError):  # not empty
      pathlib.Path(folder).rmdir()
  atomic.write_json(root / FILE, record)


def set_aside(
  root: pathlib.Path, step: int, folder: pathlib.Path
) -> pathlib.Path:
  """Moves a recorded step into `folder`, under a new name; returns its path."""
  folder.mkdir(parents=True, exist_ok=True)
  names = [f"checkpoint-{step}", *(f"checkpoint-{step}-{i}" for i in range(99))]
  place = next(folder / x for x in names if not os.path.lexists(folder / x))
  (root / str(step)).rename(place)
  record = known(root)
  del record[str(step)]
  atomic.write_json(root / FILE, record)
  return place


def _digest(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
