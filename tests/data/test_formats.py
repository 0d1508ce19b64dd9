"""Features on disk: all formats are the same source, and faults one line."""

import os
import pickle
import shutil
import zipfile

import h5py
import numpy as np
import oneline
import pytest

from unirep.data import arrays, columns, formats, pipeline
from unirep.data import sample as sample_lib
from unirep.runtime.errors import InputError

SIZE = 23


def contents(size=SIZE):
  rng = np.random.default_rng(0)
  return {
    "video": rng.normal(size=(size, 4, 3, 3, 2)).astype(np.float16),
    "audio": rng.normal(size=(size, 4, 6)).astype(np.float32),
    "text": rng.integers(-9, 9, (size, 5, 7), np.int16),
    "note": rng.normal(size=(size, 3)),
    "length/text": rng.integers(1, 6, size),
    "label/class": rng.integers(0, 3, size, np.uint8),
    "label/segments/video": rng.integers(0, 3, (size, 4)),
  }


def npz(path, made, save=np.savez):
  with path.open("wb") as file:  # under any name
    save(file, **made)
  return path


def folder(path, made):
  for key, value in made.items():
    file = path / f"{key}.npy"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, value)
  return path


def hdf5(path, made, **options):
  with h5py.File(path, "w") as file:
    for key, value in made.items():
      file.create_dataset(key, data=value, **options)
  return path


def shards(path, made, write, suffix=""):
  path.mkdir()
  for i, rows in enumerate(np.split(np.arange(SIZE), [9, 10, 20])):
    write(path / f"{i:03d}{suffix}", {k: v[rows] for k, v in made.items()})
  return path


FORMATS = {
  "npz": lambda p, made: npz(p, made),
  "compressed": lambda p, made: npz(p, made, np.savez_compressed),
  "npy": folder,
  "hdf5": hdf5,
  "chunked": lambda p, made: hdf5(p, made, chunks=True, compression="gzip"),
  "shards of npz": lambda p, made: shards(p, made, npz, ".npz"),
  "shards of npy": lambda p, made: shards(p, made, folder),
  "shards of hdf5": lambda p, made: shards(p, made, hdf5, ".h5"),
}


@pytest.fixture(params=[False, True], ids=["small", "large"])
def large(request, monkeypatch):
  """Both ways of data: looked at beforehand, or when read."""
  if request.param:
    monkeypatch.setattr(formats, "CHECKED", 0)
  return request.param


def assert_same_sources(left, right):
  assert len(left) == len(right)
  for i in range(len(left)):
    a, b = left[i], right[i]
    for part in sample_lib.PARTS:
      assert a[part].keys() == b[part].keys()
      for name, x in a[part].items():
        np.testing.assert_array_equal(x, b[part][name], strict=True)


@pytest.mark.parametrize("name", FORMATS)
def test_formats_give_the_same_samples_and_splits(name, tmp_path, large):
  made = contents()
  memory = arrays.Arrays(
    {k: v for k, v in made.items() if "/" not in k},
    {"text": made["length/text"]},
    {k[6:]: v for k, v in made.items() if k.startswith("label/")},
  )
  np.testing.assert_array_equal(
    memory[3]["features"]["video"], made["video"][3].astype(np.float32)
  )
  source = arrays.load(FORMATS[name](tmp_path / "mine", made))
  sample_lib.check_source(source, name)
  assert_same_sources(source, memory)
  ours, theirs = (arrays.split(s, 0.3, 5) for s in (source, memory))
  seen = []
  for a, b in zip(ours, theirs, strict=True):
    assert_same_sources(a, b)
    seen += [a[i]["features"]["note"].tobytes() for i in range(len(a))]
  assert len(set(seen)) == SIZE
  only = arrays.load(tmp_path / "mine", modalities=["note", "video"])
  assert list(only[0]["features"]) == ["note", "video"]
  assert only[0]["lengths"] == {}


@pytest.mark.parametrize("name", FORMATS)
def test_what_workers_get_is_small_and_the_same(name, tmp_path):
  made = contents() | {"audio": np.zeros((SIZE, 4, 5000), np.float32)}
  source = arrays.load(FORMATS[name](tmp_path / "mine", made))
  _ = source[0]  # what was opened is not sent
  train, _ = arrays.split(source, 0.3, 0)
  sent = pickle.dumps(train)
  assert len(sent) < 10_000 < made["audio"].nbytes / 100
  assert_same_sources(pickle.loads(sent), train)


def test_workers_read_what_one_process_reads(tmp_path):
  source = arrays.load(hdf5(tmp_path / "mine", contents()))
  streams = [
    pipeline.batches(source, batch_size=4, seed=7, num_workers=n)
    for n in (0, 2)
  ]
  for _ in range(3):
    a, b = map(next, streams)
    np.testing.assert_array_equal(
      a["features"]["video"], b["features"]["video"]
    )
  for stream in streams:
    stream.close()


