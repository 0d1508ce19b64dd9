"""The annotation files of the field: the real ones, and ones broken here.

The real files lie in `../shared/data/annotations` beside the repository; their
tests skip where that folder is absent.
"""

import logging
import pathlib

import h5py
import numpy as np
import oneline
import pytest

from unirep.data import hdf5
from unirep.data.annotations import clips, per_second, tables
from unirep.runtime.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared/data/annotations"
AVE, AVVP = REAL / "AVE", REAL / "AVVP"
SHARED_12, UCF = REAL / "AVE_AVVP", REAL / "UCF101"
ANNOTATIONS = AVE / "Annotations.txt"
AVVP_CLASSES = AVVP / "AVVP_Categories.txt"
CLASSES_12 = SHARED_12 / "AVE_AVVP_Categories.txt"
UCF_LISTS = UCF / "UCF101sameVGGSound.txt", UCF / "VGGSoundsameUCF101.txt"
real = pytest.mark.skipif(not REAL.exists(), reason=f"no {REAL}")


@pytest.fixture(autouse=True)
def log(caplog):
  caplog.set_level(logging.INFO)
  return caplog


@pytest.fixture
def put(tmp_path):
  """Writes one file and returns its path."""

  def write(name, text):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path

  return write


@pytest.fixture
def put_h5(tmp_path):

  def write(name, **arrays):
    with h5py.File(tmp_path / name, "w") as file:
      for key, value in arrays.items():
        file[key] = value
    return tmp_path / name

  return write


def refuses(words, call, *args, **kwargs):
  """The call raises one line that has `words` in it, in this order."""
  with pytest.raises(InputError) as error:
    call(*args, **kwargs)
  message = str(error.value)
  oneline.check(message)
  at = 0
  for word in words:
    assert str(word) in message[at:], message
    at = message.index(str(word), at) + len(str(word))


def lines(log, name):
  """The logged lines, without the folders of the file that they begin with."""
  found = [record.getMessage() for record in log.records]
  assert all("\n" not in line for line in found)
  return [line.split(name, 1)[1] for line in found if name in line]


def check_labels(events, size, classes):
  label_NxTxC = events.label_NxTxC
  assert label_NxTxC.shape == (size, 10, classes + 1)
  assert label_NxTxC.dtype == np.int8
  assert len(events.names) == classes
  assert len(events.ids_N) == len(events.split_N) == len(events.index_N) == size
  assert set(np.unique(label_NxTxC)) == {0, 1}
  np.testing.assert_array_equal(
    label_NxTxC[..., -1] == 1, ~label_NxTxC[..., :-1].any(-1)
  )


def seconds(events, video, name):
  """The seconds in which a video has a class."""
  row = events.ids_N.tolist().index(video)
  label_TxC = events.label_NxTxC[row]
  names = [*events.names, "background"]
  return np.flatnonzero(label_TxC[:, names.index(name)]).tolist()


def assert_same(left, right):
  for field in ("ids_N", "label_NxTxC", "names", "split_N", "index_N"):
    np.testing.assert_array_equal(getattr(left, field), getattr(right, field))


# AVE, the real file


@real
def test_ave_has_its_rows_classes_and_one_empty_event(log):
  events = per_second.ave(ANNOTATIONS)
  check_labels(events, 4143, 28)
  assert events.names[0] == "Church bell"
  assert sum("," in name for name in events.names) == 7
  assert len(set(events.ids_N)) == 4097
  np.testing.assert_array_equal(events.index_N, np.arange(4143))
  assert set(events.split_N) == {""}
  label_NxTxC = events.label_NxTxC
  assert label_NxTxC.sum() == 41430, "one class a second"
  assert np.flatnonzero(label_NxTxC[..., -1].all(1)).tolist() == [26]
  assert round(label_NxTxC[..., -1].mean(), 3) == 0.171
  assert seconds(events, "MH3m4AwEcRY", "Church bell") == [6, 7]
  assert lines(log, "Annotations.txt") == [
    ", line 27: sample 26 (VWi2ENBuTbw, Church bell) lasts from 0 to 0; all"
    " background"
  ]


@real
def test_ave_copes_with_a_header(log):
  with_header = AVE / "codaar_with_header" / "Annotations.txt"
  assert_same(per_second.ave(ANNOTATIONS), per_second.ave(with_header))
  assert ", line 28: sample 26 " in log.messages[1]


@real
def test_ave_labels_equal_the_published_ones():
  pytest.importorskip("h5py")
  label_NxTxC = per_second.ave(ANNOTATIONS).label_NxTxC
  on_NxT = hdf5.array(AVE / "labels_closs.h5", "avadataset")
  np.testing.assert_array_equal(label_NxTxC[..., :-1].any(-1), on_NxT)
  weak_NxC = hdf5.array(AVE / "mil_labels.h5", "avadataset")
  assert not weak_NxC[:, -1].any()
  differ_N = (label_NxTxC.any(1) != weak_NxC)[:, :-1].any(1)
  assert np.flatnonzero(differ_N).tolist() == [26]  # has no second of its class


