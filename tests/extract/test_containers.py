"""What is read of videos and sounds lies where the clock says."""

import struct

import filming
import numpy as np
import pytest

from unirep.extract import containers
from unirep.extract.broken import BrokenError


def shades(count, step=10):
  return [filming.grey(i * step) for i in range(count)]


def seen(track, step=10):
  """Which of `shades` each frame is."""
  return np.round(track.values[:, 1, 1, 1] / step).astype(int).tolist()


def heard(track, start=0.0, rate=16000):
  """When a click begins and ends."""
  loud = np.flatnonzero(np.abs(track.values) > 0.2)
  return start + loud[[0, -1]] / rate


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_frame_is_the_one_that_is_shown(suffix, tmp_path):
  path = tmp_path / f"a{suffix}"
  filming.film(path, shades(12), fps=4)
  times = [0.0, 0.1, 0.26, 0.6, 1.1, 2.9, 2.99, 7.0]
  track = containers.frames(str(path), times, 9.0, (4, 4))
  assert seen(track) == [0, 0, 1, 2, 4, 11, 11, 11]
  assert track.end == pytest.approx(3.0, abs=0.01)


def test_frames_of_the_middle_are_those_of_the_whole(tmp_path):
  """Jumps land before what is wanted, whatever the key frames."""
  path = tmp_path / "a.mp4"
  filming.film(path, [filming.grey(i % 25 * 10) for i in range(100)], fps=5)
  for start in (0.0, 3.3, 11.0, 19.7):
    times = start + np.array([0.01, 0.15])
    track = containers.frames(str(path), times, times[-1] + 0.1, (4, 4))
    expected = [int((t + 1e-9) * 5) % 25 for t in times]
    assert seen(track) == expected
  late = containers.frames(str(path), [30.0], 31.0, (4, 4))
  assert late.end == pytest.approx(20.0, abs=0.01)


def test_frames_of_a_variable_rate(tmp_path):
  path = tmp_path / "a.mp4"
  filming.film(path, shades(5), times=[0, 0.1, 2, 2.04, 3], fps=25)
  times = [0.05, 0.5, 1.9, 2.01, 2.5, 3.01]
  assert seen(containers.frames(str(path), times, 4.0, (4, 4))) == [
    *(0, 1, 1, 2, 3, 4),
  ]


@pytest.mark.parametrize(
  ("suffix", "codec", "rate", "channels"),
  [
    (".wav", "pcm_s16le", 8000, 1),
    (".wav", "pcm_f32le", 96000, 2),
    (".wav", "pcm_u8", 11025, 1),
    (".flac", "flac", 44100, 2),
    (".mp4", "aac", 96000, 1),
    (".mp4", "aac", 44100, 2),
    (".mkv", "flac", 22050, 2),
    (".webm", "libopus", 48000, 1),
    (".mp3", "libmp3lame", 44100, 2),
    (".ogg", "libopus", 16000, 1),
    (".avi", "pcm_s16le", 32000, 2),
  ],
)
def test_a_click_is_heard_when_it_was(suffix, codec, rate, channels, tmp_path):
  path = tmp_path / f"a{suffix}"
  sound = np.tile(filming.click(1.5, rate, 3.0), (channels, 1))
  filming.film(path, sound=sound, rate=rate, sound_codec=codec)
  for start in (-0.5, 0.0, 1.2):
    track = containers.wave(str(path), start, 4.0, 16000)
    assert len(track.values) == round((4 - start) * 16000)
    np.testing.assert_allclose(heard(track, start), [1.5, 1.55], atol=0.003)
    assert track.end == pytest.approx(3.0, abs=0.08)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000, 96000])
def test_a_tone_keeps_its_pitch_and_level(rate, tmp_path):
  path = tmp_path / "a.wav"
  filming.wav(path, filming.tone(1000, rate, 2.0), rate)
  x = containers.wave(str(path), 0.0, 2.0, 16000).values
  assert x.dtype == np.float32
  expected = filming.tone(1000, 16000, 2.0)[0]
  inner = slice(1600, -1600)
  np.testing.assert_allclose(x[inner], expected[inner], atol=0.01)


def test_channels_are_averaged(tmp_path):
  path = tmp_path / "a.wav"
  one = filming.tone(500, 16000, 1.0)[0]
  filming.wav(path, np.stack([one, np.zeros_like(one)]))
  x = containers.wave(str(path), 0.0, 1.0, 16000).values
  np.testing.assert_allclose(x, one / 2, atol=1e-4)


