"""From files of media to codes: extract, pretrain, evaluate, tokenize."""

import io
import json
import pathlib

import filming
import numpy as np
import pytest
import unlearned
from rich.console import Console
from test_configs import Watched, leaves
from test_main import refused, run

import unirep
from unirep.configs import evaluate, extract, pretrain, tokenize
from unirep.configuration import build
from unirep.data import sources
from unirep.extract import logmel
from unirep.inference import media
from unirep.jobs import dispatch, preparation
from unirep.runtime import atomic
from unirep.runtime.errors import InputError

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared/data/media"
QUIET = Console(quiet=True)
STEPS = 4


def extraction(folder, **changes):
  config = extract.get_config()
  config.media, config.steps, config.workers = str(folder), STEPS, 0
  for key, value in changes.items():
    config[key] = value  # mappings as wholes
  return config


@pytest.fixture(scope="module")
def films(tmp_path_factory):
  folder = tmp_path_factory.mktemp("films") / "in"
  filming.squares(folder, 8)
  return folder


@pytest.fixture(scope="module")
def extracted(films):
  workdir = films.parent / "features-of-films"
  dispatch.run(extraction(films), workdir, QUIET)
  return workdir


@pytest.fixture(scope="module")
def trained(extracted):
  """The work directory of two tiny steps."""
  workdir = extracted.parent / "run"
  config = pretrain.get_config("size=tiny,data=media")
  config.data.path = str(extracted)
  unlearned.run(config, workdir, QUIET)
  return workdir


@pytest.fixture(scope="module")
def model(trained):
  return unirep.load(trained)


def test_what_is_said(films, tmp_path):
  (tmp_path / "in").mkdir()
  (tmp_path / "in/a.mp4").write_bytes(b"x")
  filming.wav(tmp_path / "in/b.wav", filming.tone(440, 16000, 9.0))
  console = Console(file=io.StringIO(), width=200)
  found = dispatch.run(
    extraction(tmp_path / "in", shares={}), tmp_path / "out", console
  )
  said = console.file.getvalue()
  assert found == {"samples": {"train": 1}, "failed": 1, "new": 2}
  assert "1 train" in said
  assert "1 failed; " in said
  assert "1 are longer than 4 s" in said
  assert "no sample has video" in said
  everything = extraction(tmp_path / "in", whole=True, shares={})
  found = dispatch.run(everything, tmp_path / "whole", QUIET)
  assert found["samples"] == {"train": 3}


@pytest.mark.parametrize(
  ("key", "value", "match"),
  [
    ("media", "", "media is empty"),
    ("media", "/nowhere", "no such folder"),
    ("seconds", 0.0, "seconds=0.0"),
    ("seconds", float("nan"), "seconds=nan"),
    ("steps", 0, "steps=0"),
    ("words", -1, "words=-1"),
    ("dtype", "int8", "dtype='int8'"),
    ("workers", -1, "workers=-1"),
    ("timeout", 0.0, "timeout=0.0"),
    ("extractors", {}, "extractors is empty"),
    ("shares", {"test": 2.0}, "shares.test=2.0"),
  ],
)
def test_bad_settings_write_nothing(key, value, match, films, tmp_path):
  config = extraction(films)
  config[key] = value
  with pytest.raises(InputError, match=match):
    dispatch.run(config, tmp_path / "out", QUIET)
  assert not (tmp_path / "out").exists()


def test_results_do_not_lie_among_the_media(films):
  with pytest.raises(InputError, match="lies in media"):
    dispatch.run(extraction(films), films / "red" / "out", QUIET)
  assert not (films / "red" / "out").exists()


def test_no_key_unread(films, trained, tmp_path, monkeypatch):
  one = films / "red" / "000.mp4"
  (tmp_path / "in").mkdir()
  (tmp_path / "in" / "a.mp4").write_bytes(one.read_bytes())
  tokens = tokenize.get_config()
  tokens.checkpoint, tokens.media = str(trained), str(tmp_path / "in")
  tokens.workers = 0
  for i, config in enumerate((extraction(tmp_path / "in"), tokens)):
    settings, watched = build.as_json(config), Watched(config)
    monkeypatch.setattr(build, "as_json", lambda _, known=settings: known)
    watched.seen.clear()
    dispatch.run(watched, tmp_path / f"run{i}", QUIET)
    monkeypatch.undo()
    # A mapping of names is read as a whole.
    unread = {*leaves(watched)} - watched.seen
    assert not {x for x in unread if not x.startswith(("extractors", "shares"))}


def test_a_model_remembers_its_extractors(model, extracted):
  manifest = json.loads((extracted / "features/manifest.json").read_text())
  made = model.settings["extraction"]
  assert made["extractors"] == manifest["extractors"]
  assert made["seconds"] == 1.0


