"""What is done with a trained model: the door, TOC, tasks, codes of files."""

import io
import itertools
import json
import pickle
import types

import numpy as np
import pytest
from rich.console import Console
from test_configs import Watched, leaves

import unirep
from unirep.configs import evaluate, toc, tokenize
from unirep.configuration import build
from unirep.data import formats
from unirep.data.procedural.synthetic import SyntheticEvents
from unirep.inference import codes as coded
from unirep.inference.tokenizer import Tokenizer
from unirep.jobs import dispatch, encoding, masks
from unirep.jobs import evaluate as evaluate_job
from unirep.jobs import tokenize as tokenize_job
from unirep.reports import tables
from unirep.runtime.errors import InputError
from unirep.tasks import sharing

SAMPLES = 5
KEEP = (4, 8, 16)


@pytest.fixture(scope="module")
def model(trained):
  return unirep.load(trained)


@pytest.fixture(scope="module")
def features():
  source = SyntheticEvents(size=SAMPLES)
  samples = [source[i]["features"] for i in range(SAMPLES)]
  return {m: np.stack([s[m] for s in samples]) for m in samples[0]}


def evaluation(trained, **changes):
  protocol = changes.pop("protocol", "heldout")
  source = changes.pop("source", "synthetic")
  arg = f"size=tiny,data={source},protocol={protocol}"
  config = evaluate.get_config(arg)
  config.checkpoint = str(trained)
  config.toc.keep = KEEP
  config.update(changes)
  return config


def test_the_door_gives_the_codes_of_the_model(model, trained, features):
  codes = model.encode(**features)
  assert model.modalities == ("video", "audio", "text")
  assert {m: c.shape for m, c in codes.items()} == {
    "video": (SAMPLES, 10),
    "audio": (SAMPLES, 10),
    "text": (SAMPLES, 1),
  }
  again = unirep.load(trained / "checkpoints" / "2").encode(**features)
  whole = model.codes(SyntheticEvents(size=SAMPLES))
  for m in codes:
    assert codes[m].dtype == np.int32
    assert 0 <= codes[m].min() <= codes[m].max() < 16
    np.testing.assert_array_equal(codes[m], again[m])
  np.testing.assert_array_equal(codes["audio"], whole.idx["audio"])
  np.testing.assert_array_equal(codes["video"], whole.idx["video"])


def test_any_number_of_samples_of_any_length(model, features):
  audio = features["audio"]
  many = np.tile(audio, (14, 1, 1))  # more than one chunk, and no multiple
  codes = model.encode(audio=many)["audio"]
  np.testing.assert_array_equal(codes, np.tile(codes[:SAMPLES], (14, 1)))
  ragged = model.encode(audio=[audio[0], audio[1, :3], audio[2, :1]])["audio"]
  assert [len(c) for c in ragged] == [10, 3, 1]
  np.testing.assert_array_equal(ragged[0], codes[0])
  alone = model.encode(audio=audio[1:2, :3])["audio"][0]
  np.testing.assert_array_equal(ragged[1], alone)
  padded = model.encode(lengths={"audio": [10, 3, 1, 10, 10]}, audio=audio)[
    "audio"
  ]
  np.testing.assert_array_equal(padded[1, :3], alone)
  assert (padded[1, 3:] == -1).all()


def test_a_clip_has_one_code(model, features):
  codes = model.encode_clips(**features)
  whole = model.codes(SyntheticEvents(size=SAMPLES))
  text = model.encode(text=features["text"])["text"]
  for m in model.modalities:
    assert (codes[m].shape, codes[m].dtype) == ((SAMPLES,), np.int32)
  for m in ("audio", "video"):
    np.testing.assert_array_equal(codes[m], whole.clip[m])
  np.testing.assert_array_equal(codes["text"], text[:, 0])
  audio = features["audio"]
  ragged = model.encode_clips(audio=[audio[0], audio[1, :3]])["audio"]
  alone = model.encode_clips(audio=audio[1:2, :3])["audio"]
  np.testing.assert_array_equal(ragged, [codes["audio"][0], alone[0]])
  length = {"audio": [10, 3, 10, 10, 10]}
  padded = model.encode_clips(lengths=length, audio=audio)["audio"]
  np.testing.assert_array_equal(padded[:2], ragged)
  with pytest.raises(InputError, match="smell"):
    model.encode_clips(smell=audio)


