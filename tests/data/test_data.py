import io
import os
import pathlib
import pickle
import sys
import types
import zipfile

import numpy as np
import oneline
import pytest
from recordings import make_fsdd, tone, wav
from sklearn.linear_model import RidgeClassifier

from unirep.data import arrays, pipeline, values
from unirep.data import sample as sample_lib
from unirep.data.procedural import captions, digits, draws, speech, synthetic
from unirep.runtime.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
FSDD = os.environ.get("UNIREP_FSDD") or str(
  ROOT.parent / "shared/data/fsdd/fsdd_recordings.zip"
)
needs_fsdd = pytest.mark.skipif(
  not os.path.exists(FSDD), reason="no recordings; set UNIREP_FSDD"
)


def sample(**changes):
  parts = {
    "features": {"audio": np.ones((4, 3), np.float32)},
    "lengths": {"audio": np.int32(2)},
    "labels": {"class": np.int32(1)},
  }
  return parts | changes


def probe(train, test):
  return RidgeClassifier().fit(*train).score(*test)


def assert_same(left, right):
  assert left.keys() == right.keys()
  for part in left:
    assert left[part].keys() == right[part].keys()
    for name in left[part]:
      np.testing.assert_array_equal(left[part][name], right[part][name])


# contract


def test_check_sample_accepts_the_contract():
  sample_lib.check_sample(sample(), "x")
  sample_lib.check_sample(sample(lengths={}, labels={}), "x")
  grid = np.ones((1, 2, 2, 3), np.float32)
  sample_lib.check_sample(sample(features={"video": grid}, lengths={}), "x")


@pytest.mark.parametrize(
  ("bad", "words"),
  [
    ([1], "list"),
    ({"features": {}}, "features, lengths, labels"),
    (sample(features={}), "at least one modality"),
    (sample(features={"a": [1.0]}), "NumPy array"),
    (sample(features={"a": np.ones((4, 3))}), "float64"),
    (sample(features={"a": np.ones((4,), np.float32)}), r"\(4,\)"),
    (sample(features={"a": np.ones((0, 3), np.float32)}), r"\(0, 3\)"),
    (sample(features={"a": np.full((1, 1), np.nan, np.float32)}), "NaN"),
    (sample(features={"a": np.full((1, 1), np.inf, np.float32)}), "infinity"),
    (sample(lengths={"audio": np.int32(0)}), r"1\.\.4, got 0"),
    (sample(lengths={"audio": np.int32(5)}), r"1\.\.4, got 5"),
    (sample(lengths={"audio": np.int64(2)}), "int32 scalar"),
    (sample(lengths={"text": np.int32(1)}), "no modality"),
    (sample(labels={"class": np.float32(1)}), "integers"),
    (sample(labels=None), "dict of arrays"),
  ],
)
def test_check_sample_names_the_fault(bad, words):
  with pytest.raises(InputError, match=words) as error:
    sample_lib.check_sample(bad, "train[3]")
  assert str(error.value).startswith("train[3]")
  oneline.check(error.value)


def test_check_source_compares_items():
  with pytest.raises(InputError, match="train: the source is empty"):
    sample_lib.check_source([], "train")
  other = sample(features={"audio": np.ones((5, 3), np.float32)})
  with pytest.raises(InputError, match=r"train\[2\].*\(5, 3\).*\(4, 3\)"):
    sample_lib.check_source([sample(), sample(), other], "train")
  with pytest.raises(InputError, match=r"labels\['class'\] is missing"):
    sample_lib.check_source([sample(), sample(), sample(labels={})], "train")


# synthetic


@pytest.fixture(scope="module")
def events():
  return {
    split: pipeline.stack(
      list(synthetic.SyntheticEvents(size=400, seed=3, split=split))
    )
    for split in ("train", "test")
  }


def test_synthetic_keeps_the_contract():
  source = synthetic.SyntheticEvents(
    size=5, time=6, max_event=6, video_grid=(3, 4), text_time=8, classes=3
  )
  sample_lib.check_source(source, "synthetic")
  shapes = {k: v.shape for k, v in source[0]["features"].items()}
  assert shapes == {"audio": (6, 32), "video": (6, 3, 4, 16), "text": (8, 32)}
  assert 4 <= source[0]["lengths"]["text"] <= 8


