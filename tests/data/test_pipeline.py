import json

import numpy as np
import pytest

from unirep.data import arrays, pipeline
from unirep.runtime.errors import InputError

SIZE = 23


class Numbers:
  """Sample i holds the number i; importable, so that workers can have it."""

  def __len__(self):
    return SIZE

  def __getitem__(self, index):
    return {
      "features": {"a": np.full((2, 3), index, np.float32)},
      "lengths": {"a": np.int32(1 + index % 2)},
      "labels": {"index": np.int32(index)},
    }


def ids(iterator, count):
  return [next(iterator)["labels"]["index"].tolist() for _ in range(count)]


def stream(count=13, **changes):
  options = {"batch_size": 4, "seed": 7} | changes
  return ids(pipeline.batches(Numbers(), **options), count)


def test_leaves_are_stacked():
  batch = next(pipeline.batches(Numbers(), batch_size=4, seed=0))
  index = batch["labels"]["index"]
  assert {p: list(v) for p, v in batch.items()} == {
    "features": ["a"],
    "lengths": ["a"],
    "labels": ["index"],
  }
  np.testing.assert_array_equal(
    batch["features"]["a"], np.broadcast_to(index[:, None, None], (4, 2, 3))
  )
  np.testing.assert_array_equal(batch["lengths"]["a"], 1 + index % 2)
  dtypes = [next(iter(part.values())).dtype for part in batch.values()]
  assert dtypes == [np.float32, np.int32, np.int32]


def test_an_epoch_visits_a_sample_at_most_once_and_epochs_differ():
  flat = np.array(stream(15)).reshape(3, 20)  # 23 samples: 5 batches, 3 dropped
  for epoch in flat:
    assert len(set(epoch)) == 20
  assert len({tuple(epoch) for epoch in flat}) == 3
  assert len({frozenset(epoch) for epoch in flat}) > 1
  assert not np.array_equal(flat[0], np.sort(flat[0]))


def test_the_seed_decides():
  assert stream() == stream()
  assert stream() != stream(seed=8)


def test_neighboring_seeds_share_no_epoch():
  flat = np.array([stream(5 * 4, seed=seed) for seed in range(4)])
  epochs = [tuple(epoch) for epoch in flat.reshape(16, 20).tolist()]
  assert len(set(epochs)) == 16


@pytest.mark.parametrize("num_workers", [1, 3])
def test_workers_give_the_same_stream(num_workers):
  iterator = pipeline.batches(
    Numbers(), batch_size=4, seed=7, num_workers=num_workers
  )
  assert ids(iterator, 13) == stream()
  iterator.close()


def test_processes_share_the_global_batch():
  parts = [stream(process_index=p, process_count=2) for p in range(2)]
  assert [a + b for a, b in zip(*parts, strict=True)] == stream()


@pytest.mark.parametrize("position", [0, 3, 5, 7])
def test_state_continues_mid_epoch(position):
  expected = stream(position + 9)[position:]
  iterator = pipeline.batches(Numbers(), batch_size=4, seed=7)
  ids(iterator, position)
  state = json.loads(json.dumps(iterator.get_state()))
  assert ids(iterator, 9) == expected
  iterator.set_state(state)
  assert iterator.get_state() == state
  assert ids(iterator, 9) == expected
  fresh = pipeline.batches(Numbers(), batch_size=4, seed=7)
  fresh.set_state(state)
  assert ids(fresh, 9) == expected


def test_state_survives_a_change_of_workers_and_processes():
  iterator = pipeline.batches(Numbers(), batch_size=4, seed=7, num_workers=2)
  ids(iterator, 7)
  state = iterator.get_state()
  assert ids(iterator, 3) == stream(10)[7:]
  iterator.set_state(state)
  assert ids(iterator, 3) == stream(10)[7:]
  iterator.close()
  parts = []
  for p in range(2):
    half = pipeline.batches(
      Numbers(), batch_size=4, seed=7, process_index=p, process_count=2
    )
    half.set_state(state)
    parts.append(ids(half, 3))
  assert [a + b for a, b in zip(*parts, strict=True)] == stream(10)[7:]


def test_one_batch_may_be_the_whole_source():
  first, second = stream(2, batch_size=SIZE)
  assert sorted(first) == sorted(second) == list(range(SIZE))
  assert first != second


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"batch_size": SIZE + 1}, r"1\.\.23.*got 24"),
    ({"batch_size": 0}, "got 0"),
    ({"process_count": 3}, "evenly"),
    ({"process_count": 0}, "process_count 0"),
    ({"process_index": 2, "process_count": 2}, "process_index 2"),
    ({"num_workers": -1}, "num_workers"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**32}, "seed"),
  ],
)
def test_batches_reject(changes, words):
  with pytest.raises(InputError, match=words):
    stream(**changes)


def test_an_empty_source_is_named():
  with pytest.raises(InputError, match="empty"):
    pipeline.batches([], batch_size=1, seed=0)
  with pytest.raises(InputError, match="0 samples"):
    pipeline.in_order([], 1)  # at the call, not at the first batch


@pytest.mark.parametrize("batch_size", [1, 4, 23, 30])
def test_in_order_pads_the_last_batch(batch_size):
  seen, rows = [], 0
  for batch, valid in pipeline.in_order(Numbers(), batch_size):
    index = batch["labels"]["index"]
    assert len(index) == batch_size
    assert (index[valid:] == index[valid - 1]).all()
    seen += index[:valid].tolist()
    rows += batch_size
  assert seen == list(range(SIZE))
  assert rows < SIZE + batch_size


def test_unequal_samples_are_named():
  def one(time):
    a = arrays.Arrays({"a": np.ones((1, time, 2))})
    return a[0]

  with pytest.raises(InputError, match=r"\['a'\].*\(3, 2\), \(4, 2\)"):
    pipeline.stack([one(3), one(4)])
  other = arrays.Arrays({"b": np.ones((1, 3, 2))})[0]
  with pytest.raises(InputError, match=r"\['a'\].*missing"):
    pipeline.stack([one(3), other])
  with pytest.raises(InputError, match="empty"):
    pipeline.stack([])
