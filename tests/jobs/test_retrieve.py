"""Retrieval end to end: the job, and the two calls of a trained model."""

import json

import numpy as np
import pytest
from rich.console import Console
from test_configs import Watched, leaves

import unirep
from unirep.configs import retrieve
from unirep.data.procedural.synthetic import SyntheticEvents
from unirep.inference import similarity
from unirep.jobs import dispatch, results
from unirep.jobs import retrieve as job
from unirep.runtime.errors import InputError
from unirep.tasks import bags

QUIET = Console(quiet=True)
KEEP = (8, 16)


@pytest.fixture(scope="module")
def model(trained):
  return unirep.load(trained)


@pytest.fixture(scope="module")
def features():
  source = SyntheticEvents(split="test", size=20)
  samples = [source[i]["features"] for i in range(20)]
  return {m: np.stack([s[m] for s in samples]) for m in samples[0]}


def config_of(trained, arg="data=synthetic", **changes):
  config = retrieve.get_config(f"size=tiny,{arg}")
  config.checkpoint, config.toc.keep = str(trained), KEEP
  config.update(changes)
  return config


def test_states_are_the_codes_of_the_model(model, features):
  states = model.states(features, {"audio": [4] * 20})
  codes = model.encode(features, {"audio": [4] * 20})
  clips = model.encode_clips(features, {"audio": [4] * 20})
  vectors = model.embed(features, {"audio": [4] * 20})
  for m, found in states.items():
    np.testing.assert_array_equal(found.idx_NxT, codes[m])
    np.testing.assert_array_equal(found.clip_N, clips[m])
    assert found.general_NxTxD.shape == vectors[m].shape
    np.testing.assert_allclose(found.soft_NxK.sum(1), 1, rtol=1e-5)
    assert not found.soft_NxK[:, ~model.awake].any()
    assert found.steps == (m != "text")
  assert not states["audio"].general_NxTxD[:, 4:].any()
  short = model.states(audio=[x[:4] for x in features["audio"]])["audio"]
  np.testing.assert_allclose(
    short.general_NxTxD, states["audio"].general_NxTxD[:, :4], atol=1e-5
  )
  np.testing.assert_allclose(
    short.soft_NxK, states["audio"].soft_NxK, atol=1e-4
  )
  network = model.network
  general = network.general(model.params, {"text": features["text"]})["text"]
  text = states["text"]
  np.testing.assert_allclose(text.general_NxTxD, general, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(text.whole_NxD, general[:, 0], atol=1e-5)


def test_states_of_any_number_compile_nothing(model, features):
  for count in (1, 5, 20):
    model.states(audio=features["audio"][:count])
  programs = model.programs.states._cache_size()
  for count in (1, 2, 3, 7, 8, 9, 19):
    model.states(audio=features["audio"][:count])
  assert model.programs.states._cache_size() == programs


@pytest.mark.parametrize("name", similarity.REPRESENTATIONS)
def test_search_finds_what_similarity_orders(model, features, name):
  audio, video = ({m: features[m]} for m in ("audio", "video"))
  found = model.similarity(audio, video, representation=name)
  assert found.shape == (20, 20)
  score, idx = model.search(audio, video, 20, representation=name)
  np.testing.assert_allclose(
    score, np.take_along_axis(found, idx, 1), atol=1e-6
  )
  assert (np.diff(score, axis=1) <= 1e-12).all()
  again = model.search(model.states(audio)["audio"], video, 3, name)[1]
  np.testing.assert_array_equal(again, idx[:, :3])
  own = model.similarity(audio, audio, representation=name)
  np.testing.assert_allclose(np.diag(own), 1, atol=1e-5)


def test_dimensions_that_are_dropped_do_not_count(model, features):
  audio, text = ({m: features[m]} for m in ("audio", "text"))
  mask = np.arange(16) < 5
  found = model.similarity(audio, text, keep=mask)
  codes = model.encode_clips(features)
  unit = model.codebook[:, :5]
  unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-30)
  wanted = unit[codes["audio"]] @ unit[codes["text"]].T
  np.testing.assert_allclose(found, wanted, atol=1e-5)
  same = model.similarity(audio, text, keep=np.flatnonzero(mask))
  np.testing.assert_array_equal(found, same)


