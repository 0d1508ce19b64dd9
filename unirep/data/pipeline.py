"""Batches of a source: shuffled and endless, or once in order.

The stream of batches is a function of (source, batch size, seed) alone. It is
the same for any number of workers and hosts, and after an interruption.
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from absl import flags

from unirep.data.sample import Batch, Sample, Source, stored
from unirep.runtime import signals
from unirep.runtime.errors import InputError


class BatchIterator(grain.DatasetIterator[Batch]):
  """An endless, checkpointable iterator over the batches of a grain dataset.

  Its whole state is the number of the next batch, a JSON value, so a run may
  resume with another number of workers or processes. (Grain's own state
  mirrors its workers and can't.) `close()` ends the workers.
  """

  def __init__(self, dataset: grain.MapDataset[Batch], num_workers: int):
    super().__init__()
    self._dataset = dataset
    self._num_workers = num_workers
    self._next_batch = 0
    self._stream: grain.DatasetIterator[Batch] | None = None

  def __next__(self) -> Batch:
    if self._stream is None:
      workers = (
        signals.deaf() if self._num_workers else contextlib.nullcontext()
      )
      with workers:  # they start at the first batch
        self._stream = self._open()
        batch = next(self._stream)
    else:
      batch = next(self._stream)
    self._next_batch += 1
    return batch

  def get_state(self) -> dict[str, Any]:
    """The position, as a JSON value."""
    return {"next_batch": self._next_batch}

  def set_state(self, state: dict[str, Any]) -> None:
    """Moves to a position that `get_state` returned."""
    self._stop()
    self._next_batch = int(state["next_batch"])

  def close(self) -> None:
    """Ends prefetching; the iterator must not be used again."""
    self._stop()
    self._closed = True

  def _open(self) -> grain.DatasetIterator[Batch]:
    # One thread: composing samples holds the GIL, so more threads only slow
    # the training loop down.
    stream = self._dataset[self._next_batch :].to_iter_dataset(
      grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    )
    if self._num_workers:
      if not flags.FLAGS.is_parsed():  # a notebook, or a script without absl
        flags.FLAGS.mark_as_parsed()  # grain reads a flag of its own
      stream = stream.mp_prefetch(
        grain.MultiprocessingOptions(
          num_workers=self._num_workers, per_worker_buffer_size=2
        )
      )
    return iter(stream)

  def _stop(self) -> None:
    if self._stream is not None:
      self._stream.close()
    self._stream = None


def batches(
  source: Source,
  *,
  batch_size: int,
  seed: int,
  num_workers: int = 0,
  process_index: int = 0,
  process_count: int = 1,
) -> BatchIterator:
  """Shuffled batches without end.

  Every epoch has its own global order and drops the last, partial batch. Of
  each global batch a process gets one contiguous slice, so the slices of all
  processes, concatenated in order, are the batch that one process would get.

  Args:
    source: the samples.
    batch_size: global batch size, over all processes.
    seed: of the order, 0..2**32-1.
    num_workers: worker processes that compose batches; 0 means a thread. With
      workers a script must guard its entry with `if __name__ == "__main__"`,
      because they import it anew.
    process_index: this host's number.
    process_count: number of hosts.

  Returns:
    An iterator with `get_state`, `set_state` and `close`. Leaves have shape
    (batch_size // process_count, ...).

  Raises:
    InputError: for an empty source or a number out of range.
  """
  size = len(source)
  _check_stream(size, batch_size, process_index, process_count)
  if num_workers < 0:
    raise InputError(f"num_workers must not be negative, got {num_workers}")
  if not 0 <= seed < 2**32:
    raise InputError(f"seed must lie in 0..2**32-1, got {seed}")
  share = batch_size // process_count
  mine = slice(process_index * share, (process_index + 1) * share)
  # Indices are shuffled and batched before samples are composed. So there is
  # random access (batching after the workers would drop data), and a process
  # composes only its own slice.
  dataset = (
    grain.MapDataset.range(size)
    .seed(seed)
    .shuffle()
    .batch(batch_size, drop_remainder=True)
    .map(functools.partial(_compose, source, mine))
    .repeat()
  )
  return BatchIterator(dataset, num_workers)


def _check_stream(size, batch_size, process_index, process_count):
  if not size:
    raise InputError("the source is empty; it needs a sample or more")
  if not 1 <= batch_size <= size:
    raise InputError(
      f"batch_size must lie in 1..{size}, the number of samples, got"
      f" {batch_size}"
    )
  if not 0 <= process_index < process_count or batch_size % process_count:
    raise InputError(
      f"batch_size {batch_size} must divide evenly over process_count"
      f" {process_count}, and process_index {process_index} lie below it"
    )


def in_order(source: Source, batch_size: int) -> Iterator[tuple[Batch, int]]:
  """Yields (batch, number of valid samples) over the source once, in order.

  The last batch is filled up by repeating its last sample, so that all have
  one shape; only its first `valid` samples count.

  Raises:
    InputError: for an empty source or a batch size below one.
  """
  if batch_size < 1 or not len(source):
    raise InputError(
      f"batch_size must be positive, got {batch_size}, and the source not"
      f" empty, got {len(source)} samples"
    )
  return _in_order(source, batch_size)


def stack(samples: Sequence[Sample]) -> Batch:
  """Stacks samples into a batch, leaf by leaf.

  Raises:
    InputError: if there are none, or they differ in keys or shapes.
  """
  if not samples:
    raise InputError("cannot stack an empty list of samples")
  first = samples[0]
  batch: Batch = {part: {} for part in first}
  for part, leaves in first.items():
    for name in leaves:
      try:
        batch[part][name] = np.stack([s[part][name] for s in samples])
      except (KeyError, ValueError) as error:
        shapes = {
          str(np.shape(s[part][name])) if name in s[part] else "missing"
          for s in samples
        }
        raise InputError(
          f"{part}[{name!r}] differs within a batch:"
          f" {', '.join(sorted(shapes))}; pad samples to one shape and give"
          " lengths"
        ) from error
  return batch


def _compose(source: Source, mine: slice, indices: np.ndarray) -> Batch:
  return stack([source[int(i)] for i in indices[mine]])


def _in_order(source: Source, batch_size: int) -> Iterator[tuple[Batch, int]]:
  for start in range(0, len(source), batch_size):
    stop = min(start + batch_size, len(source))
    samples = [source[i] for i in range(start, stop)]
    samples += [samples[-1]] * (batch_size - len(samples))
    yield stack(samples), stop - start


class Subset:
  """Samples of a source by their indices, as a source; nothing is copied.

  Attributes:
    note: one line on how they were chosen, or "".
  """

  def __init__(self, source: Source, indices: Sequence[int] | np.ndarray):
    self._source, self._indices = source, indices
    self.note = ""

  def __len__(self) -> int:
    return len(self._indices)

  @property
  def concurrent(self) -> bool:
    """As of the source, see `data.sample.Source`."""
    return getattr(self._source, "concurrent", False)

  def __getitem__(self, index: int, /) -> Sample:
    return self._source[int(self._indices[index])]

  def stored(self, index: int) -> Sample:
    """See `data.sample.stored`."""
    return stored(self._source, int(self._indices[index]))

  def files(self) -> list[str]:
    """The files of the source, see `data.identity`."""
    return getattr(self._source, "files", list)()

  @property
  def labels(self) -> dict[str, np.ndarray] | None:
    """All labels of these samples, if the source has all of its own."""
    labels = getattr(self._source, "labels", None)
    if not isinstance(labels, Mapping):
      return None
    return {name: x[self._indices] for name, x in labels.items()}

  def raw(self) -> dict[str, Any]:
    """Raw media of these samples, see `data.raw`."""
    media = getattr(self._source, "raw", dict)()
    return {
      m: raw._replace(at=self._renumbered(raw.at)) for m, raw in media.items()
    }

  def _renumbered(self, at):
    return lambda index: at(int(self._indices[index]))


def drawn(source: Source, count: int, seed: int) -> Source:
  """`count` samples of a source, each at most once; all of them for 0.

  The choice depends on the sizes and the seed alone. Samples keep their order.
  """
  if not 0 < count < len(source):
    return source
  order = np.random.default_rng(seed).permutation(len(source))
  return Subset(source, np.sort(order[:count]))