def test_synthetic_is_a_function_of_seed_split_and_index():
  make = synthetic.SyntheticEvents
  source = make(size=9, seed=1)
  assert_same(source[4], make(size=99, seed=1)[4])
  assert_same(source[4], pickle.loads(pickle.dumps(source))[4])
  assert_same(source[8], source[-1])
  audio = source[4]["features"]["audio"]
  for other in (source[5], make(seed=2)[4], make(seed=1, split="test")[4]):
    assert not np.array_equal(audio, other["features"]["audio"])
  with pytest.raises(IndexError):
    source[9]


@pytest.mark.parametrize("modality", ["audio", "video"])
def test_synthetic_segments_tell_the_class(events, modality):
  def rows(batch):
    ids = batch["labels"][f"segments/{modality}"].reshape(-1)
    x = batch["features"][modality]
    x = x.sum((2, 3)) if modality == "video" else x
    return x.reshape(len(ids), -1)[ids < 10], ids[ids < 10]

  assert probe(rows(events["train"]), rows(events["test"])) > 0.9


def test_synthetic_captions_tell_the_class(events):
  def rows(batch):
    return batch["features"]["text"].sum(1), batch["labels"]["class"]

  assert probe(rows(events["train"]), rows(events["test"])) > 0.9


def test_synthetic_labels_agree(events):
  labels = events["train"]["labels"]
  heard, seen = labels["segments/audio"], labels["segments/video"]
  both = (heard < 10) & (seen < 10)
  np.testing.assert_array_equal(labels["segments"] < 10, both)
  for ids in (heard, seen):
    present = ids < 10
    np.testing.assert_array_equal(
      ids, np.where(present, labels["class"][:, None], 10)
    )
    assert set(present.sum(1)) == set(range(4, 11))
    assert (np.abs(np.diff(present, axis=1)).sum(1) <= 2).all()
  assert (both.sum(1) >= 0.5 * (heard < 10).sum(1)).all()
  assert (both.sum(1) < (heard < 10).sum(1)).any()


def test_synthetic_video_is_sparse_and_not_negative(events):
  video = events["train"]["features"]["video"]
  assert video.min() == 0
  assert 0.6 < (video == 0).mean() < 0.8


@pytest.mark.parametrize(
  "changes",
  [
    {"size": 0},
    {"seed": -1},
    {"split": "valid"},
    {"classes": 0},
    {"video_grid": (7,)},
    {"min_event": 0},
    {"max_event": 11},
    {"min_event": 6, "max_event": 5},
    {"overlap": 1.1},
    {"noise": -1.0},
    {"nuisance": float("nan")},
    {"variation": -0.1},
    {"variation": float("nan")},
    {"variation": float("inf")},
    {"private": -1},
    {"text_time": 7},
  ],
)
def test_synthetic_rejects(changes):
  name = list(changes)[-1].removesuffix("_time")
  with pytest.raises(InputError, match=name):
    synthetic.SyntheticEvents(**changes)


def sums(x):
  """The sum of an array and one that its order changes."""
  x = x.ravel().astype(np.float64)
  return x.sum(), x @ np.linspace(-1, 1, x.size)


@pytest.mark.parametrize(
  ("changes", "audio", "video", "text", "heard", "seen"),
  [
    (
      {},
      (-26.8946, -2.6214),
      (633.8682, -13.7035),
      (26.6696, -13.8921),
      (96, -0.8889),
      (96, -0.8889),
    ),
    (
      {"seed": 3, "split": "test"},
      (37.9912, -2.2384),
      (773.0814, -2.4347),
      (-7.7383, 0.8042),
      (64, -8),
      (64, 8),
    ),
    (
      {"seed": 1, "classes": 100},
      (-17.3552, 4.5923),
      (890.2875, 25.7832),
      (-11.5017, 1.9597),
      (525, -52.7778),
      (525, -52.7778),
    ),
  ],
)
def test_synthetic_samples_are_those_of_the_past(
  changes, audio, video, text, heard, seen
):
  sample = synthetic.SyntheticEvents(**changes)[7]
  features, labels = sample["features"], sample["labels"]
  assert set(labels) == {
    *("class", "segments", "segments/audio", "segments/video")
  }
  for got, recorded in (
    (features["audio"], audio),
    (features["video"], video),
    (features["text"], text),
    (labels["segments/audio"], heard),
    (labels["segments/video"], seen),
  ):
    np.testing.assert_allclose(sums(got), recorded, atol=1e-3)


