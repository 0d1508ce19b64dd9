"""Segments of one sample cover the same time."""

import filming
import numpy as np
import pytest

from unirep.extract import clips, registry
from unirep.extract.clips import Clip, Failure, Plan
from unirep.extract.samples import Sample

NAMES = {
  "video": "pixels:height=4,width=4",
  "audio": "logmel",
  "image": "pixels:height=4,width=4",
  "text": "words",
  "sensor": "sensor:rate=10,channels=1,parts=1",
}


def plan(*modalities, seconds=1.0, steps=4):
  needs = {m: clips.need(registry.extractor(m, NAMES[m])) for m in modalities}
  return Plan(seconds, steps, needs)


def sample(**files):
  fields = {k: files.pop(k) for k in ("start", "end", "text") if k in files}
  return Sample(id="x", files={k: str(v) for k, v in files.items()}, **fields)


@pytest.fixture
def ten(tmp_path):
  """Five seconds: frame i of ten a second is 5 i; a click at 2.5 s."""
  path = tmp_path / "ten.mp4"
  images = [filming.grey(i * 5) for i in range(50)]
  filming.film(path, images, fps=10, sound=filming.click(2.5, 16000, 5.0))
  return path


def middles(clip):
  return np.round(clip.inputs["video"][:, 1, 1, 1] / 5).astype(int).tolist()


def loudest(clip):
  return np.abs(clip.inputs["audio"]).max(1).argmax()


def test_segments_of_picture_and_sound(ten):
  clip = clips.read(sample(video=ten), plan("video", "audio"))
  assert isinstance(clip, Clip)
  assert clip.steps == 4
  assert clip.longer
  assert middles(clip) == [5, 15, 25, 35]
  assert clip.inputs["audio"].shape == (4, 16000)
  assert loudest(clip) == 2
  half = plan("video", "audio", seconds=0.2, steps=30)
  clip = clips.read(sample(video=ten), half)
  assert (clip.steps, clip.longer) == (25, False)
  assert middles(clip)[:25] == [1 + 2 * i for i in range(25)]
  assert loudest(clip) == 12


def test_start_and_end(ten):
  shifted = sample(video=ten, start=1.4, end=3.5)
  clip = clips.read(shifted, plan("video", "audio"))
  assert clip.steps == 2
  assert not clip.longer
  assert middles(clip)[:2] == [19, 29]
  assert loudest(clip) == 1
  with_all = clips.read(sample(video=ten, start=4.6), plan("video", "audio"))
  assert isinstance(with_all, Failure)
  assert "less than half a segment" in with_all.reason


def test_a_segment_counts_from_half_on(tmp_path):
  for seconds, steps in ((2.4, 2), (2.6, 3), (0.6, 1)):
    filming.wav(tmp_path / "a.wav", filming.tone(440, 8000, seconds), 8000)
    clip = clips.read(sample(audio=tmp_path / "a.wav"), plan("audio"))
    assert clip.steps == steps


def test_sound_shorter_than_the_picture(tmp_path):
  path = tmp_path / "a.mp4"
  images = [filming.grey(i * 5) for i in range(40)]
  filming.film(path, images, sound=filming.tone(440, 16000, 2.1))
  clip = clips.read(sample(video=path), plan("video", "audio"))
  assert clip.steps == 2  # what both have
  assert clips.read(sample(video=path), plan("video")).steps == 4
  filming.film(path, images, sound=filming.tone(440, 16000, 0.2))
  clip = clips.read(sample(video=path), plan("video", "audio"))
  assert (clip.inputs.keys(), clip.steps) == ({"video"}, 4)


def test_a_film_without_sound(tmp_path):
  path = tmp_path / "a.mp4"
  filming.film(path, [filming.grey(9)] * 30)
  clip = clips.read(sample(video=path), plan("video", "audio", "text"))
  assert clip.inputs.keys() == {"video"}
  failed = clips.read(sample(video=path), plan("audio"))
  assert failed == Failure(str(path), "holds nothing for any modality")
  failed = clips.read(sample(audio=path), plan("audio"))
  assert failed == Failure(str(path), "holds no sound")