@pytest.mark.parametrize(
  ("call", "words"),
  [
    (lambda m, x: m.search(x, x, 21), "k=21 must lie in 1..20"),
    (lambda m, x: m.similarity(x, {"smell": 1}), "no modality 'smell'"),
    (lambda m, x: m.similarity(x, {}), "of one modality"),
    (lambda m, x: m.similarity(x, x["audio"]), "of one modality"),
    (lambda m, x: m.similarity(x, x, "nose"), "representation='nose' is not"),
    (lambda m, x: m.similarity(x, x, "bag", [1]), "keep: bag has no"),
    (lambda m, x: m.similarity(x, x, keep=[99]), "keep must hold"),
    (lambda m, x: m.search(x, {"audio": x["audio"][:0]}), "audio"),
  ],
)
def test_a_bad_call_is_one_line(model, features, call, words):
  with pytest.raises(InputError, match=words) as error:
    call(model, {"audio": features["audio"]})
  assert "\n" not in str(error.value)


def test_the_job_measures_every_direction(trained, model, tmp_path):
  watched = Watched(config_of(trained))
  watched.seen.clear()
  results = dispatch.run(watched, tmp_path / "out", QUIET)
  unread = {*leaves(watched)} - watched.seen
  assert not unread
  rows = json.loads((tmp_path / "out/results.json").read_text())["rows"]
  keys = {"source", "target", "representation", "keep", "metric", "value"}
  keys |= {"low", "high", "chance", "queries", "gallery", "checkpoint"}
  assert keys <= {*rows[0]}
  assert len({(row["source"], row["target"]) for row in rows}) == 6
  assert {row["keep"] for row in rows} == {None, *KEEP}
  assert len(rows) == len(results["rows"]) == 6 * (3 + 4 * 2) * 6
  codes = model.codes(
    job.sources.source(config_of(trained).data, "clips", "test")
  )
  for row in rows:
    assert row["queries"] == row["gallery"] == 8
    assert row["low"] - 1e-9 <= row["value"] <= row["high"] + 1e-9
    if (row["representation"], row["metric"]) == ("bag", "r@5"):
      pair = (codes.idx[row[key]] for key in ("source", "target"))
      wanted = bags.recall(*pair, len(model.codebook))["r@5"]
      assert row["value"] == pytest.approx(wanted, abs=1e-12)
  text = (tmp_path / "out/results.md").read_text()
  assert "## audio -> text (8 queries, gallery of 8)" in text
  assert "r@1 of vector by dimensions that TOC keeps: 8: " in text


def test_seeds_of_pretraining_are_rows(trained, tmp_path):
  other = trained / "checkpoints" / "2"
  config = config_of(
    trained, checkpoints=(str(other),), representations=("code",)
  )
  results = dispatch.run(config, tmp_path / "out", QUIET)
  single = [row for row in results["rows"] if row["checkpoint"]]
  means = [row for row in results["rows"] if not row["checkpoint"]]
  assert len(single) == 2 * len(means) == 2 * 6 * 6
  assert {row["checkpoint"] for row in single} == {str(trained), str(other)}
  for row, mean in zip(single, means, strict=False):
    assert mean["value"] == row["value"]  # it is the same model
    assert (mean["seeds"], mean["std"]) == (2, 0)


def arrays(tmp_path, features, **more):
  path = tmp_path / "mine.npz"
  np.savez(path, **{**features, **more})
  return path