@pytest.mark.parametrize("modality", ["audio", "video"])
@pytest.mark.parametrize("classes", [30, 100])
def test_synthetic_tells_many_classes_apart(modality, classes):
  source = synthetic.SyntheticEvents(classes=classes, size=300)
  prototype_CxF = getattr(source, f"_{modality}_look").prototypes_LxF[:classes]
  rows, ids = [], []
  for sample in source:
    ids_T = sample["labels"][f"segments/{modality}"]
    x_TxF = sample["features"][modality][ids_T < classes]
    x_TxF = x_TxF.sum((1, 2)) if modality == "video" else x_TxF
    rows.append(x_TxF.mean(0))
    ids.append(sample["labels"]["class"])
  assert nearest(np.stack(rows), prototype_CxF, ids) > 0.9


def nearest(x_NxF, prototype_CxF, ids_N):
  """How often the prototype of highest correlation is that of the class."""
  x_NxF = x_NxF - x_NxF.mean(0)
  unit_CxF = prototype_CxF - prototype_CxF.mean(0)
  unit_CxF /= np.linalg.norm(unit_CxF, axis=1, keepdims=True)
  return ((x_NxF @ unit_CxF.T).argmax(1) == np.asarray(ids_N)).mean()


def test_variation_is_shared_and_scales():
  def event(variation):
    source = synthetic.SyntheticEvents(
      variation=variation, nuisance=0, noise=0, size=1
    )
    heard_T = source[0]["labels"]["segments/audio"] < 10
    return source[0]["features"]["audio"][heard_T]

  none, usual, double = event(0), event(0.4), event(0.8)
  assert (none == none[0]).all()  # the prototype, step after step
  assert (usual != none).any(1).all()
  np.testing.assert_allclose(double - none, 2 * (usual - none), atol=1e-5)


P = 3


@pytest.fixture(scope="module")
def private():
  """A cheap source with private classes, stacked, and without."""
  small = {"video_grid": (3, 3), "text_width": 4, "audio_width": 24}
  make = synthetic.SyntheticEvents
  with_P, without = (
    pipeline.stack(list(make(**small, size=3000, seed=2, private=number)))
    for number in (P, 0)
  )
  return with_P, without


def test_private_classes_change_only_their_steps(private):
  changed, plain = private
  for modality in ("audio", "video"):
    own = changed["labels"][f"private/{modality}"] < P
    x, y = (batch["features"][modality] for batch in (changed, plain))
    differ = (x != y).reshape(*own.shape, -1).any(-1)
    np.testing.assert_array_equal(differ, own)

  def rest(batch):
    text = {"text": batch["features"]["text"]}
    labels = {
      name: value
      for name, value in batch["labels"].items()
      if not name.startswith("private/")
    }
    return {**batch, "features": text, "labels": labels}

  assert_same(rest(changed), rest(plain))


def test_private_events_have_the_longer_side_to_themselves(private):
  labels = private[0]["labels"]
  shown = {}
  for modality in ("audio", "video"):
    ids_BxT = labels[f"private/{modality}"]
    assert ids_BxT.dtype == np.int32
    own, event = ids_BxT < P, labels[f"segments/{modality}"] < 10
    assert not (own & event).any()
    start, stop = event.argmax(1), 10 - event[:, ::-1].argmax(1)
    free = np.maximum(start, 10 - stop)
    some = shown[modality] = own.any(1)
    assert some[free > 0].mean() == pytest.approx(0.5, abs=0.04)
    assert not some[free == 0].any()
    assert (free == 0).any()
    length = own.sum(1)[some]
    assert (length <= free[some]).all()
    assert (length >= np.minimum(2, free[some])).all()
    assert set(length.tolist()) == set(range(1, 7))
    first = own.argmax(1)[some]  # one window, before or behind the event
    for row, begin, size in zip(ids_BxT[some], first, length, strict=True):
      assert len(set(row[begin : begin + size])) == 1
    before = first < start[some]
    assert (start >= 10 - stop)[some][before].all()
    assert (start <= 10 - stop)[some][~before].all()
    assert 0.2 < before.mean() < 0.8
  both = shown["audio"] & shown["video"]
  assert both.any()
  assert (shown["audio"] ^ shown["video"]).any()


