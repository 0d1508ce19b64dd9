"""Videos and sounds that tests make: what they show at which time is known."""

import fractions
import wave

import numpy as np

TICKS = 1000  # of a second, in which frames are stamped


def grey(value, size=(48, 64)):
  return np.full((*size, 3), value, np.uint8)


def tone(frequency, rate, seconds, channels=1):
  """(channels, samples) float32, half as loud as may be."""
  time = np.arange(round(rate * seconds)) / rate
  x = 0.5 * np.sin(2 * np.pi * frequency * time)
  return np.tile(x.astype(np.float32), (channels, 1))


def click(at, rate, seconds, length=0.05):
  """Silence, and noise for a moment."""
  x = np.zeros((1, round(rate * seconds)), np.float32)
  begin = round(at * rate)
  noise = np.random.default_rng(0).uniform(-0.9, 0.9, round(length * rate))
  x[0, begin : begin + len(noise)] = noise
  return x


def film(
  path,
  images=(),
  times=None,
  fps=10,
  sound=None,
  rate=16000,
  sound_from=0.0,
  rotation=0,
  codec="libx264",
  sound_codec="aac",
  options=None,
):
  """Writes a file.

  Args:
    path: its suffix decides the container.
    images: (H, W, 3) uint8 each.
    times: when each is shown, in seconds; else `fps` decides.
    fps: frames a second.
    sound: (channels, samples) float32.
    rate: of the sound.
    sound_from: when it begins.
    rotation: in degrees, as a phone writes it.
    codec: of frames.
    sound_codec: of the sound.
    options: of the container.
  """
  import av

  with av.open(str(path), "w", options=options or {}) as file:
    video = audio = None
    if len(images):
      video = file.add_stream(codec, rate=fps)
      video.height, video.width = images[0].shape[:2]
      video.pix_fmt = "yuv420p"
      video.codec_context.time_base = fractions.Fraction(1, TICKS)
      video.time_base = fractions.Fraction(1, TICKS)
      if rotation:
        video.set_display_rotation(rotation)
    if sound is not None:
      audio = file.add_stream(sound_codec, rate=rate)
      audio.layout = {1: "mono", 2: "stereo"}[len(sound)]
    times = [i / fps for i in range(len(images))] if times is None else times
    for image, time in zip(images, times, strict=True):
      frame = av.VideoFrame.from_ndarray(image, format="rgb24")
      frame.pts = round(time * TICKS)
      frame.time_base = fractions.Fraction(1, TICKS)
      file.mux(video.encode(frame))
    if video:
      file.mux(video.encode())
    if audio:
      _write_sound(file, audio, sound, rate, sound_from)


def _write_sound(file, stream, sound, rate, sound_from):
  import av

  layout = {1: "mono", 2: "stereo"}[len(sound)]
  resampler = av.AudioResampler(
    format=stream.codec_context.format, layout=layout, rate=rate
  )
  fifo = av.AudioFifo()
  frame = av.AudioFrame.from_ndarray(
    np.ascontiguousarray(sound), format="fltp", layout=layout
  )
  frame.sample_rate = rate
  frame.time_base = fractions.Fraction(1, rate)
  for part in resampler.resample(frame):
    part.pts = None
    fifo.write(part)
  size = stream.codec_context.frame_size or 1024
  at = round(sound_from * rate)
  while (part := fifo.read(size)) or (part := fifo.read(size, partial=True)):
    part.pts, part.time_base = at, fractions.Fraction(1, rate)
    at += part.samples
    file.mux(stream.encode(part))
  file.mux(stream.encode())


def wav(path, sound, rate=16000):
  """16-bit PCM of (channels, samples)."""
  with wave.open(str(path), "wb") as file:
    file.setnchannels(len(sound))
    file.setsampwidth(2)
    file.setframerate(rate)
    file.writeframes((sound.T * 32767).astype("<i2").tobytes())


COLOURS = {"red": (220, 30, 30), "green": (30, 220, 30), "blue": (30, 30, 220)}


def squares(folder, count, seconds=4):
  """Squares that move, each colour a class with its own pitch and caption."""
  rng = np.random.default_rng(0)
  for number, (name, colour) in enumerate(COLOURS.items()):
    (folder / name).mkdir(parents=True)
    for i in range(count):
      images, (x, y) = [], rng.integers(0, 40, 2)
      for t in range(5 * seconds):
        image = grey(rng.integers(0, 60), (64, 64))
        left, top = (x + 2 * t) % 40, (y + t) % 40
        image[top : top + 24, left : left + 24] = colour
        images.append(image)
      pitch = 300 * (number + 1) * 2 ** rng.uniform(-0.1, 0.1)
      sound = tone(pitch, 16000, seconds)
      film(folder / name / f"{i:03}.mp4", images, fps=5, sound=sound)
      caption = folder / name / f"{i:03}.txt"
      caption.write_text(f"a {name} square that moves")