def test_arrays_take_what_was_written(extracted):
  """A split, or all of them; how it was made is remembered as well."""
  for part, size in (("train", 20), ("", 24)):
    config = pretrain.get_config("size=tiny,data=arrays")
    config.data.path = str(extracted / "features" / part)
    config.data.missing = True
    job = preparation.prepare(config)
    job.batches.close()
    assert len(job.train) + len(job.test) == size
    assert job.settings["extraction"]["extractors"].keys() == {
      *config.modalities
    }


def test_media_are_split_as_extraction_did(extracted):
  config = pretrain.get_config("size=tiny,data=media")
  config.data.path = str(extracted)
  train, held_out = sources.pair(config.data, config.modalities)
  labels = np.load(extracted / "features/validation/label/class.npy")
  found = [int(held_out[i]["labels"]["class"]) for i in range(len(held_out))]
  assert found == labels.tolist()
  later = evaluate.get_config("data=media")
  later.data.path = str(extracted)
  sizes = {
    s: len(sources.source(later.data, "clips", s))
    for s in ("train", "validation", "test")
  }
  assert sizes == {"train": len(train), "validation": 2, "test": 2}


def test_files_have_the_codes_of_their_features(model, extracted, films):
  """What extraction, workers and files on disk do changes no code."""
  folder = extracted / "features" / "train"
  listed = (extracted / "features/samples.csv").read_text().splitlines()
  first = next(x for x in listed if x.startswith("train,0,")).split(",")[2]
  rows = {m: np.load(folder / f"{m}.npy")[:1] for m in model.modalities}
  lengths = {
    m: np.load(folder / "length" / f"{m}.npy")[:1] for m in model.modalities
  }
  expected = model.encode(rows, lengths)
  (found,) = model.encode_files([films / f"{first}.mp4"])
  assert found.keys() == {"video", "audio"}
  for m, codes in found.items():
    np.testing.assert_array_equal(codes, expected[m][0])
  words, both = model.encode_files(
    [
      films / f"{first}.txt",
      {"video": films / f"{first}.mp4", "text": films / f"{first}.txt"},
    ]
  )
  np.testing.assert_array_equal(words["text"], expected["text"][0])
  assert {m: x.tolist() for m, x in both.items()} == {
    m: expected[m][0].tolist() for m in model.modalities
  }


def test_long_files_are_encoded_to_their_end(model, tmp_path):
  path = tmp_path / "a.wav"
  rng = np.random.default_rng(0)
  sound = rng.uniform(-1, 1, (1, 16000 * 11)) * np.linspace(0, 1, 16000 * 11)
  filming.wav(path, sound)
  codes = model.encode_files([path])[0]["audio"]
  assert codes.shape == (11,)
  assert (codes >= 0).all()
  filming.wav(path, sound[:, 16000 * 8 :])
  np.testing.assert_array_equal(
    model.encode_files([path])[0]["audio"], codes[8:]
  )


def test_files_that_are_refused(model, tmp_path):
  (tmp_path / "a.mp4").write_bytes(b"")
  (tmp_path / "a.npy").write_bytes(b"")
  for given, match in (
    ([tmp_path / "a.mp4"], r"a\.mp4: is empty"),
    ([tmp_path / "b.mp4"], r"b\.mp4: no such file"),
    ([tmp_path / "a.npy"], "nothing for this model, which takes audio"),
    ([{"lidar": "a.mp4"}], "nothing for this model"),
    (tmp_path / "a.mp4", "a list"),
  ):
    with pytest.raises(InputError, match=match):
      model.encode_files(given)


def test_other_versions_of_an_extractor_are_refused(model, monkeypatch, films):
  made = logmel.extractor()._replace(version="2")
  monkeypatch.setattr(
    "unirep.extract.registry.EXTRACTORS",
    media.features.registry.EXTRACTORS | {"logmel": lambda: made},
  )
  media._opened.cache_clear()
  try:
    with pytest.raises(InputError, match=r"audio: .*version '1'.*'2'"):
      model.encode_files([films / "red" / "000.mp4"])
  finally:
    media._opened.cache_clear()


def test_a_model_of_features_from_elsewhere_reads_no_files(model):
  settings = {k: v for k, v in model.settings.items() if k != "extraction"}
  with pytest.raises(InputError, match="does not know how its features"):
    media.front(settings, model.modalities)


def test_tokens_of_media(trained, model, films, tmp_path):
  config = tokenize.get_config()
  config.checkpoint, config.media = str(trained), str(films)
  config.workers = 2
  done = dispatch.run(config, tmp_path / "out", QUIET)
  assert done == {"files": 1, "new": 1, "samples": 24}
  listed = (tmp_path / "out/features/samples.csv").read_text().splitlines()
  ids = [x.split(",")[2] for x in listed[1:]]
  with np.load(tmp_path / "out/codes/train.npz") as found:
    for i in (0, 13, 23):
      expected = model.encode_files([films / f"{ids[i]}.mp4"])[0]
      for m, codes in expected.items():
        np.testing.assert_array_equal(found[m][i], codes)
    assert (np.bincount(found["label/class"]) == 8).all()
  assert dispatch.run(config, tmp_path / "out", QUIET)["new"] == 0