@real
def test_ave_splits_and_the_videos_they_share(log):
  pytest.importorskip("h5py")
  events = per_second.ave(ANNOTATIONS, AVE)
  count = {
    s: int(np.sum(events.split_N == s)) for s in ("train", "val", "test")
  }
  assert count == {"train": 3339, "val": 402, "test": 402}
  assert events.split_N[26] == "train"
  shared = per_second.shared_ids(events.ids_N, events.split_N)
  assert len(shared) == 18
  sides = [set(events.ids_N[events.split_N == s]) & set(shared) for s in count]
  assert [len(side) for side in sides] == [18, 10, 8]
  assert lines(log, "Annotations.txt")[1] == (
    ": 18 videos are in train and also in val or test; see shared_ids"
  )
  kept_N = ~np.isin(events.ids_N, shared)
  assert not len(
    per_second.shared_ids(events.ids_N[kept_N], events.split_N[kept_N])
  )


# AVE -> AVVP, the real files


@real
def test_ave_avvp_is_ave_with_twelve_other_names():
  pytest.importorskip("h5py")
  events = per_second.ave_avvp(
    ANNOTATIONS,
    SHARED_12 / "ave_avvp_labels.h5",
    SHARED_12 / "ave_avvp_order.h5",
    CLASSES_12,
    AVE,
  )
  check_labels(events, 1831, 12)
  assert (events.label_NxTxC.sum(-1) == 1).all()
  split, count = np.unique(events.split_N, return_counts=True)
  assert dict(zip(split, count, strict=True)) == {
    "train": 1475,
    "val": 178,
    "test": 178,
  }
  assert (np.diff(events.index_N) > 0).all()
  assert events.index_N[[0, -1]].tolist() == [364, 3986]
  ave = per_second.ave(ANNOTATIONS)
  np.testing.assert_array_equal(events.ids_N, ave.ids_N[events.index_N])
  old_N = ave.label_NxTxC[events.index_N, :, :-1].any(1).argmax(1)
  new_N = events.label_NxTxC[..., :-1].any(1).argmax(1)
  pairs = {
    (ave.names[a], events.names[b]) for a, b in zip(old_N, new_N, strict=True)
  }
  assert len(pairs) == 12
  assert {("Bark", "Dog"), ("Race car, auto racing", "Car")} <= pairs


@real
@pytest.mark.parametrize(
  ("side", "videos"), [("audio", 1084), ("visual", 1032)]
)
def test_avvp_side_of_the_twelve_classes(side, videos, log):
  name = f"AVE_AVVP_eval_{side}_checked"
  combined = per_second.avvp(SHARED_12 / f"{name}_combined.csv", CLASSES_12)
  check_labels(combined, videos, 12)
  # One file is TAB separated and the other by commas.
  checked = per_second.avvp(SHARED_12 / f"{name}.csv", CLASSES_12)
  assert_same(combined, checked)
  if side == "visual":
    assert not log.messages
  else:
    assert seconds(combined, "KvIjsmANkxI", "Cat") == [0, 3, 4, 5, 6, 8, 9]
    found = lines(log, f"{name}_combined.csv, line 64")
    assert found[0] == (
      "6: filename 'KvIjsmANkxI_10_20`' read as 'KvIjsmANkxI_10_20'"
    )
    assert found[1].startswith("7: KvIjsmANkxI_10_20 merged with")


# AVVP, the real files

# The names of 1846 and 1661 rows are 1844 and 1661; less the backtick's twin
# and the name of 370 seconds, these are the videos.
VIDEOS = {"audio": 1842, "visual": 1660}


@real
@pytest.mark.parametrize("side", VIDEOS)
def test_avvp_versions_agree(side):
  events = {
    version: per_second.avvp(
      AVVP / f"AVVP_eval_{side}{version}.csv", AVVP_CLASSES, splits=AVVP
    )
    for version in ("", "_checked", "_checked_combined")
  }
  for one in events.values():
    check_labels(one, VIDEOS[side], 25)
    assert len(set(one.ids_N)) == VIDEOS[side]
    lost = set(one.ids_N[one.split_N == ""])
    assert lost == {"AkAfFL5Q4QA", "12eWNawPekw"}
    assert set(one.split_N) == {"", "val", "test"}
  assert_same(events["_checked"], events["_checked_combined"])
  # The name of two rows was mended after they had been dropped as damaged.
  late = {"audio": ["JfZEqeLZqWk"], "visual": []}[side]
  full, checked = events[""], events["_checked"]
  np.testing.assert_array_equal(full.ids_N, checked.ids_N)
  differ_N = (full.label_NxTxC != checked.label_NxTxC).any((1, 2))
  assert full.ids_N[differ_N].tolist() == late
  for video in late:
    assert seconds(full, video, "Speech") == [0, 1, 2, 3, 7, 8, 9]
    assert seconds(checked, video, "Speech") == []


