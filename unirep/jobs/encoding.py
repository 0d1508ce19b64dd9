"""Codes of whole sources: made once, by all processes, chunk by chunk."""

import hashlib
import json
import pathlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from absl import logging

from unirep.data.pipeline import Subset
from unirep.data.sample import Source
from unirep.files import guard
from unirep.inference import codes as coded
from unirep.inference.codes import Codes
from unirep.runtime import atomic, lockstep
from unirep.runtime.errors import InputError

CHUNK = 4096  # samples of a file, before all are one
DATA = "data.json"  # split -> digest of its data
DAY = 24 * 3600  # a lost process is noticed sooner, by its heartbeat


class Model(Protocol):
  """The part of a `Tokenizer` that encodes sources."""

  @property
  def digest(self) -> Any:
    """Of its settings, weights and codebook."""

  def codes(
    self,
    source: Source,
    *,
    dropout: jax.Array | None = None,
    passes: int = 1,
    first: int = 0,
  ) -> Codes:
    """Codes of passes * N samples, see `Tokenizer.codes`."""
    ...


def stamp(tokenizer: Model, *rest: Any) -> str:
  """A digest of everything that codes depend on.

  That is the model, the layout of files, and `rest`.
  """
  parts = [coded.LAYOUT, tokenizer.digest, *rest]
  text = json.dumps(parts, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def remember(
  workdir: pathlib.Path, name: str, data: str, changed: bool
) -> None:
  """Records the digest of a split's data in the work directory.

  Args:
    workdir: claimed.
    name: of the split.
    data: see `data.identity`.
    changed: whether it may be other data than before.

  Raises:
    InputError: where it is other data, and may not be.
  """
  path = workdir / DATA
  known = guard.read_json(path) if path.exists() else {}
  if not isinstance(known, dict):
    raise InputError(f"{path} does not say which data are known; delete it")
  before = known.get(name, data)
  if before != data and not changed:
    raise InputError(
      f"{workdir} is of other data: {name} was {before!r} and is {data!r}; "
      "bring back the data, or go on with these by --config.allow_changed"
    )
  atomic.write_json(path, {**known, name: data})


def encoded(
  tokenizer: Model,
  source: Source,
  path: pathlib.Path,
  *,
  dropout: jax.Array | None = None,
  passes: int = 1,
  shown: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> Codes:
  """The codes of every sample, from `path` if they are there.

  All processes call it, and each encodes some of the chunks. Chunks that were
  finished before a process was killed are read, not made again. The codes do
  not depend on the number of processes.

  Args:
    tokenizer: the frozen model.
    source: N samples.
    path: an .npz file in a folder that all processes see; its name must say
      everything that the codes depend on, see `stamp`.
    dropout: see `Tokenizer.codes`.
    passes: likewise.
    shown: wraps the chunks, to show progress.

  Returns:
    Codes of passes * N samples, pass after pass.
  """
  if lockstep.same(int(path.exists())):
    return coded.read(path)
  parts = path.with_suffix(".parts")
  first_samples = range(0, len(source), CHUNK)
  names = [parts / f"{first:09d}.npz" for first in first_samples]
  homeless: dict[pathlib.Path, Codes] = {}
  chunks = [*enumerate(zip(first_samples, names, strict=True))]
  for i, (first, name) in shown(chunks):
    if i % jax.process_count() == jax.process_index() and not name.exists():
      last = min(first + CHUNK, len(source))
      window = Subset(source, np.arange(first, last))
      found = tokenizer.codes(
        window, dropout=dropout, passes=passes, first=first
      )
      if not _write(name, found):
        homeless[name] = found
  lockstep.wait(f"encoded {path.name}", DAY)
  if jax.process_index() == 0:
    found = (homeless.get(name) or coded.read(name) for name in names)
    codes = coded.join_passes(found, passes)
    if not _write(path, codes):
      return codes
    shutil.rmtree(parts, ignore_errors=True)
  lockstep.wait(f"joined {path.name}", DAY)
  return coded.read(path)


def _write(path: pathlib.Path, codes: Codes) -> bool:
  """Whether there is room. Only a process that is alone can do without."""
  try:
    coded.write(path, codes)
  except OSError as error:
    if error.errno not in atomic.NO_ROOM or jax.process_count() > 1:
      raise
    logging.warning("%s: %s", path, error.strerror)
    return False
  return True
