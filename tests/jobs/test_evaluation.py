"""What a summary says of a model's codes, and how it is shown."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from unirep.inference.codes import Codes
from unirep.jobs import evaluation
from unirep.reports import charts, pictures, tables

C, N, T, D = 4, 160, 6, 8
K = 2 * C + 1  # the last is asleep


class World:
  """Codes of sources, which are seeds. Audio and video say the same.

  But for the background, where each has another code of the same class.
  """

  def __init__(self, relabel=lambda label: label, labels=True, foreign=False):
    self.relabel, self.labels, self.foreign = relabel, labels, foreign

  @property
  def codebook(self):
    code_KxD = np.random.default_rng(0).normal(size=(K, D)).astype(np.float32)
    code_KxD[-1] = 0
    return code_KxD

  def codes(self, seed):
    rng = np.random.default_rng(seed)
    label_N = rng.integers(0, C, N)
    segments_NxT = np.where(rng.random((N, T)) < 0.7, label_N[:, None], C)
    idx_NxT = (label_N[:, None] + C * rng.integers(0, 2, (N, T))).astype("i4")
    other = (idx_NxT + 1) % (2 * C) if self.foreign else idx_NxT
    seen = np.where(segments_NxT < C, other, (other + C) % (2 * C))
    labels = {
      "class": self.relabel(label_N).astype("i4"),
      "segments/audio": segments_NxT,
      "segments/video": segments_NxT,
    }
    return Codes(
      {"audio": idx_NxT, "video": seen},
      {"audio": idx_NxT[:, 0], "video": other[:, 0]},
      labels if self.labels else {},
    )


def found(world):
  probe = {"steps": 150, "seeds": 1, "batch_size": 80, "learning_rate": 1e-2}
  options = evaluation.Options(seed=0, passes=1, samples=0, probe=probe)
  train, test, varied = (world.codes(seed) for seed in (1, 2, 1))
  codes = evaluation.Encoded(train, test, varied if world.labels else None)
  return evaluation.evaluate(options, world.codebook, codes)


@pytest.fixture(scope="module")
def shared():
  return found(World())


def test_a_summary_holds_what_is_shared(shared):
  results = shared.results
  assert json.loads(json.dumps(results, allow_nan=False)) == results
  for score in results["sharing"]["transfer"].values():
    assert score["accuracy"] > 0.9
    assert score["ceiling"] > 0.9
    assert score["chance"] < 0.4
  alike = results["sharing"]
  assert alike["clip"]["agreement"] == {"audio-video": 1}
  # The background, the last class of segments, is no event that both show.
  assert alike["step"]["agreement_same"] == {"audio-video": 1}
  assert alike["step"]["agreement"]["audio-video"] < 0.8
  assert alike["codes"]["used_by_all"] == 2 * C
  book = results["codebook"]
  assert (book["size"], book["awake"], book["usage"]) == (K, K - 1, K - 1)
  assert book["dead"] == 1
  for m, count_KxC in shared.by_class.items():
    assert count_KxC.shape == (K, C)
    np.testing.assert_array_equal(count_KxC.sum(1), shared.usage[m])


def test_codes_of_its_own_are_not_shared(shared):
  results = found(World(foreign=True)).results
  alike = results["sharing"]
  assert alike["clip"]["agreement"] == {"audio-video": 0}
  for score in alike["transfer"].values():
    assert score["ceiling"] > 0.6
    assert score["accuracy"] < 0.5
  assert alike != shared.results["sharing"]


def test_permuted_labels_transfer_at_chance():
  permute = np.random.default_rng(5).permutation
  results = found(World(relabel=permute)).results
  for transfer in (results["cross_modal"], results["sharing"]["transfer"]):
    assert set(transfer) == {"audio->video", "video->audio"}
    for score in transfer.values():
      assert abs(score["accuracy"] - 1 / C) < 0.12
      assert abs(score["ceiling"] - 1 / C) < 0.12
  assert results["sharing"]["clip"]["agreement"] == {"audio-video": 1}


def test_probes_are_fit_on_the_training_samples():
  """Labels permuted in one split alone are as bad as in both."""
  calls = []

  def relabel(label_N):
    calls.append(0)  # test samples are the second to be asked for
    mixed = np.random.default_rng(5).permutation(label_N)
    return label_N if len(calls) == 2 else mixed

  results = found(World(relabel=relabel)).results
  for transfer in (results["cross_modal"], results["sharing"]["transfer"]):
    for score in transfer.values():
      assert abs(score["accuracy"] - 1 / C) < 0.12


def text(summary):
  console = Console(width=80, record=True, file=io.StringIO())
  console.print(tables.summary(summary))
  return console.export_text()


def test_the_table_shows_both_transfers(shared):
  results = json.loads(json.dumps(shared.results))
  results["cross_modal"]["audio->video"] = {
    "accuracy": 0.123,
    "ceiling": 0.456,
    "chance": 0.199,
  }
  results["sharing"]["transfer"]["audio->video"] = {
    "accuracy": 0.777,
    "ceiling": 0.888,
    "chance": 0.199,
  }
  results["sharing"]["clip"]["agreement"]["audio-video"] = 0.654
  results["sharing"]["clip"]["agreement_chance"]["audio-video"] = 0.111
  shown = text(results)
  row = next(x for x in shown.splitlines() if "audio->video" in x)
  cells = [x.strip() for x in row.strip("│").split("│")]
  assert cells == ["audio->video", "77.7", "88.8", "12.3", "45.6", "19.9"]
  assert "65.4 (11.1)" in shown
  words = " ".join(shown.split())
  assert "8 of 9 codes awake; training samples use 8, with" in words
  assert "all modalities use 8 codes" in words
  assert "…" not in shown  # nothing is cut


def test_without_labels_retrieval_is_shown(tmp_path):
  bare = found(World(labels=False))
  assert bare.results["cross_modal"] == {}
  assert bare.results["sharing"]["transfer"] == {}
  assert bare.by_class == {}
  shown = text(bare.results)
  assert "Retrieval" in shown
  assert "Transfer" not in shown
  recall = bare.results["sharing"]["clip"]["recall"]["audio->video"]
  row = next(x for x in shown.splitlines() if "audio->video" in x)
  cells = [x.strip() for x in row.strip("│").split("│")]
  names = ("r@1", "chance@1", "r@5", "chance@5")
  assert cells[1:] == [f"{100 * recall[name]:.1f}" for name in names]
  path = tmp_path / "report.png"
  pictures.picture(path, [], bare.usage, bare.by_class)
  assert path.stat().st_size > 5000


def test_the_picture_has_what_was_logged(shared, tmp_path, monkeypatch):
  drawn = []
  curves = charts.curves

  def keep(axis, steps, values):
    drawn.append((steps, values))
    curves(axis, steps, values)

  monkeypatch.setattr(charts, "curves", keep)
  lines = [
    {
      "step": i,
      "loss": 3.0,
      "cmcm/a-b": 1.0,
      "cmcm/a-c": 0.5,
      "cmcm_other": 9.0,
      "agreement/clip/audio-video": 0.1 * i,
      "agreement/step/audio-video": 0.2 * i,
    }
    for i in (1, 2)
  ]
  path = tmp_path / "report.png"
  pictures.picture(path, lines, shared.usage, shared.by_class)
  assert drawn[0] == ([1, 2], {"loss": [3, 3], "cmcm": [1.5, 1.5]})
  assert drawn[1:] == [
    ([1, 2], {"audio-video": pytest.approx([10, 20])}),
    ([1, 2], {"audio-video": pytest.approx([20, 40])}),
  ]
  assert path.stat().st_size > 20_000
  assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