@real
@pytest.mark.parametrize(
  ("name", "rows", "names"),
  [
    ("AVVP/AVVP_eval_audio", 4131, 1848),
    ("AVVP/AVVP_eval_visual", 2495, 1665),
    ("AVVP/AVVP_eval_audio_checked", 4119, 1844),
    ("AVVP/AVVP_eval_visual_checked", 2488, 1661),
    ("AVVP/AVVP_eval_audio_checked_combined", 1846, 1844),
    ("AVVP/AVVP_eval_visual_checked_combined", 1661, 1661),
    ("AVE_AVVP/AVE_AVVP_eval_audio_checked", 1347, 1085),
    ("AVE_AVVP/AVE_AVVP_eval_audio_checked_combined", 1085, 1085),
    ("AVE_AVVP/AVE_AVVP_eval_visual_checked_combined", 1032, 1032),
  ],
)
def test_avvp_rows_before_repair(name, rows, names):
  columns = ("filename", "onset", "offset", "event_labels")
  found = tables.read_rows(REAL / f"{name}.csv", columns)
  assert len(found) == rows
  assert len({row.cells["filename"] for row in found}) == names


@real
def test_avvp_logs_every_repair_of_the_combined_audio(log):
  name = "AVVP_eval_audio_checked_combined.csv"
  events = per_second.avvp(AVVP / name, AVVP_CLASSES)
  found = lines(log, name)
  found, merged = (
    [line for line in found if ("merged" in line) == wanted]
    for wanted in (False, True)
  )
  assert found == [
    ", line 24: Speech has onset 9 and offset 9; event dropped",
    ", line 45: Speech has onset 10 and offset 10; event dropped",
    ", line 57: Baby_cry_infant_cry has onset 0 and offset 0; event dropped",
    ", line 61: Dog has onset 1 and offset 1; event dropped",
    ", line 1097: filename 'KvIjsmANkxI_10_20`' read as 'KvIjsmANkxI_10_20'",
    ", line 1693: Cheering has onset 9 and offset 0; event dropped",
    ", line 1704: damaged name '19jWnmYnlD8_30_400'; row dropped",
    ", line 57: H5WcJwyjxIg_2_12 is all background",
    ": 8 repeated events, and 14 that overlap one of their class; OR",
  ]
  for line, start, first in zip(
    merged,
    (
      ", line 985: JR09cQfpjqE_30_40 ",
      ", line 986: 3sZMw6BdA1Y_30_40 ",
      ", line 1098: KvIjsmANkxI_10_20 ",
    ),
    (983, 984, 1097),
    strict=True,
  ):
    assert line.startswith(start)
    assert line.endswith(f"line {first}")
  assert seconds(events, "JR09cQfpjqE", "Violin_fiddle") == [4, 5, 6, 7, 8, 9]
  assert seconds(events, "JR09cQfpjqE", "Speech") == [1, 2, 3, 4]
  assert seconds(events, "KvIjsmANkxI", "Cat") == [0, 3, 4, 5, 6, 8, 9]
  assert seconds(events, "H5WcJwyjxIg", "background") == list(range(10))
  assert seconds(events, "19jWnmYnlD8", "Clapping") == []
  assert seconds(events, "19jWnmYnlD8", "Violin_fiddle") == list(range(10))


@real
@pytest.mark.parametrize(("side", "rows"), [("audio", 10), ("visual", 7)])
def test_avvp_drops_the_rows_of_damaged_ids(side, rows, log):
  name = f"AVVP_eval_{side}.csv"
  per_second.avvp(AVVP / name, AVVP_CLASSES)
  damaged = [line for line in lines(log, name) if "damaged name" in line]
  assert len(damaged) == rows + 1  # the name of 370 seconds
  ids = {line.split("'")[1].split("_")[0] for line in damaged}
  assert {"P7x4FV4lg", "7X3oSVoA", "VMTJRpjbE", "CSWQ"} <= ids


@real
def test_avvp_drops_a_label_that_stands_for_a_name(log):
  name = "codaar_older/AVVP_eval_audio.csv"
  events = per_second.avvp(AVVP / name, AVVP_CLASSES)
  check_labels(events, 1842, 25)
  damaged = [line for line in lines(log, name) if "'Baby_cry_inf" in line]
  assert [line.split(":")[0] for line in damaged] == [
    ", line 930",
    ", line 931",
  ]


