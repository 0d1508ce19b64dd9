"""Zips of one pickled array, a clip each.

Nothing is ever unpacked to disk.
"""

import os
import pathlib

import numpy as np

from unirep.data.release import pickles
from unirep.errors import InputError
from unirep.reading import doors, zips

LIST = 2**16  # bytes of the list of members: an archive has one, or a few


def array(path: pathlib.Path, limit: int) -> np.ndarray:
  """The array in an archive: of several the last, as the authors read them.

  Args:
    path: the file.
    limit: bytes that the file, and the pickle in it, may have.

  Raises:
    InputError: for a file that is missing, broken, too large or no such
      archive, or whose pickle holds anything but an array of numbers.
  """
  try:
    doors.check(path)
    with zips.opened(path, LIST) as archive:
      size = os.stat(path).st_size
      if size > limit:
        raise ValueError(f"it has {size} bytes, more than {limit}")
      infos = [x for x in zips.members(archive) if x.filename.endswith(".pkl")]
      if not infos:
        raise ValueError("it holds no .pkl")
      return pickles.array(zips.read(archive, infos[-1], limit))
  except InputError as error:
    raise InputError(
      f"{error}; fetch it again, or leave it out by data.exclude"
    ) from error
