"""The field's usual folders of features: video/zip and audio/zip.

Shapes: N clips.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from unirep.data.datasets.clips import Stored
from unirep.data.release.stores import Zips

STEPS = 10  # seconds of a clip


def pair(options: Mapping[str, Any], id_N: np.ndarray) -> dict[str, Stored]:
  """Video and audio of clips.

  Args:
    options: `features`, the folder of both, and `limit`, in MB.
    id_N: names of the clips.
  """
  return {
    "video": Stored(video(options["features"], options), id_N),
    "audio": Stored(audio(options["features"], options), id_N),
  }


def video(folder: str, options: Mapping[str, Any], fill: bool = False) -> Zips:
  """Grids of ten seconds; clips of other lengths are refused, or filled."""
  place = pathlib.Path(folder, "video", "zip")
  return Zips(place, 4, STEPS, fill, options["limit"] * 2**20)


def pictures(folder: str, options: Mapping[str, Any]) -> Zips:
  """Grids of any number of seconds, or of a photo."""
  place = pathlib.Path(folder, "video", "zip")
  return Zips(place, 4, 0, False, options["limit"] * 2**20)


def audio(folder: str, options: Mapping[str, Any]) -> Zips:
  """Vectors of ten seconds: the last one is repeated, or more are cut."""
  place = pathlib.Path(folder, "audio", "zip")
  return Zips(place, 2, STEPS, True, options["limit"] * 2**20)