@real
def test_avvp_widens_as_the_twelve_class_files_do(log):
  name = "AVVP_eval_audio_checked_combined.csv"
  wide = per_second.avvp(AVVP / name, AVVP_CLASSES, repair="widen")
  found = [line for line in lines(log, name) if "widened" in line]
  assert [line.split("second ")[1] for line in found] == ["9", "9", "0", "1"]
  assert sum("event dropped" in line for line in log.messages) == 1  # reversed
  twelve = per_second.avvp(SHARED_12 / f"AVE_AVVP_{name[5:]}", CLASSES_12)
  chosen = [*map(wide.ids_N.tolist().index, twelve.ids_N)]
  columns = [*map(wide.names.index, twelve.names)]
  np.testing.assert_array_equal(
    wide.label_NxTxC[chosen][..., columns], twelve.label_NxTxC[..., :-1]
  )
  refuses(
    [name, "line 24", "onset 9 and offset 9"],
    per_second.avvp,
    AVVP / name,
    AVVP_CLASSES,
    repair="refuse",
  )


@real
def test_avvp_refuses_files_that_mean_something_else():
  for name in ("AVVP_multimodal_union", "AVVP_multimodal_simplified"):
    refuses(
      [name, "line 1", "modality"],
      per_second.avvp,
      AVVP / f"{name}.csv",
      AVVP_CLASSES,
    )
  refuses(
    ["AVVP_eval_audio.csv", "line 3", "'Blender'"],
    per_second.avvp,
    AVVP / "AVVP_eval_audio.csv",
    CLASSES_12,
  )


# UCF101 <-> VGGSound, the real files


@real
def test_ucf_and_vgg_share_fourteen_classes(log):
  ucf = clips.ucf_vgg(UCF / "ucf2vggsound.csv", *UCF_LISTS)
  vgg = clips.ucf_vgg(UCF / "vggsound2ucf.csv", *UCF_LISTS)
  assert (len(ucf.ids_N), len(vgg.ids_N)) == (2003, 4813)
  assert len(ucf.names) == len(vgg.names) == 16
  assert (ucf.names[10], vgg.names[10]) == ("Bowling", "bowling impact")
  assert len(set(ucf.label_N)) == len(set(vgg.label_N)) == 15
  shared = clips.shared_classes(ucf, vgg)
  assert shared.tolist() == [n for n in range(16) if n not in (6, 10)]
  assert ucf.label_N.dtype == vgg.label_N.dtype == np.int32
  assert np.sum(ucf.label_N == ucf.names.index("FrisbeeCatch")) == 126
  assert np.sum(vgg.label_N == vgg.names.index("bowling impact")) == 206
  assert ucf.names[ucf.label_N[0]] == "PlayingGuitar"
  assert vgg.names[vgg.label_N[0]] == "playing violin"
  assert set(ucf.split_N) == {""}
  assert [np.sum(vgg.split_N == s) for s in ("train", "val", "test")] == [
    2894,
    964,
    955,
  ]
  assert (
    lines(log, UCF_LISTS[0].name)
    == [r", line 11: 'Bowling\tbowling' read as the class 'Bowling'"] * 2
  )
  assert lines(log, "csv") == [
    ": class 10, 'Bowling', has no clip",
    ": class 6, 'playing frisbee', has no clip",
  ]


@real
def test_ucf_vgg_reads_crlf():
  folder = REAL / "OSCMG" / "UCF_VGG_OSCMG"
  small = clips.ucf_vgg(folder / "vggsound2ucf_8.csv", *UCF_LISTS)
  assert len(small.ids_N) == 2390
  assert len(set(small.label_N)) == 7
  assert set(small.split_N) == {"train", "val", "test"}


@real
def test_vggsound_ids_classes_and_splits():
  folder = REAL / "Vggsound"
  classes = folder / "VggsoundAVEL40kCategories.txt"
  found = clips.vggsound(folder / "vggsound-avel40k.csv")
  assert len(set(found.ids_N)) == 40801
  assert found.names == tables.class_list(classes)
  assert len(found.names) == 141
  assert [np.sum(found.split_N == s) for s in ("train", "val", "test")] == [
    24515,
    8171,
    8115,
  ]
  sizes = np.bincount(found.label_N)
  assert found.names[sizes.argmin()] == "canary calling"
  assert (sizes.min(), sizes.max()) == (53, 506)
  given = clips.vggsound(folder / "vggsound-avel40k.csv", classes)
  np.testing.assert_array_equal(found.label_N, given.label_N)
  # Every VGGSound clip of the transfer task is in the pretraining list.
  vgg = clips.ucf_vgg(UCF / "vggsound2ucf.csv", *UCF_LISTS)
  assert np.isin(vgg.ids_N, found.ids_N).all()


