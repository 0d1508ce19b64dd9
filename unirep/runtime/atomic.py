"""Files that are whole or not there."""

import contextlib
import errno
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping
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
  """Writes a value as JSON, whole or not at all; NaN becomes null."""
  with whole(path) as part:
    text = json.dumps(_strict(value), indent=1, allow_nan=False)
    part.write_text(text + "\n")


def _strict(value: Any) -> Any:
  """JSON has no NaN and no infinity: strict parsers refuse them."""
  if isinstance(value, Mapping):
    return {key: _strict(part) for key, part in value.items()}
  if isinstance(value, list | tuple):
    return [_strict(part) for part in value]
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def cache() -> pathlib.Path:
  """The user's directory for files that can be made again."""
  root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  return pathlib.Path(root).expanduser() / "unirep"
