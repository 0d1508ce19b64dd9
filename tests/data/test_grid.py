"""GRID: splits, the clock of its words, moved clips, and broken corpora."""

import pathlib
import pickle
import zipfile

import filming
import numpy as np
import pytest
import recordings
from recordings import NAMES, lines, video

from unirep.data import raw, sample
from unirep.data.datasets import grid, grid_files
from unirep.data.datasets.grid import Grid
from unirep.runtime.errors import InputError

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data" / "grid_s1"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
  monkeypatch.delenv(grid_files.VARIABLE, raising=False)
  grid_files._read.cache_clear()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
  return recordings.talker(tmp_path_factory.mktemp("grid") / "corpus")


@pytest.fixture(scope="module")
def cropped(tmp_path_factory):
  """Mouths alone, in a zip with a table beside it."""
  folder = tmp_path_factory.mktemp("mouths")
  with zipfile.ZipFile(folder / "mouths.zip", "w") as archive:
    for name in NAMES:
      video(folder / f"{name}.mp4", name, (80, 112))
      archive.write(folder / f"{name}.mp4", f"{name}.mp4")
      (folder / f"{name}.mp4").unlink()
  rows = [f"{n}\t{a}\t{b}\t{w}" for n in NAMES for a, b, w in lines(n)]
  table = "\n".join(["clip\tstart_frame\tend_frame\tword", *rows])
  (folder / grid_files.TABLE).write_text(table)
  return folder


def test_splits_are_disjoint_and_balanced():
  letters, digits = "abcdefghijklmnopqrstuvxyz", "z123456789"
  names = [f"b{c}a{x}{d}n" for c in "bgrw" for x in letters for d in digits]
  parts = [grid.part(name) for name in names]
  assert {p: parts.count(p) for p in parts} == {
    "train": 600,
    "validation": 200,
    "test": 200,
  }
  for place, count in ((1, 50), (3, 8), (4, 20)):
    seen = [n[place] for n, p in zip(names, parts, strict=True) if p == "test"]
    assert {seen.count(x) for x in seen} == {count}


def test_a_sentence_is_its_name():
  assert [*grid.spoken("bbaf2n").values()] == [
    *("bin", "blue", "at", "f", "two", "now")
  ]


@pytest.mark.parametrize("layout", ["published", "cropped"])
def test_samples(layout, request):
  folder = request.getfixturevalue(layout)
  source = Grid("train", path=str(folder))
  sample.check_source(source, layout)
  assert len(source) == sum(grid.part(n) == "train" for n in NAMES)
  for split in ("validation", "test"):
    assert len(Grid(split, path=str(folder))) > 0
  name = sorted(n for n in NAMES if grid.part(n) == "train")[0]
  got = source[0]
  assert got["features"]["video"].shape == got["features"]["audio"].shape
  for slot, word in grid.spoken(name).items():
    values = [*grid_files.SLOTS[slot].values()]
    assert values[got["labels"][f"slot/{slot}"]] == word
  # The picture in the middle of a segment decides: pictures 2, 7, 12, ...
  said = [
    next(w for a, b, w in lines(name) if a <= f < b) for f in range(2, 75, 5)
  ]
  expected = [
    grid_files.VOCABULARY.index(w) if w != "sil" else grid_files.SILENCE
    for w in said
  ]
  np.testing.assert_array_equal(got["labels"]["segments/audio"], expected)


def test_pictures_keep_their_order_and_size(published):
  clips = grid_files.read(str(published))
  light_NxF = clips.frame_NxFxHxW.mean((2, 3))  # each is one lighter
  assert (np.diff(light_NxF, axis=1) > -0.5).all()
  np.testing.assert_allclose(light_NxF[:, -1] - light_NxF[:, 0], 74, atol=4)
  assert clips.frame_NxFxHxW.shape[2:] == (20, 28)
  assert clips.mel_NxFxM.shape[1:] == (75, 64)


@pytest.mark.parametrize("at", [12, 40, 61])
def test_what_is_heard_is_heard_when_it_is_seen(at, tmp_path):
  """The picture turns white at a click, of one picture's time."""
  path = str(tmp_path / "bbaazn.mp4")
  images = [filming.grey(220 if i == at else 30, (80, 112)) for i in range(75)]
  sound = filming.click((at + 0.2) / 25, 16000, 3, length=0.02)
  filming.film(path, images, fps=25, sound=sound)
  assert grid_files._pictures(path).mean((1, 2)).argmax() == at
  assert grid_files._sounds(path).astype(np.float32).mean(1).argmax() == at


def test_cosines_are_those_of_scipy():
  from scipy import fft

  frames = np.random.default_rng(0).integers(0, 255, (3, 20, 28), np.uint8)
  for down, right in ((0, 0), (1, -1)):
    crop = frames[:, 1 + down : 19 + down, 1 + right : 27 + right] / 255
    expected = fft.dctn(crop, axes=(1, 2), norm="ortho")[:, :8, :8]
    np.testing.assert_allclose(
      grid.cosines(frames, down, right), expected.reshape(3, -1), atol=1e-5
    )