def test_few_programs_serve_all_shapes(model, features):
  """None is compiled for a bucket that has been seen."""
  audio = np.tile(features["audio"], (30, 4, 1))
  for samples, time in itertools.product((1, 8, 64), (10, 32)):
    model.encode(audio=audio[:samples, :time])
  programs = model.programs.encode._cache_size()
  for samples in (1, 2, 7, 8, 9, 63, 64, 65, 130):
    for time in (10, 17, 31, 32):
      codes = model.encode(audio=audio[:samples, :time])["audio"]
      assert codes.shape == (samples, time)
      model.encode(audio=list(audio[:samples, :time]))
      lengths = {"audio": [3] * samples}
      model.encode(lengths=lengths, audio=audio[:samples, :time])
  assert model.programs.encode._cache_size() == programs


def test_a_bucket_changes_no_code(model, features):
  audio = np.tile(features["audio"], (2, 3, 1))  # 30 steps: padded to 32
  codes = model.encode(audio=audio)["audio"]
  for i in range(3):
    alone = model.encode(audio=audio[i : i + 1])["audio"]
    np.testing.assert_array_equal(codes[i : i + 1], alone)
  direct = model.network.encode(
    model.params, model.codebook, {"audio": audio[:3]}
  )
  np.testing.assert_array_equal(codes[:3], direct["audio"])


def test_features_come_by_name_or_as_a_mapping(model, features):
  codes = model.encode(**features)
  for same in (
    model.encode(features),
    model.encode({"audio": features["audio"]}, **_without(features, "audio")),
  ):
    for m in codes:
      np.testing.assert_array_equal(codes[m], same[m])
  one = model.encode(audio=features["audio"][:, 0])["audio"]  # as in training
  step = model.encode(audio=features["audio"][:, :1])["audio"]
  np.testing.assert_array_equal(one, step)


def _without(features, name):
  return {m: x for m, x in features.items() if m != name}


def test_a_model_travels(model, features):
  copy = pickle.loads(pickle.dumps(model))
  codes = model.encode(features)
  for m, idx in copy.encode(features).items():
    np.testing.assert_array_equal(idx, codes[m])


def test_only_codes_that_are_awake_are_chosen(model, features):
  assert 1 < model.awake.sum() < 16
  np.testing.assert_array_equal(model.awake, model.codebook.any(1))
  for codes in model.encode(**features).values():
    assert model.awake[codes].all()


def test_vectors_are_the_kept_part_of_the_codes(model, features):
  codes = model.encode(audio=features["audio"])["audio"]
  mask = np.arange(16) % 3 == 0
  for keep in (mask, np.flatnonzero(mask)):
    vectors = model.embed(audio=features["audio"], keep=keep)["audio"]
    np.testing.assert_array_equal(vectors, model.codebook[codes][..., mask])
  padded = model.embed(
    lengths={"audio": [1] * SAMPLES}, audio=features["audio"]
  )
  assert (padded["audio"][:, 1:] == 0).all()
  assert padded["audio"][:, 0].any()


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda f: {"smell": f["audio"]}, ["smell", "video, audio, text"]),
    (lambda f: {}, ["no features"]),
    (lambda f: {"audio": f["video"]}, ["audio", "(B, T, 32)"]),
    (lambda f: {"audio": f["audio"][..., :5]}, ["(5, 10, 5)"]),
    (lambda f: {"audio": f["audio"] * np.nan}, ["audio", "NaN"]),
    (lambda f: {"audio": f["audio"][:0]}, ["(0, 10, 32)"]),
    (lambda f: {"audio": []}, ["empty"]),
    (lambda f: {"audio": np.array([["x"]])}, ["numbers"]),
    (
      lambda f: {"audio": f["audio"], "lengths": {"audio": [11] * 5}},
      ["1..10"],
    ),
    (lambda f: {"audio": f["audio"], "lengths": {"text": [1] * 5}}, ["text"]),
  ],
)
def test_what_does_not_fit_is_said(model, features, change, words):
  with pytest.raises(InputError) as error:
    model.encode(**change(features))
  assert all(word in str(error.value) for word in words), error.value