def test_private_classes_tell_nothing_of_the_rest(private):
  labels = private[0]["labels"]
  heard, seen = (labels[f"private/{m}"].min(1) for m in ("audio", "video"))
  for left, right, columns in (
    (heard, seen, P),
    (heard, labels["class"], 10),
    (seen, labels["class"], 10),
  ):
    chosen = (left < P) & (right < columns)
    table = np.zeros((P, columns))
    np.add.at(table, (left[chosen], right[chosen]), 1)
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    assert expected.min() > 20  # all classes appear
    chi2 = ((table - expected) ** 2 / expected).sum()
    freedom = (P - 1) * (columns - 1)
    assert chi2 < freedom + 4 * (2 * freedom) ** 0.5
    shares = table.sum(1) / table.sum()
    np.testing.assert_allclose(shares, 1 / P, atol=0.06)


def test_private_variation_is_not_shared():
  make = synthetic.SyntheticEvents
  options = {"nuisance": 0.0, "noise": 0.0, "size": 400, "private": 1}
  varied, plain = make(**options), make(**options, variation=0)
  look = varied._audio_look
  own, shared = [], []
  for index, (a, b) in enumerate(zip(varied, plain, strict=True)):
    shown_T = a["labels"]["private/audio"] < 1
    x, prototype = (s["features"]["audio"][shown_T] for s in (a, b))
    assert (prototype == look.prototypes_LxF[-1]).all()
    own.append((x - prototype) @ np.linalg.pinv(look.variation_RxF) / 0.4)
    rng = draws.generator(0, "train", index)  # what the source draws from it
    rng.integers(10)
    draws.draw_windows(rng, 10, 4, 10, 0.5)
    shared.append(rng.standard_normal((10, 4), np.float32)[shown_T])
  own_NxR, shared_NxR = np.concatenate(own), np.concatenate(shared)
  assert own_NxR.std() == pytest.approx(1, abs=0.1)
  correlation = np.corrcoef(own_NxR.T, shared_NxR.T)[:4, 4:]
  assert np.abs(correlation).max() < 0.15


@pytest.mark.parametrize("modality", ["audio", "video"])
def test_private_segments_tell_the_private_class(private, modality):
  batch = private[0]
  ids = batch["labels"][f"private/{modality}"].reshape(-1)
  x = batch["features"][modality]
  x = (x.sum((2, 3)) if modality == "video" else x).reshape(len(ids), -1)
  x, ids = x[ids < P], ids[ids < P]
  assert probe((x[::2], ids[::2]), (x[1::2], ids[1::2])) > 0.9


def test_splits_share_private_prototypes_and_no_draws():
  make = synthetic.SyntheticEvents
  train, test = (make(private=2, split=s, size=40) for s in ("train", "test"))
  for look in ("_audio_look", "_video_look"):
    left, right = (getattr(s, look).prototypes_LxF for s in (train, test))
    np.testing.assert_array_equal(left, right)
    assert len(left) == 10 + 1 + 2
    assert len(np.unique(left, axis=0)) == len(left)
  left, right = (
    np.array([s["labels"]["private/audio"].min() for s in source])
    for source in (train, test)
  )
  both = (left < 2) & (right < 2)
  assert (left[both] != right[both]).any()
  sample_lib.check_source(train, "train")
  assert train.meanings == {"shared": 11, "audio": 2, "video": 2}


# draws and captions


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.7, 1.0])
def test_windows_share_what_was_asked(overlap):
  rng = np.random.default_rng(0)
  lags = set()
  for _ in range(300):
    a, b = draws.draw_windows(rng, 10, 2, 10, overlap)
    length = a.stop - a.start
    shared = max(0, min(a.stop, b.stop) - max(a.start, b.start))
    assert b.stop - b.start == length
    assert 2 <= length <= 10
    assert min(a.start, b.start) >= 0
    assert max(a.stop, b.stop) <= 10
    assert shared >= overlap * length - 1e-9
    lags.add(b.start - a.start)
  assert (lags == {0}) == (overlap == 1)
  assert min(lags) == -max(lags)


