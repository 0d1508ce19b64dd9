"""Rows of probes: modalities without labels, and differences by mask."""

import numpy as np
import pytest

from unirep.inference.codes import Codes
from unirep.runtime.errors import InputError
from unirep.tasks.probing import suite
from unirep.tasks.registry import TASKS
from unirep.tasks.rows import Setting


def setting(modalities, labels, keep=(3,)):
  codes = Codes(
    {m: np.zeros((4, 3), int) for m in ("audio", "text")}, {}, labels
  )
  return Setting(
    title="localization",
    code_KxD=np.ones((2, 3)),
    codes=lambda kind, split: codes,
    keep_M=[*keep],
    masks=lambda train: np.ones((len(keep), 3), bool),
    sources=modalities,
    targets=modalities,
    protocol="heldout",
    seed=0,
    seeds=1,
    options={"batch_size": 2},
  )


def test_modalities_without_labels_of_segments_are_left_out(monkeypatch):
  measured = []

  def measure(problem, *_, sources, targets, **__):
    measured.append((sources, targets))
    return {}

  monkeypatch.setattr(suite, "measure", measure)
  labels = {"segments/audio": np.arange(12).reshape(4, 3) % 3}
  rows = TASKS["localization"].rows
  assert not [*rows(setting(("audio", "text"), labels))]
  assert measured == [(["audio"], ["audio"])]


def test_without_labels_of_segments_one_line_says_so():
  labels = {"segments/audio": np.arange(12).reshape(4, 3) % 3}
  with pytest.raises(InputError, match="segments/text"):
    [*TASKS["localization"].rows(setting(("text",), labels))]


def test_each_number_of_dimensions_is_compared_with_all_of_them(monkeypatch):
  """The last mask keeps all dimensions: TOC is off."""
  value_MxR = np.array([[0.2, 0.3], [0.7, 0.4], [0.6, 0.8]])

  def measure(problem, *_, **__):
    return {("audio", "audio"): {problem.task.primary: value_MxR}}

  monkeypatch.setattr(suite, "measure", measure)
  labels = {"segments/audio": np.arange(12).reshape(4, 3) % 3}
  given = setting(("audio",), labels, keep=(1, 2, 3))
  rows = [*TASKS["localization"].rows(given)]
  found = [row.difference["mean"] for row in rows]
  assert found == pytest.approx([-0.45, -0.15, 0])
  assert [row.keep for row in rows] == [1, 2, 3]