def test_there_must_be_a_checkpoint(tmp_path):
  with pytest.raises(InputError, match="no checkpoint"):
    unirep.load(tmp_path)


def test_files_become_files_and_only_once(trained, features, tmp_path, model):
  folder = tmp_path / "features"
  folder.mkdir()
  for name in ("a", "b"):
    np.savez(
      folder / f"{name}.npz",
      audio=features["audio"],
      **{
        "length/audio": np.full(SAMPLES, 4),
        "label/class": np.arange(SAMPLES),
      },
    )
  config = tokenize.get_config()
  config.checkpoint, config.features = str(trained), str(folder)
  workdir, quiet = tmp_path / "out", Console(quiet=True)
  assert dispatch.run(config, workdir, quiet)["new"] == 2
  target = workdir / "codes" / "a.npz"
  with np.load(target) as file:
    np.testing.assert_array_equal(
      file["audio"],
      model.encode(lengths={"audio": [4] * SAMPLES}, audio=features["audio"])[
        "audio"
      ],
    )
    np.testing.assert_array_equal(file["label/class"], np.arange(SAMPLES))
  target.unlink()
  assert dispatch.run(config, workdir, quiet) == {
    "files": 2,
    "new": 1,
    "samples": SAMPLES,
  }
  np.savez(folder / "a.npz", audio=features["audio"][..., :3])
  with pytest.raises(InputError, match=r"a\.npz.*\(B, T, 32\)"):
    dispatch.run(config, tmp_path / "other", quiet)
  assert not (tmp_path / "other").exists()


def test_codes_of_columns_are_those_of_arrays(
  trained, features, tmp_path, model, monkeypatch
):
  """Rows that are read as they are encoded, in chunks with a short last one."""
  size = 131
  rng = np.random.default_rng(0)
  x = rng.normal(size=(size, *features["audio"].shape[1:])).astype(np.float16)
  lacks = rng.random(size) < 0.3
  x[lacks] = np.nan
  length = rng.integers(1, x.shape[1] + 1, size)
  folder = tmp_path / "folder"
  (folder / "length").mkdir(parents=True)
  text = rng.normal(size=(size, *features["text"].shape[1:])).astype("f4")
  np.save(folder / "text.npy", text)  # nobody lacks everything
  np.save(folder / "audio.npy", x)
  np.save(folder / "length" / "audio.npy", length)
  lengths = {"length/audio": length}
  np.savez(tmp_path / "file.npz", audio=x, text=text, **lengths)
  wanted = model.encode(
    {"audio": np.where(lacks[:, None, None], 0, x), "text": text},
    {"audio": np.where(lacks, 1, length)},
  )
  wanted["audio"][lacks] = -1
  monkeypatch.setattr(encoding, "CHUNK", 64)
  asked = []
  codes = Tokenizer.codes

  def counted(self, source, **options):
    asked.append(len(source))
    return codes(self, source, **options)

  monkeypatch.setattr(Tokenizer, "codes", counted)
  config = tokenize.get_config()
  config.checkpoint, config.missing = str(trained), True
  for checked in (2**28, 0):  # looked at beforehand, or only when they are read
    monkeypatch.setattr(formats, "CHECKED", checked)
    for name, made in (("file.npz", "file.npz"), ("folder", "folder.npz")):
      config.features = str(tmp_path / name)
      workdir = tmp_path / f"out-{name}-{checked}"
      dispatch.run(config, workdir, Console(quiet=True))
      with np.load(workdir / "codes" / made) as file:
        for m, idx in wanted.items():
          np.testing.assert_array_equal(file[m], idx)
  assert asked == [64, 64, 3] * 4
  monkeypatch.setattr(tokenize_job, "SHARD", 100)
  dispatch.run(config, tmp_path / "shards", Console(quiet=True))
  parts = sorted((tmp_path / "shards" / "codes").rglob("*"))
  assert [x.name for x in parts] == ["folder", "00000.npz", "00001.npz"]
  files = [np.load(x) for x in parts[1:]]
  for m, idx in wanted.items():
    found = np.concatenate([file[m] for file in files])
    np.testing.assert_array_equal(found, idx)


