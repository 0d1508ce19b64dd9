"""Files that break naive readers: none may hang, crash or pass for data."""

import io
import os
import struct
import wave
import zlib

import filming
import numpy as np


def make(folder):
  """Writes them all into a folder.

  Returns:
    The names, without their suffixes, of what must fail, of what is no file at
    all, and of what is odd but right.
  """
  folder.mkdir(parents=True, exist_ok=True)
  bad = {**_videos(folder), **_sounds(), **_images(), **_texts(), **_series()}
  for name, content in bad.items():
    (folder / name).write_bytes(content)
  os.mkfifo(folder / "pipe.mp4")
  os.mkfifo(folder / "pipe2.txt")
  (folder / "nowhere.jpg").symlink_to(folder / "is-not-there.jpg")
  (folder / "itself.wav").symlink_to(folder / "itself.wav")
  (folder / "device.wav").symlink_to("/dev/zero")
  (folder / "device2.jpg").symlink_to("/dev/full")
  links = "pipe.mp4", "pipe2.txt", "nowhere.jpg", "itself.wav"
  links += "device.wav", "device2.jpg"
  (folder / "folder.mp4").mkdir()
  (folder / "circle").symlink_to(folder)
  (folder / "note.xyz").write_text("of no kind")
  return {_stem(name) for name in (*bad, *links)}, _odd(folder)


def _odd(folder):
  """What looks strange and is data."""
  sound = filming.tone(440, 16000, 1.0)
  names = ["a\nnew line.wav", "häßlich \U0001f600.wav", " .wav", "a,b;c'\".wav"]
  names += ["-dash.wav", "%d %s.wav", "UPPER.WAV", "concat:a|b.wav"]
  names += [os.fsdecode(b"no utf8 \xff.wav")]
  for name in names:
    filming.wav(folder / name, sound)
  (folder / "inside.mp4").mkdir()
  filming.wav(folder / "inside.mp4" / "deep.wav", sound)
  return {_stem(name) for name in names} | {"inside.mp4/deep"}


def _stem(name):
  return name.rpartition(".")[0]


