"""Extractors without weights against references by hand."""

import itertools
import math

import numpy as np
import oneline
import pytest

from unirep.extract import logmel, registry, words
from unirep.extract.logmel import LogMel
from unirep.runtime.errors import InputError


def naive_log_mel(x, how):
  """From the definitions: a sum of cosines and sines, triangles in mels."""
  length, hop = round(how.frame * how.rate), round(how.hop * how.rate)
  size = 2 ** math.ceil(math.log2(length))
  time = np.arange(length)
  window = 0.5 - 0.5 * np.cos(2 * np.pi * time / length)
  angle = 2 * np.pi * np.outer(np.arange(size // 2 + 1), time) / size
  hertz = np.arange(size // 2 + 1) * how.rate / size

  def mel(f):
    return 2595 * np.log10(1 + f / 700)

  corners = np.linspace(mel(how.low), mel(how.high), how.bands + 2)
  frames = []
  for begin in range(0, len(x) - length + 1, hop):
    part = x[begin : begin + length].astype(np.float64) * window
    magnitude = np.hypot(np.cos(angle) @ part, np.sin(angle) @ part)
    bands = []
    for low, peak, high in zip(corners, corners[1:], corners[2:], strict=False):
      weight = np.interp(mel(hertz), [low, peak, high], [0, 1, 0])
      weight[0] = 0
      bands.append(weight @ magnitude)
    frames.append(np.log(np.array(bands) + how.offset))
  return np.array(frames)


@pytest.mark.parametrize(
  "how",
  [
    LogMel(),
    LogMel(rate=8000, bands=20, low=0, high=4000, offset=1e-3),
    LogMel(rate=22050, frame=0.032, hop=0.007, bands=40, low=50, high=11025),
  ],
)
def test_log_mel_equals_its_definition(how):
  rng = np.random.default_rng(0)
  time = np.arange(how.rate // 4) / how.rate
  noise = rng.normal(0, 0.2, len(time))
  # A loud tone beside silence: where single precision would show.
  chirp = 0.9 * np.sin(2 * np.pi * (300 + 2000 * time) * time)
  for wave in (noise, chirp, np.zeros_like(time)):
    wave = wave.astype(np.float32)
    ours = logmel.log_mel(wave[None], how)[0]
    theirs = naive_log_mel(wave, how)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_vggish_has_96_frames_of_64_bands():
  second = np.zeros((2, 15600), np.float32)
  assert logmel.log_mel(second, LogMel()).shape == (2, 96, 64)


def test_logmel_is_the_mean_of_each_part():
  e = registry.extractor("extractors.audio", "logmel:parts=3,bands=8")
  rng = np.random.default_rng(0)
  wave = rng.uniform(-1, 1, (2, 16000)).astype(np.float32)
  found = e.load().run(wave)
  assert found.shape == (2, *e.shape) == (2, 24)
  frames = logmel.log_mel(wave, LogMel(parts=3, bands=8))
  cut = [0, 32, 65, 98]
  expected = [frames[:, a:b].mean(1) for a, b in itertools.pairwise(cut)]
  np.testing.assert_allclose(found, np.concatenate(expected, 1), atol=1e-6)


@pytest.mark.parametrize("seconds", [0.01, 0.2, 1.0])
def test_a_window_has_a_frame_for_every_part(seconds):
  e = registry.extractor("extractors.audio", "logmel:parts=7")
  samples = round(max(e.window, seconds) * e.rate)
  assert e.load().run(np.zeros((1, samples), np.float32)).shape == (1, 7 * 64)


def test_pixels_are_colours_from_0_to_1():
  e = registry.extractor("extractors.video", "pixels:height=5,width=6")
  assert (e.size, e.shape) == ((5, 6), (5, 6, 3))
  image = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(1, 5, 6, 3)
  image[0, 4, 5, 2] = 255
  np.testing.assert_allclose(e.load().run(image), image / 255, rtol=1e-6)


def test_a_sensor_with_as_many_parts_as_samples_is_itself():
  e = registry.extractor("x", "sensor:rate=10,channels=3,parts=4")
  series = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
  np.testing.assert_array_equal(e.load().run(series), series.reshape(2, 12))
  halves = registry.extractor("x", "sensor:rate=10,channels=3,parts=2").load()
  np.testing.assert_allclose(
    halves.run(series)[:, 3:], series[:, 2:].mean(1), rtol=1e-6
  )
  with pytest.raises(InputError, match="parts=4"):
    e.load().run(series[:, :3])


def test_words_are_the_same_wherever_they_stand():
  e = registry.extractor("extractors.text", "words:width=300")
  run = e.load().run
  one, two, none = run(["A red DOG, it's", "dog (red)!", "!?"])
  assert one.shape == (4, 300)
  assert none.shape == (0, 300)
  np.testing.assert_array_equal(one[2], two[0])
  np.testing.assert_array_equal(one[1], two[1])
  assert abs(np.corrcoef(one[1], one[2])[0, 1]) < 0.3
  many = np.stack([words.vector(str(i), 300) for i in range(300)])
  assert abs(many.mean()) < 0.02
  assert abs(many.std() - 1) < 0.02


def test_words_are_the_same_in_every_version():
  """Codes of captions would change with them."""
  expected = [1.7273612, 0.4001153, 0.6327257]
  np.testing.assert_allclose(words.vector("dog", 3), expected, rtol=1e-6)


@pytest.mark.parametrize(
  ("name", "match"),
  [
    ("vgish", "is not one of"),
    ("logmel:bands", "bands must be int"),
    ("logmel:bans=3", "'bans' is no option"),
    ("logmel:high=9000", "half of rate"),
    ("logmel:parts=0", "1 or more"),
    ("logmel:rate=nan", "rate must be int"),
    ("logmel:low=nan", "0 or more"),
    ("pixels:height=0", "1 or more"),
    ("sensor", "how many numbers"),
    ("sensor:channels=-1", "1 or more"),
    ("words:width=1", "2 or more"),
  ],
)
def test_bad_names_are_one_line(name, match):
  with pytest.raises(InputError, match=match) as error:
    registry.extractor("extractors.x", name)
  oneline.check(error.value)


def test_arguments_of_those_that_take_none(monkeypatch):
  monkeypatch.setitem(registry.EXTRACTORS, "plain", lambda: None)
  monkeypatch.setitem(registry.EXTRACTORS, "onnx", lambda argument: argument)
  assert registry.extractor("x", "onnx:a:b.onnx") == "a:b.onnx"
  with pytest.raises(InputError, match="takes no argument"):
    registry.extractor("x", "plain:3")
  with pytest.raises(InputError, match="onnx:ARGUMENT"):
    registry.extractor("x", "onnx")
