"""Small corpora in the layouts of GRID, UTD-MHAD and spoken digits."""

import filming
import numpy as np
import soundfile

from unirep.data.datasets import grid, grid_files

# Two of each split: letter + digit + colour are 0, 1 and 2 modulo 5.
NAMES = ("bbaazn", "lgwa4s", "bbabzn", "lbaf1p", "bbaczn", "srwazs")
ENDS = {"sil": 20, "0": 28, "1": 33, "2": 36, "3": 42, "4": 50, "5": 60}


def lines(name):
  words = [*grid.spoken(name).values()]
  start = 0
  for key, end in [*ENDS.items(), ("end", 75)]:
    yield start, end, words[int(key)] if key.isdigit() else "sil"
    start = end


def video(path, name, size, seconds=3):
  """Each picture is lighter than the one before; the pitch is the name's."""
  grey = 40 + sum(map(ord, name)) % 60
  images = [filming.grey(grey + i, size) for i in range(25 * seconds)]
  pitch = 300 + 10 * (sum(map(ord, name)) % 90)
  sound = filming.tone(pitch, 16000, seconds)
  filming.film(path, images, fps=25, sound=sound)


def talker(folder):
  """The layout of the corpus: whole pictures, and .align files."""
  (folder / "s1").mkdir(parents=True)
  (folder / "align").mkdir()
  for name in NAMES:
    video(folder / "s1" / f"{name}.mp4", name, grid_files.PICTURE)
    text = "".join(f"{1000 * a} {1000 * b} {w}\n" for a, b, w in lines(name))
    (folder / "align" / f"{name}.align").write_text(text)
  (folder / "s1" / "notes.txt").write_text("not a clip")
  return folder


def actions(count=24):
  """Sequences in which every sensor says how much of the time is over."""
  rng = np.random.default_rng(0)
  seconds = rng.uniform(1.5, 4, count)
  length = {
    m: np.round(seconds * rate).astype(np.int32)
    for m, rate in (("inertial", 80), ("skeleton", 30), ("depth", 15))
  }
  shape = {"inertial": (6,), "skeleton": (20, 3), "depth": (30, 30)}
  arrays = {
    m: np.concatenate(
      [
        np.linspace(0, 1, n)[(slice(None), *[None] * len(shape[m]))]
        * 200
        * (1 + np.arange(np.prod(shape[m])).reshape(shape[m]))
        / np.prod(shape[m])
        for n in length[m]
      ]
    ).astype(np.uint8 if m == "depth" else np.float32)
    for m in shape
  }
  return {
    **arrays,
    **{f"length_{m}": x for m, x in length.items()},
    "action": (np.arange(count) % 27 + 1).astype(np.int8),
    "subject": (np.arange(count) % 8 + 1).astype(np.int8),
    "trial": np.ones(count, np.int8),
  }


def tone(hertz, seconds=0.4, level=0.1):
  t = np.arange(int(8000 * seconds)) / 8000
  return level * np.sin(2 * np.pi * hertz * t)


def wav(path, wave, rate=8000):
  soundfile.write(path, wave, rate, format="WAV", subtype="PCM_16")


def make_fsdd(folder):
  """Ten tones by two speakers in takes 0 (test) and 5 (train)."""
  (folder / "recordings").mkdir(parents=True)
  for digit in range(10):
    for speaker in ("ann", "bob"):
      for take in (0, 5):
        wav(
          folder / f"recordings/{digit}_{speaker}_{take}.wav",
          tone(200 + 300 * digit + 5 * take + 10 * (speaker == "bob")),
        )
  (folder / "recordings/notes.wav").write_bytes(b"not a recording")
  return folder