def test_rows_are_read_and_not_the_whole(tmp_path, monkeypatch):
  """16 GB that no disk holds: the file is sparse."""
  monkeypatch.chdir(tmp_path)
  shape = (2**17, 2**16)
  rows = np.lib.format.open_memmap("a.npy", "w+", np.float16, shape)
  rows[77_000, 5] = 3.5
  rows[99_000, 6] = np.inf
  del rows
  np.save("b.npy", np.zeros((2**17, 1), np.int8))
  source = arrays.load(tmp_path)
  x = source[77_000]["features"]["a"]
  assert (x.shape, x.dtype, x[0, 5]) == ((1, 2**16), np.float32, 3.5)
  with pytest.raises(InputError, match=r"a\.npy, row 99000.*'a'.*99000, 6\)"):
    source[99_000]


@pytest.mark.parametrize("name", FORMATS)
def test_nan_is_found_by_file_modality_and_sample(name, tmp_path, large):
  made = contents()
  made["audio"][12, 2, 1] = np.nan
  path = FORMATS[name](tmp_path / "mine", made)
  words = r"mine.*features\['audio'\] holds NaN.*\(12, 2, 1\)"
  if large:
    source = arrays.load(path)
    assert np.isfinite(source[11]["features"]["audio"]).all()
    with pytest.raises(InputError, match=words) as error:
      source[12]
    if "shards" in name:
      assert "002" in str(error.value)  # which has rows 10 to 19
      assert "row 2" in str(error.value)
  else:
    with pytest.raises(InputError, match=words) as error:
      arrays.load(path)
  oneline.check(error.value)


def test_a_nan_reaches_the_user_from_a_worker(tmp_path, monkeypatch):
  monkeypatch.setattr(formats, "CHECKED", 0)
  made = contents()
  made["audio"][:, 2, 1] = np.nan
  source = arrays.load(folder(tmp_path / "mine", made))
  stream = pipeline.batches(source, batch_size=4, seed=0, num_workers=1)
  with pytest.raises(InputError, match=r"audio\.npy, row \d+.*NaN"):
    next(stream)
  stream.close()


def test_chunks_of_a_joined_column_are_all_rows(tmp_path, monkeypatch):
  made = contents()
  column = formats.read(shards(tmp_path / "mine", made, folder))["audio"]
  monkeypatch.setattr(columns, "CHUNK", 4 * made["audio"][0].nbytes)
  found = [*column.chunks()]
  assert [len(x) for x in found] == [4, 4, 1, 1, 4, 4, 2, 3]
  np.testing.assert_array_equal(np.concatenate(found), made["audio"])
  np.testing.assert_array_equal(column[-1], made["audio"][-1])
  with pytest.raises(IndexError):
    column[SIZE]


def test_foreign_byte_order_and_fortran_order(tmp_path):
  """The first is read; the second in .npz, where all of a member is read."""
  made = contents()
  made["audio"] = made["audio"].astype(">f4")
  path = folder(tmp_path / "npy", made)
  assert_same_sources(arrays.load(path), arrays.load(npz(tmp_path / "z", made)))
  turned = made | {"audio": np.asfortranarray(made["audio"])}
  assert_same_sources(
    arrays.load(npz(tmp_path / "f", turned)), arrays.load(path)
  )


def test_names_beyond_ascii(tmp_path):
  made = {"vidéo": np.ones((3, 2), np.float32), "音": np.ones((3, 4, 1))}
  made["length/音"] = np.array([1, 2, 3])
  for name, write in FORMATS.items():
    if "shards" not in name:
      source = arrays.load(write(tmp_path / f"données {name}", made))
      assert set(source[2]["features"]) == {"vidéo", "音"}
      assert source[2]["lengths"]["音"] == 3


# What is broken, and what the line says.


def cut(path):
  path.write_bytes(path.read_bytes()[:-5])


def replace(key, value):
  def change(path):
    np.save(path / f"{key}.npy", value, allow_pickle=True)

  return change


def write_bytes(name, data):
  def change(path):
    (path / name).write_bytes(data)

  return change


def loop(path):
  (path / "audio.npy").unlink()
  (path / "audio.npy").symlink_to("audio.npy")


def pipe(path):
  (path / "audio.npy").unlink()
  os.mkfifo(path / "audio.npy")


def hostile_header(path):
  header = "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 2)}\n"
  data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
  (path / "audio.npy").write_bytes(data + header.encode())