def test_captions_share_all_but_the_class_word():
  rng = np.random.default_rng(0)
  made = captions.make_captions(rng, ["cat", "dog"], time=10, width=5)
  assert made.vectors_CxMxTxF.shape == (2, len(captions.TEMPLATES), 10, 5)
  for m, template in enumerate(captions.TEMPLATES):
    length = len(template.split())
    assert made.lengths_M[m] == length
    assert 4 <= length <= 8
    cat, dog = made.vectors_CxMxTxF[:, m]
    differ = (cat != dog).any(-1)
    assert differ.nonzero()[0].tolist() == [template.split().index("{}")]
    assert cat[:length].any(-1).all()
    assert not cat[length:].any()


# speech


def test_log_mel_puts_a_tone_in_its_band_and_time():
  clip = np.zeros((1, 8000), np.float32)
  clip[0, 4000:8000] = tone(909, 0.5, 1.0)
  logmel_TxB = speech.log_mel(clip).reshape(8, 16)
  np.testing.assert_allclose(logmel_TxB[:3], np.log(1e-4), rtol=1e-5)
  # 60-4000 Hz are 92.5-2146 mel, so band 6 has its center at 938 mel, 909 Hz.
  assert (logmel_TxB[4:].argmax(1) == 6).all()
  assert (logmel_TxB[4:, 6] > 0).all()


def test_log_mel_does_not_depend_on_chunks():
  clips = np.random.default_rng(0).standard_normal((300, 8000), np.float32)
  alone = speech.log_mel(clips[299:])
  np.testing.assert_allclose(speech.log_mel(clips)[299:], alone, atol=1e-4)


def test_folder_and_zip_read_the_same(tmp_path):
  folder = make_fsdd(tmp_path / "fsdd")
  with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
    for file in sorted(folder.rglob("*.wav"), reverse=True):
      archive.write(file, f"deep/{file.relative_to(folder)}")
      archive.write(file, f"copy/{file.name}")
  left = speech.load_speech(str(folder))
  right = speech.load_speech(str(tmp_path / "a.zip"))
  for a, b in zip(left, right, strict=True):
    np.testing.assert_array_equal(a, b)
  assert left.logmel_NxF.shape == (40, 128)
  assert set(left.speaker_N.tolist()) == {"ann", "bob"}


def test_level_does_not_matter(tmp_path):
  for name, level in (("0_ann_0.wav", 0.1), ("0_ann_1.wav", 0.9)):
    wav(tmp_path / name, tone(700, level=level))
  # Off by the rounding to 16 bits; the levels themselves are 4.4 apart.
  quiet, loud = speech.load_speech(str(tmp_path)).logmel_NxF
  np.testing.assert_allclose(quiet, loud, atol=0.3)


def test_environment_names_the_recordings(tmp_path, monkeypatch):
  monkeypatch.setenv("UNIREP_FSDD", str(make_fsdd(tmp_path / "fsdd")))
  assert len(speech.load_speech().take_N) == 40


@pytest.mark.parametrize(
  ("wave", "rate", "words"),
  [
    (np.zeros(800), 8000, "silent"),
    (np.zeros(0), 8000, "empty"),
    (tone(500), 16000, "16000 Hz"),
    (np.stack([tone(500)] * 2, 1), 8000, "mono"),
  ],
)
def test_bad_recordings_are_named(tmp_path, wave, rate, words):
  wav(tmp_path / "3_ann_7.wav", wave, rate)
  with pytest.raises(InputError, match=rf"3_ann_7\.wav.*{words}"):
    speech.load_speech(str(tmp_path))


def test_corrupt_files_are_named(tmp_path):
  (tmp_path / "f").mkdir()
  (tmp_path / "f/3_ann_7.wav").write_bytes(b"RIFF nonsense")
  with pytest.raises(InputError, match=r"3_ann_7\.wav is not a readable wav"):
    speech.load_speech(str(tmp_path / "f"))
  (tmp_path / "a.zip").write_bytes(b"PK nonsense")
  with pytest.raises(InputError, match=r"a\.zip is not a readable zip"):
    speech.load_speech(str(tmp_path / "a.zip"))
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w") as archive:
    archive.writestr("3_ann_7.wav", b"x" * 1000)
  (tmp_path / "b.zip").write_bytes(buffer.getvalue().replace(b"xxx", b"xyx"))
  with pytest.raises(InputError, match=r"b\.zip.*3_ann_7\.wav"):
    speech.load_speech(str(tmp_path / "b.zip"))
  with pytest.raises(InputError, match=r"no such file.*UNIREP_FSDD"):
    speech.load_speech(str(tmp_path / "absent"))
  (tmp_path / "empty").mkdir()
  with pytest.raises(InputError, match=r"holds no.*wav"):
    speech.load_speech(str(tmp_path / "empty"))