def _videos(folder):
  images = [filming.grey(i * 10) for i in range(20)]
  good = folder / "good-for-now.mp4"
  sound = filming.tone(440, 16000, 2.0)
  filming.film(good, images, sound=sound)
  at_end = good.read_bytes()
  filming.film(good, images, sound=sound, options={"movflags": "faststart"})
  at_front = good.read_bytes()
  mkv = good.with_suffix(".mkv")
  filming.film(mkv, images, sound=sound, sound_codec="flac")
  matroska = mkv.read_bytes()
  avi = good.with_suffix(".avi")
  filming.film(avi, images, sound=sound, sound_codec="mp2", codec="mpeg4")
  riff = avi.read_bytes()
  for path in (good, mkv, avi):
    path.unlink()
  data = at_front.index(b"mdat")
  holed = bytearray(at_front)
  holed[data + 200 : data + 1200] = bytes(1000)
  noise = np.random.default_rng(0).bytes(50_000)
  list_of_files = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n"
  return {
    "v-zero.mp4": b"",
    "v-one-byte.mp4": b"\0",
    "v-zeros.mp4": bytes(5000),
    "v-noise.mp4": noise,
    "v-cut-half.mp4": at_end[: len(at_end) // 2],
    "v-cut-front.mp4": at_front[: data + (len(at_front) - data) // 2],
    "v-cut-header.mp4": at_front[:100],
    "v-cut-mkv.mkv": matroska[: len(matroska) // 2],
    "v-cut-avi.avi": riff[: len(riff) * 3 // 4],
    "v-hole.mp4": bytes(holed),
    "v-text.mp4": b"this is no film\n" * 100,
    "v-playlist.mp4": (list_of_files + "http://127.0.0.1:9/a.ts\n").encode(),
    "v-concat.mp4": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "v-png.mp4": _png(64, 64),
    "v-wav.mp4": _wav(16000),
    "v-ansi.mp4": b"\x1b[31mred\x1b[0m\n" * 1000,
    "v-noise-mkv.mkv": noise,
    "v-noise-avi.avi": noise,
    "v-noise-ts.ts": noise,
    "v-noise-mpg.mpg": noise,
    "v-html.webm": b"<html>404 Not Found</html>",
    "v-empty-moov.mp4": struct.pack(">I4sI4sII", 16, b"ftyp", 0, b"isom", 8, 0)
    + struct.pack(">I4s", 8, b"moov"),
    "v-huge-box.mp4": struct.pack(">I4s4sI", 16, b"ftyp", b"isom", 0)
    + struct.pack(">I4sQ", 1, b"moov", 2**62),
  }


def _sounds():
  whole = _wav(16000)

  def patched(at, form, value):
    x = bytearray(whole)
    struct.pack_into(form, x, at, value)
    return bytes(x)

  noise = np.random.default_rng(1).bytes(20_000)
  nan = np.full(16000, np.nan, np.float32).tobytes()
  floats = struct.pack("<HHIIHH", 3, 1, 16000, 64000, 4, 32)
  return {
    "s-zero.wav": b"",
    "s-header-only.wav": whole[:44],
    "s-no-header.wav": whole[44:],
    "s-lies-longer.wav": patched(40, "<I", 10_000_000),
    "s-no-channels.wav": patched(22, "<H", 0),
    "s-many-channels.wav": patched(22, "<H", 65535),
    "s-rate-0.wav": patched(24, "<I", 0),
    "s-rate-huge.wav": patched(24, "<I", 4_000_000_000),
    "s-rate-low.wav": patched(24, "<I", 3),
    "s-bits-0.wav": patched(34, "<H", 0),
    "s-codec.wav": patched(20, "<H", 0x1234),
    "s-nan.wav": b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0"
    + floats
    + b"data"
    + struct.pack("<I", len(nan))
    + nan,
    "s-mp4.wav": b"\0\0\0\x18ftypisom" + bytes(200),
    "s-noise-mp3.mp3": noise,
    "s-noise-aac.aac": noise,
    "s-noise-flac.flac": noise,
    "s-noise-ogg.ogg": noise,
    "s-text.mp3": b"this is no sound " * 500,
  }


def _wav(rate, seconds=1.0):
  file = io.BytesIO()
  with wave.open(file, "wb") as out:
    out.setnchannels(1)
    out.setsampwidth(2)
    out.setframerate(rate)
    out.writeframes(
      (filming.tone(440, rate, seconds)[0] * 32767).astype("<i2").tobytes()
    )
  return file.getvalue()


def _png(width, height):
  def chunk(kind, data):
    body = kind + data
    return (
      struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    )

  head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
  row = b"\0" + bytes((width + 7) // 8)
  data = zlib.compress(row * min(height, 10_000), 9)
  return (
    b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", head)
    + chunk(b"IDAT", data)
    + chunk(b"IEND", b"")
  )


def _jpeg():
  from PIL import Image

  file = io.BytesIO()
  x = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
  Image.fromarray(x).save(file, "JPEG")
  return file.getvalue()


def _images():
  jpeg = _jpeg()
  return {
    "i-zero.jpg": b"",
    "i-bomb.png": _png(60_000, 60_000),
    "i-bomb-honest.png": _png(20_000, 10_000),
    "i-lies.png": _png(9_000, 9_000)[:-40],
    "i-wide.png": _png(10_000, 1),
    "i-high.png": _png(1, 10_000),
    "i-dot.png": _png(1, 1),
    "i-cut.jpg": jpeg[: len(jpeg) // 2],
    "i-noise.jpg": np.random.default_rng(2).bytes(5000),
    "i-text.png": b"no picture",
    "i-mp4.jpg": b"\0\0\0\x18ftypisom" + bytes(200),
    "i-svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "i-eps.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "i-gif.gif": b"GIF89a" + bytes(20),
    "i-tiff.tif": b"II*\0" + b"\xff" * 100,
  }


def _texts():
  return {
    "t-zero.txt": b"",
    "t-blank.txt": b" \n\t ",
    "t-long.txt": b"word " * 200_000,
    "t-latin1.txt": "Stra\xdfe".encode("latin-1"),
    "t-utf16.txt": "hello".encode("utf-16"),
    "t-binary.txt": bytes(range(256)),
    "t-nul.txt": b"a\0b",
    "t-no-words.txt": b"!!! ... ???",
  }


def _series():
  good = io.BytesIO()
  np.save(good, np.zeros((100, 2), np.float32))
  objects = io.BytesIO()
  np.save(objects, np.array([{}]), allow_pickle=True)
  other = io.BytesIO()
  np.save(other, np.zeros((100, 3, 4)))
  nan = io.BytesIO()
  np.save(nan, np.full((100, 2), np.nan))
  wide = io.BytesIO()
  np.save(wide, np.zeros((100, 5)))
  return {
    "n-cut.npy": good.getvalue()[:200],
    "n-pickle.npy": objects.getvalue(),
    "n-rank.npy": other.getvalue(),
    "n-nan.npy": nan.getvalue(),
    "n-wide.npy": wide.getvalue(),
    "n-text.csv": b"a,b\nc,d\n",
    "n-ragged.csv": b"1,2\n3\n",
    "n-back.csv": b"time,a,b\n0,1,2\n-1,2,3\n",
    "n-far.csv": b"time,a,b\n0,1,2\n1e300,2,3\n",
    "n-hole.csv": b"1,2\n,3\n",
  }