@real
def test_prompts_cover_the_classes():
  folder = REAL / "Vggsound"
  found = clips.prompts(folder / "vggsoundCategories2Prompts.csv")
  assert len(found) == len(set(found.values())) == 141
  names = tables.class_list(folder / "VggsoundAVEL40kCategories.txt")
  assert set(found) == set(names)
  assert {len(text.split()) for text in found.values()} == {7, 8, 9, 10, 11}
  other = REAL / "AVSBench" / "AVSBenchCategories2Prompts.csv"
  assert len(clips.prompts(other)) == 23  # no final newline


# AVE, broken

GOOD = "Bark&aaaaaaaaaaa&good&0&10\n"


def test_ave_by_hand(put, log):
  text = GOOD + "Violin, fiddle&bbbbbbbbbbb&good&2&4\r\n" + GOOD[:-1]
  events = per_second.ave(put("a.txt", text))
  assert events.names == ("Bark", "Violin, fiddle")
  check_labels(events, 3, 2)
  assert seconds(events, "bbbbbbbbbbb", "Violin, fiddle") == [2, 3]
  assert seconds(events, "aaaaaaaaaaa", "background") == []
  assert not log.messages


@pytest.mark.parametrize(
  ("row", "words"),
  [
    ("Bark&bbbbbbbbbbb&good&5&4", ["line 2", "StartTime 5", "EndTime 4"]),
    ("Bark&bbbbbbbbbbb&good&0&11", ["line 2", "EndTime", "0..10", "'11'"]),
    ("Bark&bbbbbbbbbbb&good&-1&4", ["line 2", "StartTime", "'-1'"]),
    ("Bark&bbbbbbbbbbb&good&0.5&4", ["line 2", "StartTime", "'0.5'"]),
    ("Bark&bbbbbbbbbbb&good& 1&4", ["line 2", "StartTime", "' 1'"]),
    ("Bark&bbbbbbbbbbb&good&&4", ["line 2", "StartTime", "''"]),
    (f"Bark&bbbbbbbbbbb&good&{'9' * 5000}&4", ["line 2", "StartTime"]),
    ("Bark&bbbb&good&0&4", ["line 2", "VideoID", "'bbbb'"]),
    ("Bark&bbbbbbbbbb`&good&0&4", ["line 2", "VideoID", "'bbbbbbbbbb`'"]),
    ("Bark &bbbbbbbbbbb&good&0&4", ["line 2", "Category", "'Bark '"]),
    ("&bbbbbbbbbbb&good&0&4", ["line 2", "Category", "''"]),
    ("Bark&bbbbbbbbbbb&0&4", ["line 2", "5 fields", "'&'", "got 4"]),
    ("\n" + GOOD, ["line 2", "5 fields", "got 0"]),
  ],
)
def test_ave_refuses(row, words, put):
  refuses(["a.txt", *words], per_second.ave, put("a.txt", GOOD + row + "\n"))


def test_ave_takes_no_header_but_its_own(put):
  header = "Category&VideoID&Quality&StartTime&EndTime\n"
  assert len(per_second.ave(put("a.txt", header + GOOD)).ids_N) == 1
  refuses(
    ["a.txt", "line 2", "VideoID"],
    per_second.ave,
    put("a.txt", GOOD + header),
  )
  refuses(["a.txt", "no rows"], per_second.ave, put("a.txt", header))


def test_ave_orders_must_be_a_partition(put, put_h5, tmp_path, log):
  path = put("a.txt", GOOD + GOOD.replace("a" * 11, "b" * 11) + GOOD)

  def orders(**split):
    for name, order in split.items():
      put_h5(f"{name}_order.h5", order=np.array(order, np.int64))

  refuses(["train_order.h5", "no such file"], per_second.ave, path, tmp_path)
  orders(train=[2], val=[0], test=[1])
  events = per_second.ave(path, tmp_path)
  assert events.split_N.tolist() == ["val", "test", "train"]
  shared = per_second.shared_ids(events.ids_N, events.split_N)
  assert shared.tolist() == ["a" * 11]
  assert lines(log, "a.txt") == [
    ": 1 videos are in train and also in val or test; see shared_ids"
  ]
  orders(val=[2])
  refuses(["val_order.h5", "sample 2", "train"], per_second.ave, path, tmp_path)
  orders(val=[3])
  refuses(["val_order.h5", "row 0", "index 3"], per_second.ave, path, tmp_path)
  orders(val=[0, 0])
  refuses(["val_order.h5", "row 1", "twice"], per_second.ave, path, tmp_path)
  orders(val=[-1])
  refuses(["val_order.h5", "index -1"], per_second.ave, path, tmp_path)
  orders(val=[[0]])
  refuses(["val_order.h5", "(1, 1)"], per_second.ave, path, tmp_path)
  log.clear()
  orders(val=np.zeros(0))
  events = per_second.ave(path, tmp_path)
  assert events.split_N.tolist() == ["", "test", "train"]
  assert log.messages == [f"{tmp_path}: 1 samples are in no split"]