def test_toc_of_a_foreign_codebook(tmp_path):
  code = np.random.default_rng(0).random((12, 8))
  np.save(tmp_path / "book.npy", code)
  config = toc.get_config()
  config.codebook = str(tmp_path / "book.npy")
  config.keep = (2, 4)
  results = dispatch.run(config, tmp_path / "out", Console(quiet=True))
  with np.load(tmp_path / "out" / "toc.npz") as file:
    assert file["mask_SxD"].sum(1).tolist() == [2, 4]
    best = np.argsort(-file["importance_D"], kind="stable")
    np.testing.assert_array_equal(file["rank_D"], best)
    assert file["mask_SxD"][0, best[:2]].all()
  assert results["rank"] == best.tolist()
  assert (tmp_path / "out" / "toc.png").stat().st_size > 5000


def test_toc_leaves_out_codes_that_are_asleep(tmp_path):
  """Rows of zeros, in a file or in a checkpoint, change nothing but a line."""
  rng = np.random.default_rng(0)
  code = rng.random((12, 8)) + rng.integers(0, 9, 8)
  code[:, 5] = 0
  sleepy = np.insert(code, [0, 0, 7, 12], 0, axis=0)
  results, lines = [], []
  for name, book in (("awake", code), ("sleepy", sleepy)):
    np.save(tmp_path / f"{name}.npy", book)
    config = toc.get_config()
    config.codebook, config.keep = str(tmp_path / f"{name}.npy"), (2, 4)
    config.spare_dead = True
    console = Console(record=True, quiet=False, file=io.StringIO(), width=200)
    results.append(dispatch.run(config, tmp_path / name, console))
    lines.append(console.export_text())
  assert [x.pop("codes") for x in results] == [12, 16]
  assert [x.pop("asleep") for x in results] == [0, 4]
  assert results[0] == results[1]
  assert "16 codes (4 asleep) of 8 dimensions (1 dead)" in lines[1]
  with (
    np.load(tmp_path / "awake" / "toc.npz") as one,
    np.load(tmp_path / "sleepy" / "toc.npz") as other,
  ):
    np.testing.assert_allclose(
      one["importance_D"], other["importance_D"], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(one["mask_SxD"], other["mask_SxD"])


def test_masks_leave_out_codes_that_are_asleep():
  code = np.random.default_rng(1).random((9, 8)) + np.arange(8)
  sleepy = np.insert(code, [0, 3, 9], 0, axis=0)
  train = coded.Codes({"audio": np.array([[0, 2, -1]])}, {}, {})
  options = masks.Options(0.7, 0.3, (1, 0), centered=False, spare_dead=False)

  def swept(code_KxD, codes, live):
    model = types.SimpleNamespace(codebook=code_KxD, awake=code_KxD.any(1))
    job = types.SimpleNamespace(
      tokenizer=model, live_codes=live, keep_M=[2, 4, 8], toc=options
    )
    return evaluate_job.swept(job, codes)

  for live in (False, True):
    moved = {"audio": np.array([[1, 3, -1]])}  # the places of codes 0 and 2 now
    np.testing.assert_array_equal(
      swept(code, train, live),
      swept(sleepy, train._replace(idx=moved), live),
    )


@pytest.mark.parametrize(
  ("array", "changes", "words"),
  [
    (np.zeros(3), {}, ["(K, D)"]),
    (np.full((3, 3), np.nan), {}, ["NaN"]),
    (np.array([["a", "b"]] * 2), {}, ["real numbers"]),
    (np.ones((3, 3)), {}, ["equal"]),
    (np.eye(3), {"keep": (4,)}, ["1 to 3", "4"]),
    (np.eye(4), {"keep": (3,), "top_share": (1, 1)}, ["multiple", "3"]),
    (np.eye(4), {"top_share": (0, 0)}, ["top_share"]),
    (None, {}, ["does not exist"]),
  ],
)
def test_no_codebook(tmp_path, array, changes, words):
  path = tmp_path / "book.npy"
  if array is not None:
    np.save(path, array)
  config = toc.get_config()
  config.codebook = str(path)
  config.update(changes)
  with pytest.raises(InputError) as error:
    dispatch.run(config, tmp_path / "out", Console(quiet=True))
  assert all(word in str(error.value) for word in ["book.npy", *words])
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  "protocol", ["heldout", pytest.param("released", marks=pytest.mark.slow)]
)
def test_tasks_end_in_intervals_and_a_verdict(trained, tmp_path, protocol):
  workdir = tmp_path / "out"
  config = evaluation(trained, protocol=protocol)
  results = dispatch.run(config, workdir, Console(quiet=True))
  assert results == json.loads((workdir / "results.json").read_text())
  tasks = tables.by_task(results["rows"])
  assert set(tasks) == {"classification", "localization"}
  for table in tasks.values():
    assert set(table) == {
      f"{s}->{t}" for s in ("video", "audio") for t in ("video", "audio")
    }
    for pair, rows in table.items():
      assert [row["keep"] for row in rows] == [4, 8, 16]
      target = pair.split("->")[1]
      own = table[f"{target}->{target}"]
      for row, ceiling in zip(rows, own, strict=True):
        assert 0 <= row["value"] <= 1
        assert row["ceiling"] == ceiling["value"]
        assert row["seeds"] == 2
      same = rows[-1]["difference"]
      assert (same["mean"], same["verdict"]) == (0, "unclear")
  text = (workdir / "results.md").read_text()
  assert f"Protocol: {protocol}." in text
  assert "16 (off)" in text
  assert "regret" in text
  assert ("tested on the training sequences" in text) == (protocol != "heldout")
  assert (workdir / "results.png").stat().st_size > 10_000
  assert (workdir / "results.pdf").read_bytes().startswith(b"%PDF")
  codes = list((workdir / "codes").iterdir())
  assert len(codes) == 4  # train, validation and test, and train as it is
  train, test = (
    coded.read(next(x for x in codes if x.name.startswith(name)))
    for name in ("clips-seen", "clips-test")
  )
  same = sharing.same_event(test.labels, 10)
  assert results["sharing"] == sharing.measure(train, test, 16, same=same)
  assert "audio->video by index" in text
  for pair, share in results["sharing"]["clip"]["agreement"].items():
    assert f"| {pair} | {100 * share:.1f} (" in text


