"""Files that are whole or not there."""

import contextlib
import errno
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # OSError.errno: disk full


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """Gives a temporary path beside `path`, and renames it to `path` at the end.

  A reader of `path` finds the old file or the new one, never a part. If writing
  fails the old file stays.
  """
  path = pathlib.Path(path)
  part = path.with_name(f".{path.name}.unirep-part")  # nobody else's name
  try:
    yield part
    part.replace(path)
  except BaseException:
    with contextlib.suppress(OSError):
      part.unlink(missing_ok=True)
    raise


def write_json(path: str | os.PathLike[str], value: Any) -> None:
  """Writes a value as JSON; the file is whole or not there."""
  with whole(path) as part:
    part.write_text(json.dumps(value, indent=1) + "\n")


def cache() -> pathlib.Path:
  """The user's directory for files that can be made again."""
  root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(root).expanduser() / "unirep"
