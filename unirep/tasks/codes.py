"""Frozen codes of a whole source, computed once."""

import functools
import operator
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from unirep.data import arrays, pipeline
from unirep.data.contract import Source
from unirep.model import Model
from unirep.train.step import padding_mask

LAYOUT = 2  # of files of codes: those of another one are not read


class Codes(NamedTuple):
  """Codes and labels of N samples.

  Attributes:
    idx: modality -> (N, T) codes of its steps, see `Model.encode`; T is the
      modality's own. Padding, if it is left out, is -1.
    clip: modality -> (N,) codes of whole samples.
    labels: name -> (N, ...) integers, as the source gives them.
  """

  idx: Mapping[str, np.ndarray]
  clip: Mapping[str, np.ndarray]
  labels: Mapping[str, np.ndarray]


class Encoder:
  """Codes of sources by a frozen model, compiled once.

  Args:
    model: the network.
    params: its parameters.
    code_KxD: the codebook.
    mask_padding: whether padding is left out, as in pretraining.
    batch_size: samples at a time.
  """

  def __init__(
    self,
    model: Model,
    params: Mapping[str, Any],
    code_KxD: np.ndarray,
    *,
    mask_padding: bool,
    batch_size: int = 250,
  ):
    self._batch_size = batch_size

    @jax.jit
    def run(params, code_KxD, batch, keys_B):
      mask = padding_mask(batch) if mask_padding else {}
      args = params, code_KxD, batch["features"], mask, keys_B
      idx = model.encode(*args)
      for m in {*mask} & {*model.fine} & {*idx}:
        idx[m] = jnp.where(mask[m], idx[m], -1)
      # What both have in common is computed once: it is one program.
      clip = model.encode(*args, clip=True)
      return idx, {m: x_Bx1[:, 0] for m, x_Bx1 in clip.items()}

    # The weights are arguments: as constants they would slow compilation down.
    self._run = functools.partial(run, params, code_KxD)

  def __call__(
    self, source: Source, *, dropout: jax.Array | None = None, passes: int = 1
  ) -> Codes:
    """Codes of every sample, in order.

    Args:
      source: N samples.
      dropout: a PRNG key; without it there is no dropout.
      passes: how often each sample is encoded, with other dropout; the result
        holds passes * N samples, pass after pass.
    """
    results: list[list[Codes]] = [[] for _ in range(passes)]
    first = 0
    for batch, valid in pipeline.in_order(source, self._batch_size):
      inputs = {part: batch[part] for part in ("features", "lengths")}
      labels = {n: rows[:valid] for n, rows in batch["labels"].items()}
      for i, result in enumerate(results):
        keys_B = None
        if dropout is not None:
          row_B = first + jnp.arange(self._batch_size)
          key = jax.random.fold_in(dropout, i)
          keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, row_B)
        found = jax.device_get(self._run(inputs, keys_B))
        idx, clip = jax.tree.map(operator.itemgetter(slice(valid)), found)
        result.append(Codes(idx, clip, labels))
      first += valid
    return join([codes for result in results for codes in result])


def join(parts: list[Codes]) -> Codes:
  """The samples of all parts, in order."""
  return Codes(*(_concatenate(part) for part in zip(*parts, strict=True)))


def _concatenate(parts):
  return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def write(path: pathlib.Path, codes: Codes) -> None:
  """Writes codes as one npz file: a whole one or none.

  Whoever keeps it names it by `LAYOUT`, among what the codes depend on.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  names = {f"idx/{m}": x for m, x in codes.idx.items()}
  names |= {f"clip/{m}": x for m, x in codes.clip.items()}
  names |= {f"label/{n}": x for n, x in codes.labels.items()}
  arrays.save_npz(path, names)


def read(path: pathlib.Path) -> Codes:
  """The inverse of `write`."""
  with np.load(path) as file:
    contents = dict(file)

  def below(prefix):
    return {
      name.removeprefix(prefix): x
      for name, x in contents.items()
      if name.startswith(prefix)
    }

  return Codes(below("idx/"), below("clip/"), below("label/"))