# AVE -> AVVP, broken


def test_ave_avvp_compares_both_files(put, put_h5):
  text = GOOD + "Violin&bbbbbbbbbbb&good&2&4\n" + "Cat&ccccccccccc&good&0&1\n"
  path, names = put("a.txt", text), put("c.txt", "Violin_fiddle\nDog")
  order = put_h5("order.h5", order=np.array([0, 1]))
  label = np.zeros((3, 10, 3), np.float32)
  label[0, :, 1] = label[1, 2:4, 0] = 1
  label[1, [0, 1, 4, 5, 6, 7, 8, 9], 2] = 1

  def read(label):
    file = put_h5("labels.h5", avadataset=label)
    return per_second.ave_avvp(path, file, order, names)

  events = read(label)
  check_labels(events, 2, 2)
  assert events.index_N.tolist() == [0, 1]
  assert seconds(events, "a" * 11, "Dog") == list(range(10))
  for second, column, value in ((4, 0, 1), (2, 0, 0), (2, 2, 1), (2, 0, 0.5)):
    wrong = label.copy()
    wrong[1, second, column] = value
    refuses(["labels.h5", "row 1", "not one-hot", "a.txt"], read, wrong)
  wrong = label.copy()
  wrong[1, 2:4, :2] = 0, 1
  refuses(["labels.h5", "share one column"], read, wrong)
  refuses(["labels.h5", "(3, 10, 3)", "(3, 10, 2)"], read, label[..., :2])
  refuses(["labels.h5", "numbers", "|S1"], read, label.astype("S1"))


# AVVP, broken

HEAD = "filename\tonset\toffset\tevent_labels\n"
ROW = "aaaaaaaaaaa_30_40\t0,3\t2,5\tDog,Speech\n"


@pytest.fixture
def classes(put):
  return put("classes.txt", "Speech\nDog\nCat")


def test_avvp_by_hand(put, classes, log):
  text = (
    HEAD
    + ROW
    + "-bbbbbbbb_b_101.8_111.8\t1,2,2,2\t4,6,6,6\tCat,Cat,Cat,Dog\n"
    + "aaaaaaaaaaa_30_40`\t4,9\t6,0\tSpeech,Dog\n"
    + "ccccccccccc_0_10\t5\t5\tDog\n"
    + "ddddddddddd_30_400\t0\t10\tDog\n"
    + "eeeeeeeee_0_10\t0\t10\tDog"
  )
  path = put("d.csv", text)
  events = per_second.avvp(path, classes)
  check_labels(events, 3, 3)
  assert events.names == ("Speech", "Dog", "Cat")
  assert events.ids_N.tolist() == ["a" * 11, "-bbbbbbbb_b", "c" * 11]
  assert seconds(events, "a" * 11, "Dog") == [0, 1]
  assert seconds(events, "a" * 11, "Speech") == [3, 4, 5]
  assert seconds(events, "a" * 11, "background") == [2, 6, 7, 8, 9]
  assert seconds(events, "-bbbbbbbb_b", "Cat") == [1, 2, 3, 4, 5]
  assert seconds(events, "c" * 11, "background") == list(range(10))
  a = "a" * 11
  assert log.messages == [
    f"{path}, line 4: filename '{a}_30_40`' read as '{a}_30_40'",
    f"{path}, line 4: {a}_30_40 merged with {path}, line 2",
    f"{path}, line 4: Dog has onset 9 and offset 0; event dropped",
    f"{path}, line 5: Dog has onset 5 and offset 5; event dropped",
    f"{path}, line 6: damaged name 'ddddddddddd_30_400'; row dropped",
    f"{path}, line 7: damaged name 'eeeeeeeee_0_10'; row dropped",
    f"{path}, line 5: ccccccccccc_0_10 is all background",
    f"{path}: 1 repeated events, and 2 that overlap one of their class; OR",
  ]


def test_avvp_repairs_an_empty_event_as_told(put, classes, log):
  text = "aaaaaaaaaaa_30_40\t10,9,5\t10,0,5\tDog,Dog,Speech\n"
  path = put("d.csv", HEAD + text)
  events = per_second.avvp(path, classes, repair="widen")
  assert seconds(events, "a" * 11, "Dog") == [9]
  assert seconds(events, "a" * 11, "Speech") == [5]
  assert [line.split("; ")[1] for line in log.messages] == [
    "widened to second 9",
    "event dropped",
    "widened to second 5",
  ]
  for repair, words in (
    ("refuse", ["d.csv", "line 2", "onset 10 and offset 10"]),
    ("mend", ["repair must be drop, widen, refuse", "'mend'"]),
  ):
    refuses(words, per_second.avvp, path, classes, repair=repair)


