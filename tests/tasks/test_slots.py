"""Slots: each label is a problem of its own."""

import numpy as np
import pytest

from unirep.inference.codes import Codes
from unirep.runtime.errors import InputError
from unirep.tasks import classification


def codes(**labels):
  return Codes(
    {"a": np.zeros((4, 2), int)},
    {},
    {name.replace("__", "/"): np.array(x) for name, x in labels.items()},
  )


def test_each_slot_is_a_problem_with_its_classes_and_chance():
  made = codes(slot__verb=[0, 1, 1, 1], slot__noun=[3, 2, 0, 0], clip=[9] * 4)
  found = classification.slots(made, made, made)
  assert found.keys() == {"_verb", "_noun"}
  assert found["_verb"].task.outputs == 2
  assert found["_noun"].task.outputs == 4
  assert found["_verb"].chance == {"a": 0.75}
  assert found["_noun"].chance == {"a": 0.5}
  for name in ("verb", "noun"):
    problem = found[f"_{name}"]
    np.testing.assert_array_equal(
      problem.label(problem.test, "a"), made.labels[f"slot/{name}"]
    )


def test_without_slots_one_line_says_so():
  made = codes(clip=[0, 1, 2, 3])
  with pytest.raises(InputError, match="no label slot/NAME"):
    classification.slots(made, made, made)