def test_sound_of_its_own_goes_before_that_of_the_film(ten, tmp_path):
  own = tmp_path / "own.wav"
  filming.wav(own, filming.click(0.5, 16000, 5.0))
  clip = clips.read(sample(video=ten, audio=own), plan("video", "audio"))
  assert loudest(clip) == 0


def photo(path, value):
  from PIL import Image

  Image.fromarray(filming.grey(value)).save(path)
  return path


def test_a_photo_stands_still(tmp_path):
  own = photo(tmp_path / "a.png", 77)
  clip = clips.read(sample(image=own), plan("video", "audio"))
  assert clip.steps == 1
  assert (clip.inputs["video"] == 77).all()
  filming.wav(tmp_path / "a.wav", filming.tone(440, 16000, 3.0))
  both = sample(image=own, audio=tmp_path / "a.wav")
  clip = clips.read(both, plan("video", "audio"))
  assert clip.steps == 3
  assert (clip.inputs["video"] == 77).all()
  assert clips.read(both, plan("image")).inputs["image"].shape == (4, 4, 4, 3)


def test_a_window_is_around_the_middle(ten):
  """An extractor that looks at more than a segment gets more, of both sides."""
  made = plan("audio", seconds=0.2, steps=25)
  wide = made.needs["audio"]._replace(window=1.0)
  clip = clips.read(sample(video=ten), made._replace(needs={"audio": wide}))
  assert clip.inputs["audio"].shape == (25, 16000)
  loud = np.abs(clip.inputs["audio"]).max(1) > 0.2
  middle = 0.1 + 0.2 * np.arange(25)
  np.testing.assert_array_equal(loud, np.abs(middle - 2.525) < 0.525)
  # A click 0.4 s behind the middle of segment 10 is 0.9 s behind its begin.
  np.testing.assert_allclose(
    np.flatnonzero(np.abs(clip.inputs["audio"][10]) > 0.2)[0], 14400, atol=40
  )


def test_a_series(tmp_path):
  path = tmp_path / "a.npy"
  np.save(path, np.arange(27)[:, None])
  clip = clips.read(sample(sensor=path), plan("sensor"))
  assert clip.steps == 3
  assert clip.inputs["sensor"].shape == (4, 10, 1)
  np.testing.assert_array_equal(clip.inputs["sensor"][1, :, 0], range(10, 20))
  np.testing.assert_array_equal(clip.inputs["sensor"][2, 7:], 0)
  late = clips.read(sample(sensor=path, start=0.55), plan("sensor"))
  assert late.inputs["sensor"][0, 0, 0] in (5, 6)
  table = tmp_path / "b.csv"
  table.write_text("time,x\n" + "".join(f"{t},{2 * t}\n" for t in range(4)))
  clip = clips.read(sample(sensor=table), plan("sensor"))
  np.testing.assert_allclose(
    clip.inputs["sensor"].ravel()[:31], 0.2 * np.arange(31), atol=1e-6
  )


def test_a_problem_that_is_known_reads_nothing():
  bad = Sample(id="x", files={"video": "/nowhere.mp4"}, problem="too odd")
  assert clips.read(bad, plan("video")) == Failure("/nowhere.mp4", "too odd")


def test_pieces_cover_a_long_file(ten):
  made = plan("video", "audio", steps=2)
  cut = clips.pieces([sample(video=ten, text="t")], made)
  assert [s.id for s in cut] == ["x", "x@2", "x@4"]
  found = [clips.read(s, made) for s in cut]
  assert [c.steps for c in found] == [2, 2, 1]
  assert [middles(c)[: c.steps] for c in found] == [[5, 15], [25, 35], [45]]
  assert not any(c.longer for c in found)
  part = clips.pieces([sample(video=ten, start=1.0, end=4.2)], made)
  assert [(s.start, s.end) for s in part] == [(1.0, 3.0), (3.0, 4.2)]
  # A rest of less than half a segment is no piece.
  assert len(clips.pieces([sample(video=ten, end=4.3)], made)) == 2
  gone = sample(video=ten.with_name("gone.mp4"))
  assert clips.pieces([gone], made) == [gone]