def test_avvp_reads_one_event_a_row_with_commas(put, classes, log):
  text = HEAD.replace("\t", ",") + (
    "aaaaaaaaaaa_30_40,0,2,Dog\r\naaaaaaaaaaa_30_40,3,4,Cat\r\n"
  )
  events = per_second.avvp(put("d.csv", text), classes)
  assert seconds(events, "a" * 11, "Dog") == [0, 1]
  assert seconds(events, "a" * 11, "Cat") == [3]
  assert not log.messages, "several rows of a video are the rule here"


@pytest.mark.parametrize(
  ("row", "words"),
  [
    ("bbbbbbbbbbb_0_10\t0\t4\tdog", ["line 3", "'dog'", "3 classes"]),
    ("bbbbbbbbbbb_0_10\t0,1\t4,5\tDog, Cat", ["line 3", "' Cat'"]),
    ("bbbbbbbbbbb_0_10\t0\t4\t", ["line 3", "label ''"]),
    ("bbbbbbbbbbb_0_10\t0\t11\tDog", ["line 3", "offset", "'11'"]),
    ("bbbbbbbbbbb_0_10\t-1\t4\tDog", ["line 3", "onset", "'-1'"]),
    ("bbbbbbbbbbb_0_10\tnan\t4\tDog", ["line 3", "onset", "'nan'"]),
    ("bbbbbbbbbbb_0_10\t0,1\t4\tDog,Cat", ["line 3", "2, 1, 2 values"]),
    ("bbbbbbbbbbb_0_10\t0\t4", ["line 3", "4 fields", r"'\t'", "got 3"]),
    ("aaaaaaaaaaa_0_10\t0\t4\tDog", ["line 3", "aaa_0_10", "aaa_30_40", "2)"]),
    ('bbbbbbbbbbb_0_10\t0\t4\t"Dog', ["line 3"]),
  ],
)
def test_avvp_refuses_a_row(row, words, put, classes):
  path = put("d.csv", HEAD + ROW + row + "\n")
  refuses(["d.csv", *words], per_second.avvp, path, classes)


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("", ["is empty"]),
    ("\n\n", ["is empty"]),
    (HEAD, ["no rows"]),
    (ROW, ["line 1", "columns must be filename, onset", "aaa_30_40"]),
    (HEAD.replace("onset", "start") + ROW, ["line 1", "onset", "start"]),
    (HEAD.replace("onset", "offset") + ROW, ["line 1", "onset", "offset"]),
    (HEAD + HEAD, ["no row with an undamaged name"]),
    (HEAD + ROW.replace("_30_40", ""), ["no row with an undamaged name"]),
    (HEAD.encode() + b"\xff", ["cannot read text"]),
  ],
)
def test_avvp_refuses_a_file(text, words, put, classes):
  path = put("d.csv", text)
  refuses(["d.csv", *words], per_second.avvp, path, classes)


def test_avvp_splits_come_from_the_weak_lists(put, classes, tmp_path, log):
  path = put("d.csv", HEAD + ROW + ROW.replace("a" * 11, "b" * 11))
  files = {"train": "ccccccccccc", "val_pd": "aaaaaaaaaaa", "test_pd": "d" * 11}
  for name, video in files.items():
    put(f"AVVP_{name}.csv", f"filename\tevent_labels\n{video}_30_40\tDog\n")
  events = per_second.avvp(path, classes, splits=tmp_path)
  assert events.split_N.tolist() == ["val", ""]
  assert log.messages == [f"{path}: in no split: bbbbbbbbbbb"]
  put("AVVP_test_pd.csv", "filename\tevent_labels\naaaaaaaaaaa_30_40\tDog\n")
  refuses(
    ["AVVP_test_pd.csv", "line 2", "aaaaaaaaaaa", "val"],
    per_second.avvp,
    path,
    classes,
    splits=tmp_path,
  )


# Lists of classes, clips and prompts, broken


def test_class_list_by_hand(put, log):
  path = put("c.txt", "Speech\r\nBowling\tbowling\r\n Cat")
  assert tables.class_list(path) == ("Speech", "Bowling", "Cat")
  assert log.messages == [
    rf"{path}, line 2: 'Bowling\tbowling' read as the class 'Bowling'",
    f"{path}, line 3: ' Cat' read as the class 'Cat'",
  ]
  refuses(["c.txt", "line 2", "''"], tables.class_list, put("c.txt", "A\n\nB"))
  refuses(
    ["c.txt", "line 3", "'A'", "line 1"],
    tables.class_list,
    put("c.txt", "A\nB\nA\tb\n"),
  )
  refuses(["c.txt", "is empty"], tables.class_list, put("c.txt", ""))