def test_tokens_of_extracted_features(trained, extracted, films, tmp_path):
  config = tokenize.get_config()
  config.checkpoint = str(trained)
  config.features = str(extracted / "features")
  assert dispatch.run(config, tmp_path / "out", QUIET)["samples"] == 24
  one = tokenize.get_config()
  one.checkpoint = str(trained)
  one.features = str(extracted / "features/test")
  dispatch.run(one, tmp_path / "one", QUIET)
  with (
    np.load(tmp_path / "out/codes/test.npz") as many,
    np.load(tmp_path / "one/codes/test.npz") as single,
  ):
    assert {*many} == {*single}
    for name in many:
      np.testing.assert_array_equal(many[name], single[name])
  config.media = str(films)
  with pytest.raises(InputError, match="features and media"):
    dispatch.run(config, tmp_path / "both", QUIET)


@pytest.mark.parametrize(
  "changes",
  [
    {"extractors": {"video": "pixels", "audio": "logmel:parts=4,low=100"}},
    {"seconds": 0.5},
  ],
)
def test_features_of_other_extractors_are_refused(
  changes, trained, films, tmp_path
):
  config = extraction(films, **changes)
  dispatch.run(config, tmp_path / "features", QUIET)
  names = "logmel" if "extractors" in changes else "0.5 s"
  tokens = tokenize.get_config()
  tokens.checkpoint = str(trained)
  tokens.features = str(tmp_path / "features" / "features")
  tasks = evaluate.get_config("size=tiny,data=media")
  tasks.checkpoint, tasks.toc.keep = str(trained), (8,)
  tasks.data.path = str(tmp_path / "features")
  for later in (tokens, tasks):
    with pytest.raises(InputError, match=names):
      dispatch.run(later, tmp_path / "out", QUIET)
  assert not (tmp_path / "out").exists()


def test_pretraining_elsewhere_is_refused(tmp_path):
  for path, match in (
    ("", "data.path is empty"),
    (str(tmp_path), "configs/extract.py"),
  ):
    config = pretrain.get_config("size=tiny,data=media")
    config.data.path = path
    with pytest.raises(InputError, match=match):
      dispatch.run(config, tmp_path / "out", QUIET)
  atomic.write_json(tmp_path / "manifest.json", {"name": "of another program"})
  with pytest.raises(InputError, match=r"configs/extract\.py"):
    dispatch.run(config, tmp_path / "out", QUIET)


@pytest.mark.slow
def test_one_command_after_the_other(films, tmp_path):
  """extract, pretrain, evaluate, tokenize by the command line alone."""
  features, model = tmp_path / "features", tmp_path / "run"
  for config, *arguments in (
    ("extract.py", f"--config.media={films}", "--config.steps=4", features),
    (
      "pretrain.py:data=media,size=tiny",
      *(f"--config.data.path={features}", model),
    ),
    (
      "evaluate.py:data=media,size=tiny",
      *(f"--config.data.path={features}", f"--config.checkpoint={model}"),
      *("--config.toc.keep=(8,)", tmp_path / "evaluated"),
    ),
    (
      "tokenize.py",
      *(f"--config.media={films}", f"--config.checkpoint={model}"),
      tmp_path / "codes",
    ),
  ):
    *flags, workdir = arguments
    done = run(*flags, f"--workdir={workdir}", config=f"configs/{config}")
    assert done.returncode == 0, done.stdout + done.stderr
  results = json.loads((tmp_path / "evaluated/results.json").read_text())
  directions = {(row["source"], row["target"]) for row in results["rows"]}
  assert ("audio", "video") in directions
  assert (tmp_path / "codes/codes/train.npz").exists()
  line = refused("--config.media=/nowhere", config="configs/extract.py")
  assert "no such folder" in line


@pytest.mark.skipif(not SHARED.exists(), reason="no real media")
def test_real_files(trained, model, tmp_path):
  paths = [SHARED / "BjCEufrlXm4.mp4", SHARED / "FwVYUHKoLtQ_000034.wav"]
  film, sound = model.encode_files(paths)
  assert {m: x.shape for m, x in film.items()} == {
    "video": (10,),
    "audio": (10,),
  }
  assert {m: x.shape for m, x in sound.items()} == {"audio": (10,)}
  (tmp_path / "in").mkdir()
  for path in paths:
    (tmp_path / "in" / path.name).symlink_to(path)
  config = tokenize.get_config()
  config.checkpoint, config.media = str(trained), str(tmp_path / "in")
  assert dispatch.run(config, tmp_path / "out", QUIET)["samples"] == 6
  with np.load(tmp_path / "out/codes/train.npz") as found:
    codes = found["audio"]
    np.testing.assert_array_equal(codes[:3][codes[:3] >= 0], film["audio"])
    np.testing.assert_array_equal(codes[3:][codes[3:] >= 0], sound["audio"])
    assert (found["video"][3:] == -1).all()