def test_several_captions_a_photo(trained, features, tmp_path):
  """Whether the photo is repeated beside each caption, or missing there."""
  video = np.repeat(features["video"][:4], 5, 0)
  ids = np.repeat(np.arange(4), 5)
  lacking = np.where(
    (np.arange(20) % 5 == 0).reshape(-1, *[1] * 4), video, np.nan
  )
  found = {}
  for name, x in (("repeated", video), ("missing", lacking)):
    config = config_of(trained, "data=arrays,relevance=id")
    config.modalities = ("video", "text")
    config.at = (1, 4)
    config.data.missing = name == "missing"
    config.data.test = str(
      arrays(
        tmp_path, {"video": x, "text": features["text"]}, **{"label/id": ids}
      )
    )
    found[name] = dispatch.run(config, tmp_path / name, QUIET)["rows"]
  for one, other in zip(found["repeated"], found["missing"], strict=True):
    assert one["value"] == other["value"]
    sizes = (4, 20) if one["source"] == "video" else (20, 4)
    assert (one["queries"], one["gallery"]) == sizes


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"checkpoint": ""}, "checkpoint is empty"),
    ({"representations": ("nose",)}, "representations='nose' is not one of"),
    ({"representations": ()}, "representations must not be empty"),
    ({"modalities": ("audio", "smell")}, "has no modality 'smell', only"),
    ({"modalities": ("audio",)}, "two are needed"),
    ({"relevance": "id"}, "relevance=id: the data has no label/id"),
    ({"relevance": "taste"}, "relevance='taste' is not one of"),
    ({"split": "tset"}, "split='tset' is not one of"),
    ({"at": (0,)}, r"at\[0\]=0 must be"),
    ({"at": (1, 9)}, "at=9: 8 samples of 'audio' are all"),
    ({"resamples": 0}, "resamples=0 must be a whole number, at least 1"),
  ],
)
def test_what_can_not_be_retrieved_is_one_line(
  trained, tmp_path, changes, words
):
  with pytest.raises(InputError, match=words) as error:
    dispatch.run(config_of(trained, **changes), tmp_path / "out", QUIET)
  assert "\n" not in str(error.value)


def test_every_variant_loads():
  for data in retrieve.CHOICES["data"]:
    for relevance in retrieve.CHOICES["relevance"]:
      for size in retrieve.CHOICES["size"]:
        arg = f"data={data},relevance={relevance},size={size}"
        config = retrieve.get_config(arg)
        assert (config.data.source, config.relevance) == (data, relevance)
  config = retrieve.get_config("data=arrays")
  config.checkpoint = "somewhere"
  with pytest.raises(InputError, match=r"data\.test is empty"):
    job.check(config)


def test_a_photo_beside_each_of_its_captions_is_one_photo():
  label_N = np.array([4, 4, 4, 5, 4])
  keys = [b"a", b"b", b"a", b"a", b"b"]
  assert job._new(label_N, keys).tolist() == [True, True, False, True, False]


def test_rows_of_several_checkpoints_have_a_mean():
  def row(checkpoint, value, ceiling, metric="r@1"):
    pair = {"source": "audio", "target": "text", "keep": 4}
    given = {"representation": "index", "metric": metric, "seeds": 1}
    given |= {"checkpoint": checkpoint, "low": 0.0, "note": "of clips"}
    return {**pair, **given, "value": value, "ceiling": ceiling}

  rows = [
    row("a", 0.25, 0.5),
    row("a", 3.0, None, "median rank"),
    row("b", 0.5, 1.0),
    row("b", 5.0, 2.0, "median rank"),
  ]
  assert results.means(rows[:2], 1) == []
  first, rank = results.means(rows, 2)
  assert (first["value"], first["ceiling"]) == (0.375, 0.75)
  assert (rank["value"], rank["ceiling"]) == (4.0, None)
  assert {x["checkpoint"] for x in (first, rank)} == {None}
  assert {x["seeds"] for x in (first, rank)} == {2}
  assert first["std"] == pytest.approx(np.std([0.25, 0.5], ddof=1))
  assert first["low"] < 0.25  # of the mean of two, at 95 %
  assert first["note"] == "of clips"
