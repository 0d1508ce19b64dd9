"""What a table of probes asks of which modality."""

import numpy as np
import pytest

from unirep.codes import Codes
from unirep.errors import InputError
from unirep.tasks.probing import suite
from unirep.tasks.registry import TASKS
from unirep.tasks.rows import Setting


def setting(modalities, labels):
  codes = Codes(
    {m: np.zeros((4, 3), int) for m in ("audio", "text")}, {}, labels
  )
  return Setting(
    title="localization",
    code_KxD=np.ones((2, 3)),
    codes=lambda kind, split: codes,
    keep_M=[3],
    masks=lambda train: np.ones((1, 3), bool),
    sources=modalities,
    targets=modalities,
    protocol="heldout",
    seed=0,
    seeds=1,
    options={"batch_size": 2},
  )


def test_what_has_no_segments_is_not_asked_for_them(monkeypatch):
  asked = []

  def measure(problem, *_, sources, targets, **__):
    asked.append((sources, targets))
    return {}

  monkeypatch.setattr(suite, "measure", measure)
  labels = {"segments/audio": np.arange(12).reshape(4, 3) % 3}
  rows = TASKS["localization"].rows
  assert not [*rows(setting(("audio", "text"), labels))]
  assert asked == [(["audio"], ["audio"])]


def test_where_nothing_has_segments_one_line_says_so():
  labels = {"segments/audio": np.arange(12).reshape(4, 3) % 3}
  with pytest.raises(InputError, match="segments/text"):
    [*TASKS["localization"].rows(setting(("text",), labels))]
