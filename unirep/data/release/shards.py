"""Samples in TFDS's files of ArrayRecord, without TensorFlow.

Every file is whole or not there. The file that marks a folder as complete is
written last, so that a conversion that was killed can go on, and ends with the
same bytes.
"""

import json
import pathlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from unirep.data.sample import PRESENT, Sample
from unirep.runtime import atomic
from unirep.runtime.errors import InputError

INFO, FEATURES = "dataset_info.json", "features.json"
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
KIND = "array_record"
# Packed they are half as large, and take three times as long to read.
OPTIONS = "group_size:1,uncompressed"


def features(sample: Sample) -> Any:
  """TFDS's description of samples like this one."""
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
  """The type of features in files: float16 for maps, which are large."""
  return np.float16 if x.ndim > 2 else np.float32


def example(name: str, sample: Sample) -> dict[str, Any]:
  """A sample in the form that TFDS takes.

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
  return {**example, "id": name}


def serialized(spec: Any, name: str, sample: Sample) -> bytes:
  """A sample as the bytes of a record.

  Raises:
    InputError: for a value that is too large for its type.
  """
  from tensorflow_datasets.proto import tf_example_pb2

  message: Any = tf_example_pb2
  # The order of entries is random unless it is asked for.
  parsed = message.Example.FromString(
    spec.serialize_example(example(name, sample))
  )
  return parsed.SerializeToString(deterministic=True)


def shard(
  folder: pathlib.Path,
  name: str,
  part: str,
  number: int,
  count: int,
) -> pathlib.Path:
  """The file of shard `number` of `count` of a part."""
  return folder / f"{name}-{part}.{KIND}-{number:05d}-of-{count:05d}"


def write(path: pathlib.Path, records: Iterable[bytes]) -> None:
  """Writes a file of records: a whole one or none."""
  import array_record.python.array_record_module as array_records

  with atomic.whole(path) as place:
    writer = array_records.ArrayRecordWriter(str(place), OPTIONS)
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
  """Writes the files that mark a folder as complete.

  Args:
    folder: NAME/VERSION.
    name: of the data set.
    spec: see `features`.
    lengths: part -> samples of each of its shards.
  """
  splits = []
  for part, sizes in lengths.items():
    count = len(sizes)
    paths = [shard(folder, name, part, i, count) for i in range(count)]
    splits.append(
      {
        "filepathTemplate": TEMPLATE,
        "name": part,
        "numBytes": str(sum(x.stat().st_size for x in paths)),
        "shardLengths": [str(x) for x in sizes],
      }
    )
  with tempfile.TemporaryDirectory() as made:
    spec.save_config(made)
    description = json.loads(pathlib.Path(made, FEATURES).read_text())
  atomic.write_json(folder / FEATURES, description)
  info = {"fileFormat": KIND, "name": name, "version": folder.name}
  atomic.write_json(folder / INFO, {**info, "splits": splits})


def _key(name: str) -> str:
  return name.replace("/", "__")


def planned(size: int, each: int) -> list[range]:
  """The samples of each shard, `each` at most."""
  return [range(i, min(i + each, size)) for i in range(0, size, each)]