def test_loud_sound_is_clipped(tmp_path):
  path = tmp_path / "a.wav"
  loud = filming.tone(500, 16000, 1.0) * 4
  filming.film(path, sound=loud, sound_codec="pcm_f32le")
  x = containers.wave(str(path), 0.0, 1.0, 16000).values
  np.testing.assert_allclose(x, loud[0].clip(-1, 1), atol=1e-6)


@pytest.mark.parametrize("late", [0.0, 0.7])
def test_sound_and_picture_have_one_clock(late, tmp_path):
  """A flash and a click at 1.7 s, in tracks that begin at other times."""
  path = tmp_path / "a.mp4"
  images = [filming.grey(255 if 17 <= i < 20 else 0) for i in range(40)]
  sound = filming.click(1.7 - late, 16000, 2.0)
  filming.film(path, images, fps=10, sound=sound, sound_from=late)
  track = containers.wave(str(path), 0.0, 4.0, 16000)
  np.testing.assert_allclose(heard(track), [1.7, 1.75], atol=0.02)
  shown = containers.frames(str(path), [1.69, 1.71, 1.99, 2.01], 3.0, (4, 4))
  assert seen(shown, 255) == [0, 1, 1, 0]
  part = containers.wave(str(path), 1.6, 2.0, 16000)
  np.testing.assert_allclose(heard(part, 1.6), [1.7, 1.75], atol=0.02)


def corner(value=255):
  """White where it is top left."""
  image = filming.grey(0)
  image[:24, :32] = value
  return image


@pytest.mark.parametrize(
  ("matrix", "place"),
  [
    ((1, 0, 0, 1), (0, 0)),
    ((0, 1, -1, 0), (0, 1)),  # a phone held upright: a quarter clockwise
    ((-1, 0, 0, -1), (1, 1)),
    ((0, -1, 1, 0), (1, 0)),
  ],
)
def test_frames_are_upright(matrix, place, tmp_path):
  """x' = a x + c y, y' = b x + d y, as a .mp4 writes it: a, b, u, c, d, v."""
  path = tmp_path / "a.mp4"
  filming.film(path, [corner()] * 3)
  content = bytearray(path.read_bytes())
  at = content.index(b"tkhd") + 4 + 4 + 20 + 16  # behind version, times, layers
  a, b, c, d = (x * 2**16 for x in matrix)
  assert struct.unpack_from(">5i", content, at) == (2**16, 0, 0, 0, 2**16)
  struct.pack_into(">5i", content, at, a, b, 0, c, d)
  path.write_bytes(content)
  image = containers.frames(str(path), [0.1], 1.0, (6, 6)).values[0, :, :, 0]
  quarters = image.reshape(2, 3, 2, 3)[:, 1, :, 1]
  expected = np.zeros((2, 2), int)
  expected[place] = 1
  np.testing.assert_array_equal(quarters > 128, expected)


def test_the_middle_is_cut_to_the_shape_that_is_asked_for(tmp_path):
  image = filming.grey(0, (48, 96))
  image[:, 24:72] = 255
  path = tmp_path / "a.mp4"
  filming.film(path, [image] * 3)
  square = containers.frames(str(path), [0.1], 1.0, (8, 8)).values[0]
  assert (square[:, 1:-1] > 230).all()


def test_what_is_not_there_is_none(tmp_path):
  filming.film(tmp_path / "mute.mp4", shades(4))
  filming.film(tmp_path / "dark.mp4", sound=filming.tone(440, 16000, 1.0))
  assert containers.wave(str(tmp_path / "mute.mp4"), 0, 1, 16000) is None
  assert containers.frames(str(tmp_path / "dark.mp4"), [0.5], 1, (4, 4)) is None


def test_a_file_that_ends_early_says_so(tmp_path):
  path = tmp_path / "a.mkv"
  rng = np.random.default_rng(0)
  noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(25)]
  filming.film(path, noise, fps=5)
  content = path.read_bytes()
  path.write_bytes(content[: len(content) * 2 // 3])
  with pytest.raises(BrokenError, match="cut off"):
    containers.frames(str(path), [0.5], 9.0, (4, 4))
  # Only what is asked for has to be there.
  assert containers.frames(str(path), [0.5], 1.0, (4, 4)).end >= 1.0
