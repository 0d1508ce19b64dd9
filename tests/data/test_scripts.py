"""Sources of the user's own, as docs/data.md shows them."""

import pathlib
import pickle
import re
import sys

import numpy as np
import oneline
import pytest

from unirep.configs import evaluate, pretrain
from unirep.data import pipeline, scripts, sources
from unirep.jobs import preparation as job
from unirep.runtime.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE = re.findall(
  r"```python\n(.*?)```", (ROOT / "docs/data.md").read_text(), re.DOTALL
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Where modules of that name come from this test alone."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(sys, "path", [*sys.path])
  yield tmp_path
  for path in tmp_path.glob("*.py"):
    sys.modules.pop(path.stem, None)


def test_the_page_trains(folder):
  (folder / "mine.py").write_text(CODE[1])
  config = pretrain.get_config("size=tiny,data=arrays")
  config.data.path = "mine.py:source"
  prepared = job.prepare(config)
  assert (len(prepared.train), len(prepared.test)) == (58, 6)
  batch = next(prepared.batches)
  assert batch["features"]["video"].shape == (8, 10, 5, 5, 3)
  later = evaluate.get_config("data=arrays").data
  later.update(dict.fromkeys(("train", "validation", "test"), "mine.py"))
  sources.check(later, ["clips"])
  assert len(sources.source(later, "clips", "test")) == 64
  with pytest.raises(InputError, match=r"data\.test: other\.py does not exist"):
    sources.check({**later, "test": "other.py:source"}, ["clips"])


def test_workers_import_it_too(folder):
  (folder / "waves_of_workers.py").write_text(CODE[1])
  source = scripts.source("waves_of_workers.py")
  assert len(pickle.dumps(source)) < 1000
  streams = [
    pipeline.batches(source, batch_size=4, seed=0, num_workers=n)
    for n in (0, 1)
  ]
  a, b = map(next, streams)
  np.testing.assert_array_equal(a["features"]["text"], b["features"]["text"])
  for stream in streams:
    stream.close()


def test_rows_written_piece_by_piece(folder):
  exec(CODE[0].replace("1000", "20"), {})
  assert np.load("video.npy")[17].min() == 0.5


@pytest.mark.parametrize(
  ("code", "path", "words"),
  [
    (None, "gone.py", "no such file"),
    ("def source(:", "bad1.py", "cannot import"),
    ("import not_there_at_all", "bad2.py", "not_there_at_all"),
    ("", "bad3.py:make", r"no function make\(\)"),
    ("make = 3", "bad4.py:make", r"no function make\(\)"),
    ("def source(): return 3", "bad5.py", "returned int"),
    ("def source(): return []", "bad6.py", "empty"),
    ("def source(): return [{'a': 1}]", "bad7.py", r"bad7\.py\[0\]"),
    ("def source(): return []", "json.py", "another module is named 'json'"),
  ],
)
def test_bad_files_are_named(code, path, words, folder):
  if code is not None:
    (folder / path.split(":")[0]).write_text(code)
  kept = dict(sys.modules)
  try:
    with pytest.raises(InputError, match=words) as error:
      scripts.source(path)
  finally:
    sys.modules.update(kept)
  oneline.check(error.value)
