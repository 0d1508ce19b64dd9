"""What extraction writes: whole, resumable, and nothing that is broken."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import filming
import hostile
import numpy as np
import pytest

from unirep.extract import assembly, clips, features, samples, store
from unirep.extract.features import Settings
from unirep.runtime.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
ALL = Settings(
  extractors={
    "video": "pixels:height=5,width=5",
    "audio": "logmel:parts=1",
    "text": "words:width=8",
    "image": "pixels:height=5,width=5",
    "sensor": "sensor:rate=50,channels=2",
  },
  seconds=1.0,
  steps=3,
  words=4,
  dtype="float16",
)


def extract(media, folder, settings=ALL, shares=None, **options):
  folder.mkdir(exist_ok=True)
  made = features.front(settings)
  found = samples.find(str(media), clips.columns(made.plan.needs))
  found = samples.divide(found, shares or {})
  options = {"workers": 0, "timeout": 60} | options
  return store.write(found, made, folder, **options)


def rows(path):
  with path.open(encoding="utf-8", errors="surrogateescape", newline="") as f:
    return [*csv.DictReader(f)]


def contents(folder):
  return {
    path.relative_to(folder).as_posix(): path.read_bytes()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_hostile_passes_for_data(workers, tmp_path):
  bad, odd = hostile.make(tmp_path / "in")
  assert len(bad) >= 75
  began = time.monotonic()
  extract(tmp_path / "in", tmp_path / "out", workers=workers, timeout=30)
  assert time.monotonic() - began < 60
  failed = {x["id"]: x for x in rows(tmp_path / "out" / "failed.csv")}
  taken = {x["id"] for x in rows(tmp_path / "out" / "features/samples.csv")}
  assert failed.keys() == bad
  assert taken == odd
  for row in failed.values():
    assert row["reason"], row
    assert row["file"].startswith(str(tmp_path)), row
  assert "cut off" in failed["v-cut-front"]["reason"]
  assert "cut off" in failed["s-lies-longer"]["reason"]


def test_hostile_rows_of_a_table(tmp_path):
  filming.wav(tmp_path / "good.wav", filming.tone(440, 16000, 1.0))
  paths = ["good.wav", "/etc/passwd", "/dev/zero", "..", "http://[::1]:1/a.mp4"]
  paths += ["good.wav\0x", "concat:good.wav|good.wav", "x" * 5000]
  with (tmp_path / "t.csv").open("w", newline="") as file:
    csv.writer(file).writerows([["audio"], *([x] for x in paths)])
  extract(tmp_path / "t.csv", tmp_path / "out")
  failed = [x["id"] for x in rows(tmp_path / "out" / "failed.csv")]
  taken = [x["id"] for x in rows(tmp_path / "out" / "features/samples.csv")]
  assert taken == ["0"]
  assert failed == [str(i) for i in range(1, len(paths))]


def test_samples_of_one_file_share_an_id(tmp_path):
  for name in ("a", "b"):
    filming.wav(tmp_path / f"{name}.wav", filming.tone(440, 16000, 1.0))
  lines = ["b.wav,one", "a.wav,two", "b.wav,three", ",four", ",five"]
  text = "audio,text\n" + "".join(f"{line}\n" for line in lines)
  (tmp_path / "t.csv").write_text(text)
  extract(tmp_path / "t.csv", tmp_path / "out")
  ids = np.load(tmp_path / "out/features/train/label/id.npy").tolist()
  assert ids[0] == ids[2]
  assert len({*ids}) == 4
  assert not (tmp_path / "out/features/train/label/class.npy").exists()


@pytest.fixture
def media(tmp_path):
  folder = tmp_path / "in"
  for name, seconds in (("dog/a", 3), ("dog/b", 2), ("cat/c", 3), ("cat/d", 1)):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.mp4"
    images = [filming.grey(i * 20) for i in range(4 * seconds)]
    sound = None if name == "dog/b" else filming.tone(500, 16000, seconds)
    filming.film(path, images, fps=4, sound=sound)
  (folder / "dog/a.txt").write_text("one two three")
  (folder / "cat/e.mp4").write_bytes(b"")
  return folder


def test_what_is_written(media, tmp_path):
  settings = ALL._replace(
    extractors={k: ALL.extractors[k] for k in ("video", "audio", "text")}
  )
  result = extract(media, tmp_path / "out", settings)
  folder = tmp_path / "out" / "features"
  assert result.new == 5
  assert {x.name for x in (tmp_path / "out").iterdir()} == {
    "features",
    "failed.csv",
  }
  found = rows(folder / "samples.csv")
  assert [(x["id"], x["row"], x["label"], x["segments"]) for x in found] == [
    *(("cat/c", "0", "cat", "3"), ("cat/d", "1", "cat", "1")),
    *(("dog/a", "2", "dog", "3"), ("dog/b", "3", "dog", "2")),
  ]
  train = folder / "train"
  load = {x.stem: np.load(x) for x in train.glob("*.npy")}
  assert {m: (x.shape, x.dtype) for m, x in load.items()} == {
    "video": ((4, 3, 5, 5, 3), np.float16),
    "audio": ((4, 3, 64), np.float16),
    "text": ((4, 4, 8), np.float16),
  }
  length = np.load(train / "length/video.npy")
  np.testing.assert_array_equal(length, [3, 1, 3, 2])
  np.testing.assert_array_equal(np.load(train / "length/text.npy")[2], 3)
  np.testing.assert_array_equal(
    np.load(train / "label/class.npy"), [0, 0, 1, 1]
  )
  lacks = np.isnan(load["audio"]).reshape(4, -1)
  np.testing.assert_array_equal(lacks.all(1), [False, False, False, True])
  np.testing.assert_array_equal(lacks.any(1), lacks.all(1))
  shown = load["video"][0, :, 2, 2, 0].astype(float) * 255 / 20
  np.testing.assert_allclose(shown, [2, 6, 10], atol=0.2)
  assert (load["video"][1, 1:] == 0).all()
  manifest = json.loads((train / "manifest.json").read_text())
  assert manifest["classes"] == {"cat": 0, "dog": 1}
  assert manifest["samples"] == {"train": 4}
  assert manifest["failed"] == 1
  assert manifest["extractors"]["audio"]["name"] == "logmel:parts=1"
  (tmp_path / "out" / "parts").mkdir()  # killed at the very end
  again = extract(media, tmp_path / "out", settings)
  assert not (tmp_path / "out" / "parts").exists()
  assert again == (result.manifest, 0)


def test_a_modality_that_nobody_has_is_left_out(media, tmp_path):
  extract(media, tmp_path / "out")
  train = tmp_path / "out" / "features/train"
  assert {x.stem for x in train.glob("*.npy")} == {"video", "audio", "text"}


def test_what_was_finished_is_not_read_again(media, tmp_path, monkeypatch):
  """Also where a file changes, comes or goes in between."""
  monkeypatch.setattr(store, "CHUNK", 1)
  whole = assembly.assemble
  monkeypatch.setattr(assembly, "assemble", lambda *_: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    extract(media, tmp_path / "out")
  monkeypatch.setattr(assembly, "assemble", whole)
  (tmp_path / "out" / "features.part" / "train").mkdir(parents=True)
  (tmp_path / "out" / "features.part" / "train" / "old.npy").write_bytes(b"x")
  filming.film(media / "dog/a.mp4", [filming.grey(99)] * 12, fps=4)
  result = extract(media, tmp_path / "out")
  assert result.new == 1
  fresh = extract(media, tmp_path / "fresh")
  assert fresh.new == 5
  assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
  (media / "cat/new.txt").write_text("new")
  with pytest.raises(InputError, match="made of other files"):
    extract(media, tmp_path / "out")


def test_nothing_that_can_be_read(tmp_path):
  (tmp_path / "in").mkdir()
  (tmp_path / "in/a.mp4").write_bytes(b"nothing")
  with pytest.raises(InputError, match=r"none of 1 samples.*failed\.csv"):
    extract(tmp_path / "in", tmp_path / "out")
  assert rows(tmp_path / "out" / "failed.csv")[0]["id"] == "a"
  assert {x.name for x in (tmp_path / "out").iterdir()} == {"failed.csv"}


def test_numbers_that_do_not_fit_fail(tmp_path):
  np.save(tmp_path / "a.npy", np.full((100, 2), 1e6))
  np.save(tmp_path / "b.npy", np.full((100, 2), 1.0))
  extract(tmp_path, tmp_path / "out")
  failed = rows(tmp_path / "out" / "failed.csv")
  assert [x["id"] for x in failed] == ["a"]
  assert "no float16" in failed[0]["reason"]


def test_packages_that_are_missing_are_named(monkeypatch):
  monkeypatch.setattr(features.importlib.util, "find_spec", lambda _: None)
  with pytest.raises(InputError, match=r"'PIL': pip install 'unirep\[media\]'"):
    features.front(ALL)
  features.front(ALL._replace(extractors={"text": "words"}))


SCRIPT = '''
import pathlib, resource, sys
from unirep.extract import clips, features, samples, store
from unirep.extract.features import Settings

def peak():
  """MiB of this very program: `ru_maxrss` counts who started it as well."""
  status = pathlib.Path("/proc/self/status").read_text()
  return int(status.split("VmHWM:")[1].split()[0]) // 1024

if __name__ == "__main__":
  media, out, workers = sys.argv[1:]
  made = features.front(Settings(
    {"video": "pixels", "audio": "logmel"}, 0.5, 8, 4, "float32"))
  found = samples.find(media, clips.columns(made.plan.needs))
  found = samples.divide(found, {"test": 0.2})
  pathlib.Path(out).mkdir(exist_ok=True)
  before = peak()
  store.write(found, made, pathlib.Path(out), workers=int(workers), timeout=60)
  children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
  print(before, peak(), children)
'''


def start(tmp_path, media, out, workers):
  script = tmp_path / "script.py"
  script.write_text(SCRIPT)
  command = [sys.executable, str(script), str(media), str(out), str(workers)]
  environment = os.environ | {"PYTHONPATH": str(ROOT)}
  return subprocess.Popen(
    command, env=environment, stdout=subprocess.PIPE, text=True
  )


def copies(folder, count):
  """Files that differ only in names; one of five is broken."""
  folder.mkdir()
  filming.film(
    folder / "0000.mp4",
    [filming.grey(i * 5, (240, 320)) for i in range(40)],
    sound=filming.tone(440, 44100, 4.0),
    rate=44100,
  )
  content = (folder / "0000.mp4").read_bytes()
  for i in range(1, count):
    cut = len(content) if i % 5 else 500
    (folder / f"{i:04}.mp4").write_bytes(content[:cut])
  return folder


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_and_started_again_gives_the_same_bytes(workers, tmp_path):
  media = copies(tmp_path / "in", 130)
  assert start(tmp_path, media, tmp_path / "whole", 1).wait() == 0
  out, kills = tmp_path / "out", 0
  while True:
    process = start(tmp_path, media, out, workers)
    before = len([*(out / "parts").glob("*.npz")])
    while process.poll() is None and kills < 3:
      if len([*(out / "parts").glob("*.npz")]) > before + kills:
        process.send_signal(signal.SIGKILL)
        kills += 1
        break
      time.sleep(0.002)
    if process.wait() == 0:
      break
    assert process.returncode == -signal.SIGKILL
  assert kills == 3
  assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("count", [100, 1000])
def test_memory_is_flat(count, workers, tmp_path):
  media = copies(tmp_path / "in", count)
  process = start(tmp_path, media, tmp_path / "out", workers)
  said, _ = process.communicate()
  assert process.returncode == 0
  before, after, children = map(int, said.split())
  assert after - before < 300
  assert children - before < 300
