"""Digests of checkpoints: whether the files are as they were written."""

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from unirep import files

FILE = "digests.json"


def write(root: pathlib.Path, steps: Sequence[int], new: int) -> None:
  """Takes the digests of step `new`, and keeps those of the other steps."""
  old = known(root)
  kept = {str(step): old.get(str(step)) for step in steps}
  # Known or not: a step that was damaged may have been written once more.
  kept[str(new)] = _digests(root / str(new))
  files.write_json(root / FILE, kept)


def known(root: pathlib.Path) -> dict[str, Any]:
  """By step. If the file itself is damaged there are none: Orbax judges."""
  try:
    return json.loads((root / FILE).read_text())
  except (OSError, ValueError):
    return {}


def _digests(directory: pathlib.Path) -> dict[str, str]:
  return {
    str(path.relative_to(directory)): _digest(path)
    for path in sorted(directory.rglob("*"))
    if path.is_file()
  }


def _digest(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def damage(root: pathlib.Path, step: int) -> str:
  """Names the first file that is not as it was written, or returns ""."""
  for name, digest in (known(root).get(str(step)) or {}).items():
    file = root / str(step) / name
    if not file.exists():
      return f"{name} is missing"
    if _digest(file) != digest:
      return f"{name} has changed since it was written"
  return ""