def fake_tfds(monkeypatch, data_source):
  monkeypatch.delenv("UNIREP_FSDD", raising=False)
  module = types.SimpleNamespace(data_source=data_source)
  monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
  speech._load.cache_clear()


def test_tfds_examples_read_as_files_do(monkeypatch, tmp_path):
  pcm = np.round(tone(700) * 32768).astype(np.int64)
  wav(tmp_path / "7_ann_3.wav", pcm.astype(np.int16))
  example = {"audio/filename": b"7_ann_3.wav", "audio": pcm, "label": 7}
  fake_tfds(monkeypatch, lambda *_, **__: [example])
  for a, b in zip(
    speech.load_speech(), speech.load_speech(str(tmp_path)), strict=True
  ):
    np.testing.assert_array_equal(a, b)
  speech._load.cache_clear()


def test_no_tfds_says_how_to_get_the_recordings(monkeypatch):
  def fail(*_, **__):
    raise ConnectionError("first line\nno network")

  fake_tfds(monkeypatch, fail)
  with pytest.raises(
    InputError, match=r"no network.*download.*UNIREP_FSDD"
  ) as e:
    speech.load_speech()
  oneline.check(e.value)


# digits


def test_splits_hold_disjoint_recordings(tmp_path):
  fsdd = str(make_fsdd(tmp_path / "fsdd"))
  table = speech.load_speech(fsdd)
  for speaker_out, is_test in (
    ("", table.take_N == 0),
    ("bob", table.speaker_N == "bob"),
  ):
    mean = table.logmel_NxF[~is_test].mean(0)
    scale = table.logmel_NxF[~is_test].std(0) + 1e-6
    for split, chosen in (("train", ~is_test), ("test", is_test)):
      bank = digits.make_bank(split, fsdd=fsdd, speaker_out=speaker_out).audio
      expected = (table.logmel_NxF[chosen] - mean) / scale
      order = np.argsort(table.digit_N[chosen], kind="stable")
      np.testing.assert_allclose(
        bank.rows[: bank.starts[10]], expected[order], atol=1e-5
      )
  with pytest.raises(InputError, match="no speaker 'eve'; there are ann, bob"):
    digits.Digits(fsdd=fsdd, speaker_out="eve")


def test_a_missing_digit_is_named(tmp_path):
  folder = make_fsdd(tmp_path / "fsdd")
  for speaker in ("ann", "bob"):
    (folder / f"recordings/4_{speaker}_0.wav").unlink()
  with pytest.raises(InputError, match="no test recording of 4"):
    digits.Digits("train", fsdd=str(folder))


