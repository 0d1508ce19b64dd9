"""Files that are whole or not there."""

import contextlib
import errno
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of an OSError


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """A place beside `path` to write to, which takes its place at the end.

  Whoever reads `path` finds the old file or the new one, never a part. If
  writing fails the old one stays.
  """
  path = pathlib.Path(path)
  part = path.with_name(f".{path.name}.unirep-part")  # a name of ours alone
  try:
    yield part
    part.replace(path)
  except BaseException:
    with contextlib.suppress(OSError):
      part.unlink(missing_ok=True)
    raise


def write_json(path: str | os.PathLike[str], value: Any) -> None:
  """Writes a value as JSON, the whole of it or nothing."""
  with whole(path) as part:
    part.write_text(json.dumps(value, indent=1) + "\n")


def cache() -> pathlib.Path:
  """The user's directory for what can be made again."""
  root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(root).expanduser() / "unirep"
