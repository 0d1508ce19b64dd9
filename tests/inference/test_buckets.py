"""Shapes that a frozen model is compiled for."""

import numpy as np
import pytest

from unirep.inference import inputs, programs


@pytest.mark.parametrize(
  ("samples", "rows"), [(1, 1), (2, 8), (8, 8), (9, 64), (64, 64), (65, 64)]
)
def test_rows_of_a_call(samples, rows):
  assert programs.bucket_rows(samples) == rows


@pytest.mark.parametrize(
  ("steps", "time"), [(1, 1), (10, 10), (16, 16), (17, 32), (32, 32), (33, 64)]
)
def test_time_steps_of_a_call(steps, time):
  assert programs.bucket_steps(steps) == time


def test_what_is_missing_is_filled():
  x = np.arange(1.0, 13).reshape(2, 3, 2)
  full = programs.fill(x, 4, 5)
  assert full.shape == (4, 5, 2)
  np.testing.assert_array_equal(full[:2, :3], x)
  np.testing.assert_array_equal(full[2:, :3], [x[1], x[1]])
  assert not full[:, 3:].any()
  assert programs.fill(x, 2, 3) is x


def test_samples_of_any_length_become_one_array():
  x, length_B = inputs.stack([np.ones((2, 4)), np.ones((5, 4))])
  assert length_B.tolist() == [2, 5]
  np.testing.assert_array_equal(x.sum(2), [[4, 4, 0, 0, 0], [4] * 5])