def test_what_can_be_seen_and_heard(published):
  source = Grid("test", path=str(published))
  shown, features = source.raw(), source[0]["features"]
  for m in ("video", "audio"):
    x = shown[m].at(0)
    assert x.shape == (grid.TIME, grid.SEGMENT, 1, 64)
    np.testing.assert_array_equal(x.reshape(grid.TIME, -1), features[m])
  seen = shown["video"].show(shown["video"].at(0))
  frames = source._clips.frame_NxFxHxW[0] / 255
  assert seen.kind == raw.PICTURES
  # Pictures of one grey are all in their lowest coefficients.
  np.testing.assert_allclose(seen.values, frames[:, 1:-1, 1:-1], atol=0.01)
  heard = shown["audio"].show(shown["audio"].at(0)[:5])
  assert (heard.kind, heard.seconds) == (raw.SOUND, 1.0)
  assert heard.values.shape == (100, 257)
  # A tone is loudest where it is.
  pitch = 300 + 10 * (sum(map(ord, "".join(source._clips.names[0]))) % 90)
  loudest = heard.values.mean(0).argmax() * 16000 / 512
  assert abs(loudest - pitch) < 100


def test_moved_clips_carry_their_words_along(cropped):
  n = len(Grid("train", path=str(cropped)))
  source = Grid("train", path=str(cropped), size=20 * n, moved=2)
  assert len(source) == 20 * n
  still = Grid("train", path=str(cropped))[0]
  moved = [source[i] for i in range(0, 20 * n, n)]
  assert len({x["features"]["audio"].tobytes() for x in moved}) > 3
  assert len({x["labels"]["segments/audio"].tobytes() for x in moved}) > 1
  for x in moved:
    for slot in grid_files.SLOTS:
      assert x["labels"][f"slot/{slot}"] == still["labels"][f"slot/{slot}"]
  for i in (0, 7, -1):
    a, b = source[i], pickle.loads(pickle.dumps(source))[i]
    for m, value in a["features"].items():
      np.testing.assert_array_equal(value, b["features"][m])


def test_aligned_text_says_what_is_said(cropped):
  sample_ = Grid("train", path=str(cropped), aligned=True)[0]
  text_TxF, word_T = (
    sample_["features"]["text"],
    sample_["labels"]["segments/text"],
  )
  assert text_TxF.shape == (15, 64)
  same = (text_TxF[:, None] == text_TxF[None]).all(-1)
  np.testing.assert_array_equal(same, word_T[:, None] == word_T[None])


def test_units_are_those_of_the_train_split(cropped):
  source = Grid("train", path=str(cropped))
  audio = np.stack([source[i]["features"]["audio"] for i in range(len(source))])
  audio = audio.reshape(-1, 64)
  np.testing.assert_allclose(audio.mean(0), 0, atol=0.02)
  assert (audio.std(0) < 1.02).all()


def test_a_second_start_reads_what_was_kept(cropped, monkeypatch):
  first = Grid("test", path=str(cropped))[0]
  grid_files._read.cache_clear()
  monkeypatch.setattr(grid_files, "_clip", None)
  again = Grid("test", path=str(cropped))[0]
  np.testing.assert_array_equal(
    first["features"]["video"], again["features"]["video"]
  )


def test_what_is_missing_is_said(tmp_path, cropped, monkeypatch):
  with pytest.raises(InputError, match="UNIREP_GRID"):
    Grid("train")
  with pytest.raises(InputError, match="does not exist"):
    Grid("train", path=str(tmp_path / "nowhere"))
  with pytest.raises(InputError, match="no video named as a sentence"):
    Grid("train", path=str(tmp_path))
  video(tmp_path / "bbaazn.mp4", "bbaazn", (80, 112))
  with pytest.raises(InputError, match="no alignment, bbaazn"):
    Grid("train", path=str(tmp_path))
  (tmp_path / "bbaazn.align").write_text("0 1000\n")
  with pytest.raises(InputError, match="is no alignment"):
    Grid("train", path=str(tmp_path))
  (tmp_path / "bbaazn.align").write_text("0 75000 sil\n")
  (tmp_path / "bbaazn.mp4").write_bytes(b"cut off")
  with pytest.raises(InputError, match=r"bbaazn\.mp4"):
    Grid("train", path=str(tmp_path))
  (tmp_path / "other.zip").write_bytes(b"nothing")
  with pytest.raises(InputError, match="no zip file"):
    Grid("train", path=str(tmp_path))
  monkeypatch.setenv(grid_files.VARIABLE, str(cropped))
  assert len(Grid("train"))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="no corpus")
def test_the_corpus():
  sizes = [
    len(Grid(s, path=str(SHARED))) for s in ("train", "validation", "test")
  ]
  assert sizes == [600, 200, 200]
