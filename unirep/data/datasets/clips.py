"""Clips of a release: features in their files, labels in memory.

Shapes: N clips.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from unirep.data.sample import PRESENT, Sample
from unirep.runtime.errors import InputError


class Stored(NamedTuple):
  """The files with the features of a modality.

  Attributes:
    store: reads them, see `release.stores`.
    key_N: the key of each clip in the store.
  """

  store: Any
  key_N: np.ndarray


class Texts(NamedTuple):
  """Vectors of the words of N texts, zeros behind their length.

  Dimensions: L words, D width.
  """

  vector_NxLxD: np.ndarray
  length_N: np.ndarray

  def at(self, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The vectors and the length of one text."""
    return self.vector_NxLxD[n], self.length_N[n]


class Clips:
  """Clips as a source.

  Args:
    id_N: names of the clips; several may be equal.
    stored: modality -> its features.
    labels: name -> (N, ...) integers.
    texts: vectors of texts, and the index (N,) of the text of each clip.
    present_N: modality -> (N,) bool, where some clips lack it.
    lists: the files of labels, see `data.identity`.
  """

  def __init__(
    self,
    id_N: np.ndarray,
    stored: Mapping[str, Stored],
    labels: Mapping[str, np.ndarray],
    *,
    texts: tuple[Texts, np.ndarray] | None = None,
    present: Mapping[str, np.ndarray] | None = None,
    lists: Sequence[Any] = (),
  ):
    self.id_N, self.stored, self._labels = id_N, dict(stored), dict(labels)
    self._texts, self.present = texts, dict(present or {})
    self._lists = [str(x) for x in lists]
    self._shapes: dict[str, tuple[int, ...]] = {}

  def __len__(self) -> int:
    return len(self.id_N)

  def __getitem__(self, index: int, /) -> Sample:
    index = range(len(self))[index]
    features, lengths = {}, {}
    for m in self.stored:
      if self.has(m, index):
        features[m] = self._read(m, index)
      else:
        features[m] = np.zeros(self._shape(m), np.float32)
    if self._texts:
      texts, row_N = self._texts
      features["text"], lengths["text"] = texts.at(row_N[index])
    labels = {name: x_N[index] for name, x_N in self._labels.items()}
    item: Sample = {"features": features, "lengths": lengths, "labels": labels}
    if self.present:
      item[PRESENT] = {m: x_N[index] for m, x_N in self.present.items()}
    return item

  def has(self, m: str, index: int) -> bool:
    """Whether a clip has a modality."""
    return m not in self.present or bool(self.present[m][index])

  def keys(self, m: str) -> list[Any]:
    """The keys in its store of all clips that have a modality."""
    key_N = self.stored[m].key_N
    return (key_N[self.present[m]] if m in self.present else key_N).tolist()

  def require(self) -> "Clips":
    """Itself, if no features are missing.

    Raises:
      InputError: if features of a clip are missing.
    """
    for m, (store, _) in self.stored.items():
      lost = store.missing(self.keys(m))
      if lost:
        raise InputError(
          f"{store.path(lost[0])}: no such file, one of {len(lost)} missing of"
          f" {m}; configs/data.py:check lists them for data.exclude"
        )
    return self

  def without(self, ids: Sequence[str]) -> "Clips":
    """The clips with other ids than these.

    Raises:
      InputError: if none is left.
    """
    keep_N = ~np.isin(self.id_N, np.array(ids, str)) if ids else ...
    texts = self._texts and (self._texts[0], self._texts[1][keep_N])
    rest = Clips(
      self.id_N[keep_N],
      {m: Stored(s, key_N[keep_N]) for m, (s, key_N) in self.stored.items()},
      {name: x_N[keep_N] for name, x_N in self._labels.items()},
      texts=texts,
      present={m: x_N[keep_N] for m, x_N in self.present.items()},
      lists=self._lists,
    )
    if len(self) and not len(rest):
      raise InputError("data.exclude leaves no clip")
    return rest

  def files(self) -> list[str]:
    """Lists and large files, see `data.identity`."""
    stores = [x for s in self.stored.values() for x in s.store.files()]
    return [*self._lists, *stores]

  def _read(self, m: str, index: int) -> np.ndarray:
    store, key_N = self.stored[m]
    return store.read(key_N[index])

  def _shape(self, m: str) -> tuple[int, ...]:
    """The shape of a modality: that of the first clip that has it."""
    if m not in self._shapes:
      first = next((i for i in range(len(self)) if self.has(m, i)), None)
      if first is None:
        raise InputError(f"no clip has {m}")
      self._shapes[m] = self._read(m, first).shape
    return self._shapes[m]