def outer(path):
  (path / "npz.npz").touch()


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda p: cut(p / "audio.npy"), r"audio\.npy.*cut off"),
    (lambda p: cut(p / "length/text.npy"), r"length/text\.npy.*cut off"),
    (replace("audio", np.asfortranarray(np.ones((SIZE, 4, 6)))), "Fortran"),
    (replace("audio", np.array([[{}]] * SIZE)), "Python objects"),
    (replace("audio", np.float32(3)), r"shape is \(\)"),
    (replace("audio", np.ones(SIZE)), r"'audio'.*\(23,\)"),
    (replace("audio", np.ones((SIZE, 0))), "non-empty"),
    (replace("audio", np.ones((SIZE, 2), complex)), "real numbers"),
    (replace("audio", np.ones((SIZE, 2), [("a", "f4")])), "real numbers"),
    (replace("audio", np.ones((SIZE - 1, 2))), "23 samples.*22"),
    (replace("label/class", np.ones(SIZE)), "integer"),
    (replace("label/class", np.ones(SIZE + 1, int)), "24 samples"),
    (replace("length/text", np.full(SIZE, 9)), r"1\.\.5, got 9"),
    (replace("length/smell", np.ones(SIZE, int)), "no modality of that name"),
    (write_bytes("audio.npy", b""), r"audio\.npy: cannot read"),
    (write_bytes("audio.npy", b"\x93NUMPY\x09\x00"), r"audio\.npy"),
    (write_bytes("audio.npy", b"nonsense" * 9), r"audio\.npy.*magic"),
    (pipe, r"audio\.npy.*no file"),
    (hostile_header, r"shape is \(-3, 2\)"),
    (loop, r"audio\.npy.*[Ss]ymbolic links"),
    (outer, r"both audio\.npy and npz\.npz"),
    (lambda p: folder(p / "labels", {"class": np.ones(3)}), "labels"),
  ],
)
def test_broken_folders_are_named(change, words, tmp_path, large):
  path = folder(tmp_path / "mine", contents())
  change(path)
  refused(path, words)


def refused(path, words):
  with pytest.raises(InputError, match=words) as error:
    arrays.load(path)
  assert str(path) in str(error.value)
  oneline.check(error.value)


def add(key):
  return lambda p: folder(p / "002", {key: np.ones((10, 2))})


def remove(name):
  def change(path):
    for file in sorted((path / name).rglob("*"), reverse=True):
      file.rmdir() if file.is_dir() else file.unlink()
    (path / name).rmdir()

  return change


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (remove("001"), "shard 1 is missing between 000 and 003"),
    (add("smell"), "002 has 'smell', but .*000 has not"),
    (lambda p: (p / "001/note.npy").unlink(), "000 has 'note', but .*001 has"),
    (lambda p: (p / "001/x").symlink_to(p / "001"), ""),
    (lambda p: (p / "004").mkdir(), "004 holds no .npy"),
    (lambda p: (p / "004").symlink_to("."), "004 holds no .npy|004 has"),
    (lambda p: (p / "004.npz").symlink_to("absent"), "004.npz: no such file"),
    (add("audio"), r"002: 'audio' is \(10, 2\), but \(9, 4, 6\)"),
    (lambda p: np.save(p / "001/note", np.ones((3, 3))), "001: .*3 samples"),
  ],
)
def test_broken_shards_are_named(change, words, tmp_path, large):
  path = shards(tmp_path / "mine", contents(), folder)
  change(path)
  if not words:  # a loop within is not followed
    assert len(arrays.load(path)) == SIZE
  else:
    refused(path, words)


def linked(link):
  def write(path):
    hdf5(path.with_name("other"), contents())
    with h5py.File(path, "w") as file:
      file["audio"] = link

  return write


def external(path):
  with h5py.File(path, "w") as file:
    file.create_dataset(
      "audio", (3, 4), "f4", external=[(path.with_name("raw"), 0, 48)]
    )


def virtual(path):
  other = hdf5(path.with_name("other"), contents())
  with h5py.File(path, "w") as file:
    layout = h5py.VirtualLayout((SIZE, 4, 6), "f4")
    layout[:] = h5py.VirtualSource(other, "audio", (SIZE, 4, 6))
    file.create_virtual_dataset("audio", layout)


def circle(path):
  with h5py.File(path, "w") as file:
    file.create_group("label")["label"] = file["/"]


def scalar(path):
  with h5py.File(path, "w") as file:
    file["audio"] = 3.0


def words_of(path):
  with h5py.File(path, "w") as file:
    file["audio"] = [["a"], ["b"]]


def member(path, key, data):
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr(key, data)


