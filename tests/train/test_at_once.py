"""One checkpoint, many readers at once."""

import concurrent.futures
import multiprocessing

import numpy as np
import pytest

import unirep

pytestmark = pytest.mark.slow


def features(model, seed):
  """Random samples of two modalities, of some size and length."""
  draw = np.random.default_rng(seed)
  rows, steps = draw.integers(1, 9), draw.integers(1, 12)
  return {
    m: draw.normal(size=(rows, steps, model.network.width(model.params, m)))
    for m in ("audio", "text")
  }


def test_threads_get_what_one_gets(trained):
  model = unirep.load(trained)
  given = [features(model, seed) for seed in range(128)]
  wanted = [unirep.load(trained).encode(x) for x in given[:4]]
  wanted += [model.encode(x) for x in given[4:]]
  with concurrent.futures.ThreadPoolExecutor(32) as pool:
    for one, many in zip(wanted, pool.map(model.encode, given), strict=True):
      for m in one:
        np.testing.assert_array_equal(one[m], many[m])


def answer(path):
  """The result of reading a checkpoint in a process of its own."""
  model = unirep.load(path)
  return model.digest, model.encode(features(model, 7))


def test_processes_get_what_one_gets(trained):
  spawn = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(8, mp_context=spawn) as pool:
    digest, wanted = answer(trained)
    for other, found in pool.map(answer, [trained] * 8):
      assert other == digest
      for m in wanted:
        np.testing.assert_array_equal(found[m], wanted[m])