def test_codes_are_made_once(trained, tmp_path, monkeypatch):
  config = evaluation(trained, tasks=("classification",))
  first = dispatch.run(config, tmp_path, Console(quiet=True))

  def never(*_, **__):
    raise AssertionError("encoded again")

  monkeypatch.setattr(Tokenizer, "codes", never)
  again = dispatch.run(config, tmp_path, Console(quiet=True))
  assert again["rows"] == first["rows"]


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    ({"checkpoint": ""}, ["checkpoint is empty"]),
    ({"checkpoint": "nowhere"}, ["nowhere", "no checkpoint"]),
    ({"tasks": ("guessing",)}, ["guessing"]),
    ({"tasks": ()}, ["empty"]),
    ({"tested_on": ("smell",)}, ["smell", "video, audio, text"]),
    ({"protocol": "best"}, ["best", "heldout"]),
    ({"seeds": 0}, ["seeds=0"]),
    ({"toc": {"keep": (17,)}}, ["17", "1 to 16"]),
    ({"toc": {"keep": (5,), "top_share": (1, 1)}}, ["5", "multiple"]),
    ({"probe": {"steps": 5}}, ["steps=5", "evaluations=2"]),
    (
      {"tasks": ("cross_classification",)},
      ["cross_classification", "second data set"],
    ),
  ],
)
def test_bad_evaluations_are_refused(trained, tmp_path, changes, words):
  config = evaluation(trained)
  config.update(changes)
  with pytest.raises(InputError) as error:
    dispatch.run(config, tmp_path / "out", Console(quiet=True))
  assert all(word in str(error.value) for word in words), error.value