@pytest.mark.parametrize(
  ("write", "words"),
  [
    (linked(h5py.ExternalLink("other", "audio")), "'audio' is a link"),
    (linked(h5py.SoftLink("/absent")), "'audio' is a link"),
    (external, "another file"),
    (virtual, "another file"),
    (circle, "nested too deep"),
    (scalar, r"shape \(\)"),
    (words_of, "real numbers"),
    (lambda p: hdf5(p, {"wrong/key": np.ones((2, 2))}), "key 'wrong/key'"),
    (lambda p: hdf5(p, {}), "at least one modality"),
    (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n nonsense"), "cannot read"),
    (lambda p: p.write_bytes(b"not an HDF5 file"), "is not an .npz or HDF5"),
    (lambda p: p.write_bytes(b""), "is not an .npz or HDF5"),
    (lambda p: p.mkdir(), "holds no features"),
    (lambda p: p.symlink_to(p), "no such file"),
    (lambda p: None, "no such file"),
    (lambda p: member(p, "audio.npy", b"nonsense" * 9), "key 'audio'"),
    (lambda p: npz(p, {"x/audio": np.ones((2, 2))}), "unknown key 'x/audio'"),
    (lambda p: npz(p, {"audio": np.array([[{}]])}), "key 'audio'.*objects"),
    (lambda p: cut(npz(p, contents())), "is not an .npz or HDF5"),
  ],
)
def test_broken_files_are_named(write, words, tmp_path, large):
  path = tmp_path / "mine"
  write(path)
  refused(path, words)


def test_a_damaged_small_npz_is_found_beforehand(tmp_path):
  path = npz(tmp_path / "mine", {"audio": np.ones((500, 2))})
  path.write_bytes(path.read_bytes().replace(b"\xf0?", b"\xf1?"))
  refused(path, "'audio' is damaged")


def test_a_zipped_folder_is_an_npz(tmp_path):
  path = folder(tmp_path / "mine", contents())
  zipped = shutil.make_archive(str(tmp_path / "zip"), "zip", path)
  assert_same_sources(arrays.load(zipped), arrays.load(path))


def test_a_run_may_lie_beside_the_features(tmp_path):
  path = folder(tmp_path / "mine", contents())
  (path / "run").mkdir()
  (path / "run" / "config.json").write_text("{}")
  assert len(arrays.load(path)) == SIZE


def test_only_numbers_from_0_or_1_are_counted(tmp_path):
  for names in (("20240131", "20240201"), ("a3", "b9"), ("07", "09")):
    path = tmp_path / names[0]
    for name in names:
      folder(path / name, {"a": np.ones((2, 3))})
    assert len(arrays.load(path)) == 4


def test_vectors_in_memory_are_sequences_of_one_step():
  """Whoever takes all of an array finds the shape that samples have."""
  x = np.arange(6, dtype=np.float16).reshape(2, 3)
  kept = arrays.Arrays({"a": x}).features["a"]
  assert (kept.shape, kept.dtype) == ((2, 1, 3), np.float16)


@pytest.mark.parametrize("name", ["npy", "hdf5", "compressed"])
def test_a_file_that_goes_away_is_named(name, tmp_path):
  path = FORMATS[name](tmp_path / "mine", contents())
  source = pickle.loads(pickle.dumps(arrays.load(path)))  # nothing is open
  path.rename(tmp_path / "elsewhere")
  with pytest.raises(InputError, match=r"mine.*cannot read rows 3 to 3"):
    source[3]


def test_a_file_that_was_cut_since_is_named(tmp_path):
  path = folder(tmp_path / "mine", contents())
  source = arrays.load(path)
  cut(path / "audio.npy")
  with pytest.raises(InputError, match=r"audio\.npy.*rows 22 .*ends before"):
    source[22]


@pytest.mark.parametrize("large", [False, True])
def test_rows_that_are_all_nan_may_be_missing(tmp_path, monkeypatch, large):
  if large:
    monkeypatch.setattr(formats, "CHECKED", 0)
  audio = np.ones((4, 3, 2), np.float16)
  audio[1] = np.nan
  np.save(tmp_path / "audio.npy", audio)
  np.save(tmp_path / "note.npy", np.ones((4, 5), np.float32))
  found = arrays.load(tmp_path, missing=True)
  here = [bool(found[i]["present"]["audio"]) for i in range(4)]
  assert here == [True, False, True, True]
  assert not found[1]["features"]["audio"].any()
  assert (found[0]["features"]["audio"] == 1).all()
  with pytest.raises(InputError, match="NaN"):
    arrays.load(tmp_path)[1]
  audio[2, 0, 0] = np.nan  # of a part of a sample
  np.save(tmp_path / "audio.npy", audio)
  with pytest.raises(InputError, match="NaN"):
    arrays.load(tmp_path, missing=True)[2]
  audio[2] = 1
  np.save(tmp_path / "audio.npy", audio)
  np.save(
    tmp_path / "note.npy", np.where(np.arange(4)[:, None] == 1, np.nan, 1)
  )
  with pytest.raises(InputError, match="sample 1 lacks every modality"):
    arrays.load(tmp_path, missing=True)[1]
