"""Samples in TFDS's files of ArrayRecord, without TensorFlow.

Every file is whole or not there, and what says that a folder is complete comes
last: whoever is killed goes on, and ends with the same bytes.
"""

import json
import pathlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from unirep import files
from unirep.data.sample import PRESENT, Sample
from unirep.errors import InputError

INFO, FEATURES = "dataset_info.json", "features.json"
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
KIND = "array_record"


def features(sample: Sample) -> Any:
  """What TFDS calls the features of samples like this one."""
  import tensorflow_datasets as tfds

  def tensor(x, dtype=None):
    dtype = np.dtype(dtype or x.dtype)
    shape = np.shape(x)
    coded: Any = {"encoding": "bytes"} if shape else {}
    return tfds.features.Tensor(shape=shape, dtype=dtype, **coded)

  parts: dict[str, Any] = {
    part: {_key(name): tensor(x) for name, x in sample[part].items()}
    for part in ("features", "lengths", "labels", PRESENT)
    if sample.get(part)
  }
  parts["features"] = {
    m: tensor(x, stored(x)) for m, x in sample["features"].items()
  }
  return tfds.features.FeaturesDict({**parts, "id": tfds.features.Text()})


def stored(x: np.ndarray) -> Any:
  """The type that features are kept in: maps are half as large."""
  return np.float16 if x.ndim > 2 else np.float32


def serialized(spec: Any, name: str, sample: Sample) -> bytes:
  """A sample as it stands in a file.

  Raises:
    InputError: for a value that is too large for its type.
  """
  example: dict[str, Any] = {
    part: {_key(n): x for n, x in leaves.items()}
    for part, leaves in sample.items()
    if leaves
  }
  for m, x in example["features"].items():
    with np.errstate(over="ignore"):
      example["features"][m] = x.astype(stored(x))
    if not np.isfinite(example["features"][m]).all():
      raise InputError(f"{name}: {m} has values too large for float16")
  return spec.serialize_example({**example, "id": name})


def shard(
  folder: pathlib.Path,
  name: str,
  part: str,
  number: int,
  count: int,
) -> pathlib.Path:
  """The file of a shard, of so many of a part."""
  return folder / f"{name}-{part}.{KIND}-{number:05d}-of-{count:05d}"


def write(path: pathlib.Path, records: Iterable[bytes]) -> None:
  """Writes a file of records, the whole of it or nothing."""
  import array_record.python.array_record_module as array_records

  with files.whole(path) as place:
    writer = array_records.ArrayRecordWriter(str(place), "group_size:1")
    try:
      for record in records:
        writer.write(record)
    finally:
      writer.close()


def finish(
  folder: pathlib.Path,
  name: str,
  spec: Any,
  lengths: Mapping[str, Sequence[int]],
) -> None:
  """Writes what says that all shards are there.

  Args:
    folder: NAME/VERSION.
    name: of the data set.
    spec: see `features`.
    lengths: part -> samples of each of its shards.
  """
  import tensorflow_datasets as tfds

  place: Any = folder

  def template(part=None) -> Any:
    return tfds.core.ShardedFileTemplate(
      data_dir=place,
      template=TEMPLATE,
      dataset_name=name,
      split=part,
      filetype_suffix=KIND,
    )

  infos = []
  for part, sizes in lengths.items():
    paths = [
      shard(folder, name, part, i, len(sizes)) for i in range(len(sizes))
    ]
    infos.append(
      tfds.core.SplitInfo(
        name=part,
        shard_lengths=list(sizes),
        num_bytes=sum(x.stat().st_size for x in paths),
        filename_template=template(part),
      )
    )
  with tempfile.TemporaryDirectory() as made:
    tfds.folder_dataset.write_metadata(
      data_dir=made,
      features=spec,
      split_infos=infos,
      filename_template=template(),
      check_data=False,
    )
    for file in (FEATURES, INFO):
      found = json.loads(pathlib.Path(made, file).read_text())
      if file == INFO:
        found |= {"name": name, "version": folder.name}
      files.write_json(folder / file, found)


def _key(name: str) -> str:
  return name.replace("/", "__")


def planned(size: int, each: int) -> list[range]:
  """Which samples each shard has."""
  return [range(i, min(i + each, size)) for i in range(0, size, each)]