@pytest.mark.slow
def test_classes_that_differ_are_measured_twice(trained, tmp_path):
  for name, classes in (
    ("train", 4),
    ("validation", 4),
    ("test", 4),
    ("other", 3),
  ):
    rows = [SyntheticEvents(size=12)[i] for i in range(12)]
    np.savez(
      tmp_path / f"{name}.npz",
      **{
        m: np.stack([x["features"][m] for x in rows])
        for m in ("audio", "video")
      },
      **{"label/class": np.arange(12) % classes},
    )
  config = evaluation(trained, source="arrays", tasks=("cross_classification",))
  for name in ("train", "validation", "test", "other"):
    config.data[name] = str(tmp_path / f"{name}.npz")
  config.probe.batch_size = 4
  results = dispatch.run(config, tmp_path / "out", Console(quiet=True))
  tasks = tables.by_task(results["rows"])
  assert list(tasks) == ["cross_classification", "cross_classification_shared"]
  for row in tasks["cross_classification_shared"]["audio->video"]:
    assert "3 classes" in row["note"]


def test_your_own_arrays(trained, tmp_path):
  for name, seed in (("train", 0), ("validation", 1), ("test", 2)):
    rows = [SyntheticEvents(size=12, seed=seed)[i] for i in range(12)]
    np.savez(
      tmp_path / f"{name}.npz",
      **{
        m: np.stack([x["features"][m] for x in rows])
        for m in ("audio", "video")
      },
      **{"label/class": np.arange(12) % 3},
    )
  config = evaluation(trained, source="arrays")
  with pytest.raises(InputError, match=r"data\.train: is empty"):
    dispatch.run(config, tmp_path / "out", Console(quiet=True))
  for name in ("train", "validation", "test"):
    config.data[name] = str(tmp_path / f"{name}.npz")
  config.probe.batch_size = 4
  results = dispatch.run(config, tmp_path / "out", Console(quiet=True))
  assert tables.by_task(results["rows"])["classification"]["audio->video"]
  config.tasks = ("localization",)
  with pytest.raises(InputError, match="segments/"):
    dispatch.run(config, tmp_path / "other", Console(quiet=True))


def test_unknown_jobs_are_refused(tmp_path):
  config = toc.get_config()
  config.job = "dance"
  with pytest.raises(InputError, match="dance"):
    dispatch.run(config, tmp_path)


def test_no_key_unread(trained, features, tmp_path, monkeypatch):
  np.savez(tmp_path / "mine.npz", audio=features["audio"])
  tokens = tokenize.get_config()
  tokens.checkpoint, tokens.features = str(trained), str(tmp_path / "mine.npz")
  ranking = toc.get_config()
  ranking.codebook = str(trained)
  ranking.keep = (4,)
  tasks = evaluation(trained, tasks=("classification",))
  for i, config in enumerate((tokens, ranking, tasks)):
    settings, watched = build.as_json(config), Watched(config)
    monkeypatch.setattr(build, "as_json", lambda _, known=settings: known)
    watched.seen.clear()
    dispatch.run(watched, tmp_path / f"run{i}", Console(quiet=True))
    monkeypatch.undo()
    assert not set(leaves(config)) - watched.seen


@pytest.mark.parametrize("module", [toc, tokenize, evaluate])
def test_unknown_variants(module):
  with pytest.raises(ValueError, match="unknown variant"):
    module.get_config("size=huge")


def test_an_evaluation_follows_its_checkpoint():
  options = masks.Options(0.7, 0.3, (1, 0), centered=False, spare_dead=False)
  sizes = [64, 128, 144, 168, 196, 224]
  for dims, keep in ((256, sizes), (150, sizes[:3]), (16, [])):
    assert masks.sizes((), dims, options) == [*keep, dims]
  for fine, names in (("a", "b"), ("a", "b")), ((), ("a", "b", "c")):
    model = types.SimpleNamespace(
      settings={"fine": fine}, modalities=("a", "b", "c")
    )
    assert evaluate_job._modalities((), model) == names
    assert evaluate_job._modalities(("c",), model) == ("c",)