@pytest.fixture
def pair(put):
  return put("ucf.txt", "Skiing\nBowling"), put("vgg.txt", "skiing\nbowling")


def test_ucf_vgg_by_hand(put, pair):
  text = "category,video_id\r\nBowling,v_1\r\nSkiing,v_2\r\n"
  ucf = clips.ucf_vgg(put("u.csv", text), *pair)
  assert ucf.ids_N.tolist() == ["v_1", "v_2"]
  assert ucf.label_N.tolist() == [1, 0]
  assert ucf.names == ("Skiing", "Bowling")
  text = "video_id,category,split\n-x,bowling,val\n"
  vgg = clips.ucf_vgg(put("v.csv", text), *pair)
  assert vgg.names[vgg.label_N[0]] == "bowling"
  assert vgg.split_N.tolist() == ["val"]
  assert clips.shared_classes(ucf, vgg).tolist() == [1]
  other = vgg._replace(names=("a",))
  refuses(["2 and 1 classes"], clips.shared_classes, ucf, other)


@pytest.mark.parametrize(
  ("rows", "words"),
  [
    ("Skiing,a,train\nskiing,b,train", ["line 3", "'skiing'", "2 classes"]),
    ("Golf,a,train", ["line 2", "'Golf'"]),
    ("Skiing,a,dev", ["line 2", "train, val, test", "'dev'"]),
    ("Skiing,a,", ["line 2", "split", "''"]),
    ("Skiing,,train", ["line 2", "id ''"]),
    ("Skiing,a,train\nBowling,a,val", ["line 3", "'a'", "line 2"]),
    ("Skiing,a", ["line 2", "3 fields", "','", "got 2"]),
  ],
)
def test_clip_lists_refuse(rows, words, put, pair):
  path = put("u.csv", f"category,video_id,split\n{rows}\n")
  refuses(["u.csv", *words], clips.ucf_vgg, path, *pair)
  if "ski" not in rows and "Golf" not in rows:  # no list, no unknown class
    refuses(["u.csv", *words], clips.vggsound, path)
  refuses(["u.csv", *words], clips.vggsound, path, pair[0])


def test_ucf_vgg_needs_parallel_lists(put, pair):
  path = put("u.csv", "category,video_id\nSkiing,a\n")
  refuses(
    ["ucf.txt has 2", "other.txt 1"],
    clips.ucf_vgg,
    path,
    pair[0],
    put("other.txt", "skiing"),
  )


@pytest.mark.parametrize(
  ("rows", "words"),
  [
    ("dog,A dog\ndog,Another dog", ["line 3", "'dog'", "twice"]),
    ("dog,", ["line 2", "'dog'", "''"]),
    (" ,A dog", ["line 2", "' '"]),
    ("dog,A dog, barking", ["line 2", "2 fields", "got 3"]),
  ],
)
def test_prompts_refuse(rows, words, put):
  path = put("p.csv", f"label,prompt\n{rows}")
  refuses(["p.csv", *words], clips.prompts, path)


def test_prompts_may_be_quoted(put):
  path = put("p.csv", 'label,prompt\n"dog, big","A dog, barking"')
  assert clips.prompts(path) == {"dog, big": "A dog, barking"}


# Files


def test_a_missing_file_is_named(tmp_path, classes):
  path = tmp_path / "none.csv"
  there = str(classes)
  for call, args in (
    (per_second.ave, (path,)),
    (per_second.avvp, (path, there)),
    (per_second.avvp, (there, path)),
    (per_second.ave_avvp, (path, there, there, there)),
    (tables.class_list, (path,)),
    (hdf5.array, (path, "order")),
    (clips.ucf_vgg, (path, there, there)),
    (clips.ucf_vgg, (there, path, there)),
    (clips.vggsound, (path,)),
    (clips.prompts, (path,)),
  ):
    refuses(["none.csv: no such file"], call, *args)
  refuses([tmp_path, "cannot read"], tables.class_list, tmp_path)


def test_hdf5_faults_are_named(put, put_h5):
  path = put_h5("a.h5", **{"other": np.ones(2), "group/inner": np.ones(2)})
  refuses(["a.h5", "'order'", "group, other"], hdf5.array, path, "order")
  refuses(["a.h5", "no dataset 'group'"], hdf5.array, path, "group")
  broken = put("b.h5", "not HDF5")
  refuses(["b.h5", "cannot read it"], hdf5.array, broken, "order")
  order = put_h5("c.h5", order=np.zeros(2))
  refuses(["c.h5", "float64"], tables.read_order, order, 2)
