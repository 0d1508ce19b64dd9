"""A converted release: TFDS's files of ArrayRecord, without TensorFlow.

Beside them lie `ids.json`, the id of each clip by part, and `meaning.json`, the
options that decide the contents of samples.
"""

import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from unirep.data import values
from unirep.data.annotations.tables import LARGEST
from unirep.data.release.shards import FEATURES, INFO, TEMPLATE
from unirep.data.sample import PRESENT, Sample
from unirep.files import guard
from unirep.runtime.errors import InputError

IDS, MEANING = "ids.json", "meaning.json"
_WHERE = "tensorflow_datasets.core.features"
_KINDS = {
  f"{_WHERE}.features_dict.FeaturesDict",
  f"{_WHERE}.tensor_feature.Tensor",
  f"{_WHERE}.text_feature.Text",
}
VERSION = "1.0.0"  # of the files; it changes when the features do


class Converted:
  """A part of the files that `configs/data.py:convert` wrote.

  Args:
    path: the work directory of a conversion, or the folder in it.
    name: of the release.
    part: one of its parts.
    meaning: the options that decide the contents of samples.
    exclude: ids to leave out.

  Raises:
    InputError: if there is none, or it has another version or other options.
  """

  concurrent = True

  def __init__(
    self,
    path: str,
    name: str,
    part: str,
    meaning: Mapping[str, Any],
    exclude: Sequence[str] = (),
  ):
    folder = pathlib.Path(path)
    if not (folder / INFO).is_file():
      folder = folder / name / VERSION
    if not (folder / INFO).is_file():
      raise InputError(
        f"data.converted={path} has no {name}/{VERSION}/{INFO}; write it with"
        " configs/data.py:convert"
      )
    theirs = json_of(folder / MEANING)
    for key in {*meaning} | {*theirs}:
      if theirs.get(key) != plain(meaning.get(key)):
        raise InputError(
          f"{folder} was converted with data.{key}={theirs.get(key)!r}, not"
          f" {meaning.get(key)!r}; convert again, or give that value"
        )
    ids = json_of(folder / IDS).get(part, [])
    if not isinstance(ids, list) or not all(isinstance(x, str) for x in ids):
      raise InputError(f"{folder / IDS}: {part} is no list of ids")
    _check_written(folder, part, len(ids))
    self._folder, self._part = folder, part
    self._row_N = np.arange(len(ids))
    if exclude:
      self._row_N = np.flatnonzero(~np.isin(np.array(ids), exclude))
    self._source: Any = None

  def __len__(self) -> int:
    return len(self._row_N)

  def __getitem__(self, index: int, /) -> Sample:
    return values.widened(self.stored(index))

  def stored(self, index: int) -> Sample:
    """See `data.sample.stored`."""
    row = int(self._row_N[range(len(self))[index]])
    try:
      record = self._opened()[row]
    except Exception as error:  # ArrayRecord has types of its own
      line = " ".join(str(error).split())[:200]
      raise InputError(
        f"{self._folder}: cannot read clip {row} of {self._part} ({line});"
        " convert again"
      ) from error
    item: Any = {
      "features": dict(record["features"]),
      "lengths": {m: np.int32(x) for m, x in record.get("lengths", {}).items()},
      "labels": {
        name.replace("__", "/"): _integers(x)
        for name, x in record["labels"].items()
      },
    }
    if PRESENT in record:
      item[PRESENT] = {m: np.bool_(x) for m, x in record[PRESENT].items()}
    return item

  def files(self) -> list[str]:
    """The files of the part, see `data.identity`."""
    return [str(x) for x in sorted(self._folder.glob(f"*-{self._part}.*"))]

  def __getstate__(self):
    return self.__dict__ | {"_source": None}

  def _opened(self) -> Any:
    if self._source is None:
      import tensorflow_datasets as tfds

      try:
        builder: Any = tfds.builder_from_directory(self._folder)
        self._source = builder.as_data_source(split=self._part)
      except Exception as error:  # of files that are missing or broken
        line = " ".join(str(error).split())[:200]
        raise InputError(
          f"{self._folder}: cannot open {self._part} ({line}); convert again"
        ) from error
    return self._source


def _check_written(folder: pathlib.Path, part: str, size: int) -> None:
  """Refuses files that conversion does not write, before TFDS reads them.

  TFDS would import any class that `features.json` names, and read any file.
  """
  info, description = json_of(folder / INFO), json_of(folder / FEATURES)
  if "type" in description:  # as TFDS wrote it long ago
    raise InputError(f"{folder / FEATURES} is of another make; convert again")
  for kind in _kinds(description):
    if kind not in _KINDS:
      raise InputError(f"{folder / FEATURES} names {kind[:80]!r}, not allowed")
  try:
    splits = {x["name"]: x for x in info["splits"]}
    lengths = [int(x) for x in splits[part]["shardLengths"]] if size else []
    fine = {x["filepathTemplate"] for x in splits.values()} == {TEMPLATE}
  except (KeyError, TypeError, ValueError) as error:
    raise InputError(
      f"{folder / INFO} lacks {part!r}; convert again"
    ) from error
  if not fine or sum(lengths) != size:
    raise InputError(
      f"{folder / INFO}: {part} has {sum(lengths)} clips, but {IDS} has {size}"
    )


def _kinds(value: Any) -> Iterator[Any]:
  """The classes that a description of features names."""
  if isinstance(value, Mapping):
    for key, x in value.items():
      if key in ("pythonClassName", "python_class_name"):
        yield str(x)
      yield from _kinds(x)
  elif isinstance(value, list):
    for x in value:
      yield from _kinds(x)


def _integers(x: Any) -> np.ndarray:
  """Integers of their own type: TFDS gives scalars in 64 bits."""
  x = np.asarray(x)
  return x.astype(np.int32) if x.dtype == np.int64 else x


def json_of(path: pathlib.Path) -> dict[str, Any]:
  """A JSON file with a dict in it.

  Raises:
    InputError: for anything else.
  """
  value = guard.read_json(path, LARGEST)
  if not isinstance(value, dict):
    raise InputError(f"{path} is not a dict")
  return value


def plain(value: Any) -> Any:
  """The value as it comes back from JSON."""
  return list(value) if isinstance(value, tuple) else value