def test_frames_draw_from_the_right_group():
  rows = np.arange(33, dtype=np.float32)[:, None]
  frames = digits.Frames(rows, rows, np.arange(0, 34, 3))
  ids = np.repeat(np.arange(11), 200)
  drawn = rows[frames.draw(np.random.default_rng(0), ids)][:, 0]
  np.testing.assert_array_equal(drawn // 3, ids)
  assert set(drawn.tolist()) == set(range(33))


def test_bilinear_is_exact_on_a_ramp():
  matrix = digits._bilinear(8, 28)
  np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
  ramp = matrix @ np.arange(8)
  expected = (np.arange(28) + 0.5) * 8 / 28 - 0.5
  np.testing.assert_allclose(ramp, expected.clip(0, 7), atol=1e-5)


@pytest.fixture(scope="module")
def banks():
  return {s: digits.make_bank(s, fsdd=FSDD) for s in ("train", "test")}


@needs_fsdd
def test_real_splits_have_their_sizes(banks):
  def sizes(split):
    return [int(f.starts[10]) for f in (banks[split].audio, banks[split].video)]

  assert sizes("train") == [2700, 1400]
  assert sizes("test") == [300, 397]
  for name in ("audio", "video"):  # no test row among the train rows
    train, test = (getattr(banks[s], name) for s in ("train", "test"))
    seen = {row.tobytes() for row in train.rows}
    assert not any(row.tobytes() in seen for row in test.rows)


@needs_fsdd
def test_real_features_have_the_stated_statistics(banks):
  audio, video = banks["train"].audio, banks["train"].video
  np.testing.assert_allclose(audio.rows[:2700].mean(0), 0, atol=1e-3)
  np.testing.assert_allclose(audio.rows[:2700].std(0), 1, atol=1e-3)
  for rows in (video.rows[:1400], video.rows[1400:]):  # digits, background
    assert rows[rows > 0].mean() == pytest.approx(0.5, abs=1e-3)
    assert (rows == 0).mean() == pytest.approx(0.63, abs=0.02)


@needs_fsdd
@pytest.mark.parametrize(("modality", "low"), [("audio", 0.9), ("video", 0.92)])
def test_a_linear_probe_reads_one_real_segment(banks, modality, low):
  def rows(split):
    frames = getattr(banks[split], modality)
    x = frames.rows[: frames.starts[10]]
    x = x.sum((1, 2)) if modality == "video" else x
    return x, np.repeat(np.arange(10), np.diff(frames.starts)[:10])

  assert probe(rows("train"), rows("test")) > low


@needs_fsdd
def test_digits_keep_the_contract():
  source = digits.Digits("train", size=50, seed=1, fsdd=FSDD)
  sample_lib.check_source(source, "digits")
  assert_same(source[7], digits.Digits(size=60, seed=1, fsdd=FSDD)[7])
  assert_same(source[7], pickle.loads(pickle.dumps(source))[7])
  shapes = {k: v.shape for k, v in source[0]["features"].items()}
  assert shapes == {
    "audio": (10, 128),
    "video": (10, 7, 7, 64),
    "text": (10, 64),
  }
  labels = pipeline.stack(list(source))["labels"]
  present = labels["segments"] < 10
  np.testing.assert_array_equal(
    labels["segments"], np.where(present, labels["class"][:, None], 10)
  )
  assert set(present.sum(1)) == set(range(4, 11))
  assert set(labels["class"]) == set(range(10))


# arrays


def made_arrays(n=6):
  rng = np.random.default_rng(0)
  return (
    {"vector": rng.random((n, 3)), "grid": rng.random((n, 2, 4, 4, 3))},
    {"grid": np.arange(n) % 2 + 1},
    {"class": np.arange(n)},
  )


def test_arrays_index_their_arrays():
  features, lengths, labels = made_arrays()
  source = arrays.Arrays(features, lengths, labels)
  sample_lib.check_source(source, "arrays")
  item = source[3]
  assert item["features"]["vector"].shape == (1, 3)
  np.testing.assert_array_equal(
    item["features"]["grid"], features["grid"][3].astype(np.float32)
  )
  assert item["lengths"]["grid"] == 2
  assert item["labels"]["class"] == 3
  assert len(list(source)) == 6


@pytest.mark.parametrize(
  ("features", "lengths", "labels", "words"),
  [
    ({}, {}, {}, "at least one modality"),
    ({"a": np.ones(4)}, {}, {}, r"\(4,\)"),
    ({"a": np.ones((4, 2, 0, 2))}, {}, {}, r"\(4, 2, 0, 2\)"),
    ({"a": np.ones((0, 2))}, {}, {}, "non-empty"),
    ({"a": np.array([["x"]])}, {}, {}, "real numbers"),
    ({"a": np.array([[None]])}, {}, {}, "object"),
    ({"a": np.ones((2, 2), complex)}, {}, {}, "complex"),
    ({"a": np.array([[0, 1], [0, np.nan]])}, {}, {}, r"at \(1, 1\)"),
    ({"a": np.full((2, 2), 1e300)}, {}, {}, "as float32"),
    ({"a": np.ones((4, 2)), "b": np.ones((3, 2))}, {}, {}, "'b'.*3.*'a'.*4"),
    ({"a": np.ones((2, 3, 1))}, {"a": [1, 4]}, {}, r"1\.\.3, got 4"),
    ({"a": np.ones((2, 3, 1))}, {"a": [0, 3]}, {}, r"1\.\.3, got 0"),
    ({"a": np.ones((2, 3, 1))}, {"a": [1.0, 2.0]}, {}, "float64"),
    ({"a": np.ones((2, 3, 1))}, {"a": [[1], [2]]}, {}, r"\(2, 1\)"),
    ({"a": np.ones((2, 3, 1))}, {"b": [1, 2]}, {}, "no modality"),
    ({"a": np.ones((2, 1))}, {}, {"c": [1, 2, 3]}, "3 samples"),
    ({"a": np.ones((2, 1))}, {}, {"c": [0.5, 1]}, "integer"),
    ({"a": np.ones((2, 1))}, {}, {"c": 1}, "integer"),
    ({"a": np.ones((2, 1))}, {}, {"c": [0, 2**40]}, "32 bits"),
  ],
)
def test_arrays_name_the_fault(features, lengths, labels, words):
  with pytest.raises(InputError, match=words) as error:
    arrays.Arrays(features, lengths, labels)
  oneline.check(error.value)


def test_npz_round_trip(tmp_path):
  features, lengths, labels = made_arrays()
  path = tmp_path / "a.npz"
  np.savez(
    path,
    **features,
    **{f"length/{k}": v for k, v in lengths.items()},
    **{f"label/{k}": v for k, v in labels.items()},
  )
  assert_same(arrays.load(path)[2], arrays.Arrays(features, lengths, labels)[2])
  only = arrays.load(path, modalities=["vector"])[2]
  assert list(only["features"]) == ["vector"]
  assert only["lengths"] == {}
  with pytest.raises(InputError, match="no modality 'text'; it has vector"):
    arrays.load(path, modalities=["text"])


def test_bad_npz_files_are_named(tmp_path):
  path = tmp_path / "a.npz"

  def fails(words):
    with pytest.raises(InputError, match=rf"a\.npz.*{words}") as error:
      arrays.load(path)
    oneline.check(error.value)

  fails("no such file")
  for contents in (b"", b"PK\x03\x04 nonsense", b"\x80\x04K\x01."):
    path.write_bytes(contents)
    fails("not an .npz or HDF5 file")
  with path.open("wb") as file:
    np.save(file, np.ones((2, 2)))
  fails("not an .npz or HDF5 file")
  np.savez(path, audio=np.array([[{}]], object))
  fails("key 'audio'")
  np.savez(path, audio=np.ones((500, 2)))
  path.write_bytes(path.read_bytes().replace(b"\xf0?", b"\xf1?"))
  fails("key 'audio'")
  np.savez(path, audio=np.full((2, 2), np.nan))
  fails("NaN")
  np.savez(path, **{"audio": np.ones((2, 2)), "labels/class": np.ones(2)})
  fails("unknown key 'labels/class'")
  np.savez(path, **{"label/class": np.ones(2, int)})
  fails("at least one modality")


def test_split_is_seeded_and_disjoint():
  source = arrays.Arrays(*made_arrays(10))

  def parts(holdout, seed):
    return [
      [int(sample["labels"]["class"]) for sample in part]
      for part in arrays.split(source, holdout, seed)
    ]

  train, test = parts(0.3, 0)
  assert len(test) == 3
  assert sorted(train + test) == list(range(10))
  assert parts(0.3, 0) == [train, test]
  assert parts(0.3, 1) != [train, test]
  assert len(parts(0.001, 0)[1]) == 1
  assert len(parts(0.999, 0)[0]) == 1
  for holdout in (0, 1, float("nan")):
    with pytest.raises(InputError, match="holdout"):
      arrays.split(source, holdout, 0)
  with pytest.raises(InputError, match="2 samples"):
    arrays.split(arrays.Arrays({"a": np.ones((1, 1))}), 0.5, 0)


def test_halves_are_widened_exactly():
  every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(2, -1)
  found, wanted = values.float32(every), every.astype(np.float32)
  np.testing.assert_array_equal(found.view("u4"), wanted.view("u4"))
  np.testing.assert_array_equal(values.float32(every[:, ::3]), wanted[:, ::3])
  swapped = every.astype(">f2")
  np.testing.assert_array_equal(values.float32(swapped), wanted)
