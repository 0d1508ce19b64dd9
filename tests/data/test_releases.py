"""Official releases, in small: what is read, checked and refused."""

import pathlib
import pickle

import h5py
import numpy as np
import pytest
import releases as mini

from unirep.configs import data as config_of
from unirep.data import sample, sources
from unirep.data.datasets import releases
from unirep.data.release import lists
from unirep.runtime.errors import InputError


def options(name, folder, **changes):
  """A configuration's options of a miniature."""
  config = config_of.get_config(f"data={name}")
  config.data.update(mini.SETS[name](folder))
  config.data.update(changes)
  return dict(config.data)


def read(name, folder, part, **changes):
  return releases.RELEASES[name].read(options(name, folder, **changes), part)


@pytest.mark.parametrize("name", mini.SETS)
def test_every_part_keeps_the_contract_and_travels(name, tmp_path):
  given = options(name, tmp_path)
  for part in releases.RELEASES[name].parts:
    clips = releases.RELEASES[name].read(given, part).require()
    sample.check_source(clips, part)
    again = pickle.loads(pickle.dumps(clips))
    for i in range(len(clips)):
      sample.check_sample(clips[i], f"{part}[{i}]")
      for m, x in clips[i]["features"].items():
        np.testing.assert_array_equal(again[i]["features"][m], x)


def test_avel_pads_and_cuts_sound_and_takes_the_class_s_prompt(tmp_path):
  train = read("avel", tmp_path, "train")
  assert train.id_N.tolist()[:3] == [
    "IqTSyx3L0j8",
    "Nz15RLDx4Rc",
    "-lUrYZHr22Q",
  ]
  stored = mini.rng("Nz15RLDx4Rc").random((9, 6)).astype("f4")
  found = train[1]["features"]["audio"]
  np.testing.assert_array_equal(found[:9], stored)
  np.testing.assert_array_equal(found[9], stored[8])
  assert train[2]["features"]["audio"].shape == (10, 6)
  assert [int(train[i]["labels"]["class"]) for i in range(4)] == [0, 1, 2, 0]
  assert [int(train[i]["lengths"]["text"]) for i in range(3)] == [9, 10, 9]


def test_learned_from_and_held_out(tmp_path):
  data = {"source": "avel", **options("avel", tmp_path)}
  train, test = sources.pair(data, ("video",))
  assert (len(train), len(test)) == (12, 4)
  data["learn_from"] = ("train", "val", "test")
  assert len(sources.pair(data, ("video",))[0]) == 20
  (tmp_path / "out.txt").write_text("Nz15RLDx4Rc\navelavel_16\n")
  data["exclude"] = str(tmp_path / "out.txt")
  assert len(sources.pair(data, ("video",))[0]) == 18


def test_the_released_filter_keeps_words_of_the_map(tmp_path):
  words = "bert_id\tindex\ttoken\n0\t0\t[PAD]\n1996\t1\tthe\n1997\t2\tof\n"
  (tmp_path / "cnt.tsv").write_text(words + "1037\t3\ta\n2482\t4\tcar\n")
  changes = {"filter": "released", "words": 10}
  changes["word_map"] = str(tmp_path / "cnt.tsv")
  clips = read("avel", tmp_path, "train", **changes)
  # "The roar of a high-speed race car engine"
  assert clips[2]["lengths"]["text"] == 4
  whole = read("avel", tmp_path, "train")
  text = whole[2]["features"]["text"]
  np.testing.assert_array_equal(
    clips[2]["features"]["text"][:4], text[[0, 2, 3, 7]]
  )
  with pytest.raises(InputError, match=r"needs data\.word_map"):
    read("avel", tmp_path, "train", filter="released")
  (tmp_path / "cnt.tsv").write_text("bert_id\tindex\ttoken\n2482\t4\tcar\n")
  with pytest.raises(InputError, match=r"powerful engine.*no word left"):
    read("avel", tmp_path, "train", **changes)


def test_texts_from_a_file(tmp_path):
  vectors = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
  path = tmp_path / "prompts.npz"
  np.savez(path, text=vectors, **{"length/text": np.array([4, 2, 1])})
  clips = read("avel", tmp_path, "train", text=str(path), words=3)
  np.testing.assert_array_equal(clips[1]["features"]["text"], vectors[1, :3])
  assert [int(clips[i]["lengths"]["text"]) for i in range(3)] == [3, 2, 1]
  np.savez(path, text=vectors[:2])
  with pytest.raises(InputError, match=r"must hold 'text' of shape \(3,"):
    read("avel", tmp_path, "train", text=str(path))
  with pytest.raises(InputError, match="is no extractor"):
    read("avel", tmp_path, "train", text="wrods")


def test_a_list_with_half_its_rows_is_refused(tmp_path):
  with pytest.raises(InputError, match="20 rows, but was published with 40801"):
    read("avel", tmp_path, "train", whole=True)
  with pytest.raises(InputError, match="12 rows, but was published with 4143"):
    read("ave", tmp_path, "train", whole=True)
  with pytest.raises(InputError, match=r"9 rows, but .* with 1661"):
    read("avvp", tmp_path, "test", whole=True)


def test_avvp_has_every_quirk_of_its_rows(tmp_path):
  parts = {p: read("avvp", tmp_path, p) for p in releases.avvp.PARTS}
  ids = {p: clips.id_N.tolist() for p, clips in parts.items()}
  assert len(ids["train"]) == 3
  assert len(ids["validation"]) == 1
  assert set(ids["test"]) == {x[:11] for x in mini.AVVP_SPLITS["test_pd"]}
  assert ids["rest"] == ["12eWNawPekw"], "in no list"
  test = {x: parts["test"][i] for i, x in enumerate(ids["test"])}

  def on(name, m, event):
    column = mini.AVVP_CLASSES.index(event)
    return np.flatnonzero(test[name]["labels"][f"events/{m}"][:, column])

  assert on("JR09cQfpjqE", "audio", "Speech").tolist() == [1, 2, 3, 4]
  assert on("JR09cQfpjqE", "audio", "Violin_fiddle").tolist() == [*range(4, 10)]
  assert on("KvIjsmANkxI", "audio", "Cat").tolist() == [0, *range(3, 7), 8, 9]
  assert on("Baue01N86wE", "audio", "Dog").tolist() == [3, 4, 5, 9]
  nothing = test["H5WcJwyjxIg"]["labels"]["events/audio"]
  assert nothing[:, -1].all()
  assert not nothing[:, :-1].any()
  both = {**dict(zip(ids["train"], parts["train"], strict=True))}
  both |= dict(zip(ids["validation"], parts["validation"], strict=True))
  assert not both["8sfcMZ8A3OQ"]["present"]["audio"]
  assert not both["4O9rI-FpqLg"]["present"]["video"]
  assert not both["4O9rI-FpqLg"]["features"]["video"].any()
  column = mini.AVVP_CLASSES.index("Clapping")
  assert not both["19jWnmYnlD8"]["labels"]["events/audio"][:, column].any()
  widened = read("avvp", tmp_path, "test", repair="widen")
  row = widened.id_N.tolist().index("H5WcJwyjxIg")
  assert widened[row]["labels"]["events/audio"][0, 12] == 1


def test_ave_spares_what_is_in_two_splits(tmp_path):
  train = read("ave", tmp_path, "train")
  assert "RUhOCu3LNXM" not in train.id_N
  assert len(read("ave", tmp_path, "train", spare_shared=False)) == 6
  row = train.id_N.tolist().index("VWi2ENBuTbw")
  assert train[row]["labels"]["events/audio"][:, -1].all()


def test_ave_avvp_joins_two_sets(tmp_path):
  given = options("ave_avvp", tmp_path)
  train = releases.source("ave_avvp", given, "clips", "train")
  events = releases.source("ave_avvp", given, "events", "test")
  assert train[0]["labels"]["events/audio"].shape == (10, 4)
  assert len(events) == 3
  assert events[1]["labels"]["events/audio"][:, 1].tolist() == [0] * 4 + [1] * 6
  whole = {**given, "clips": "all", "spare_shared": False}
  assert len(releases.source("ave_avvp", whole, "clips", "train")) == 8


def test_ucf_and_vgg_share_classes_by_line(tmp_path):
  given = options("ucf_vgg", tmp_path)
  seen = {**given, "clips": "all"}
  clips = releases.source("ucf_vgg", seen, "clips", "train")
  other = releases.source("ucf_vgg", seen, "other", "test")
  assert (len(clips), len(other)) == (24, 18)
  assert clips[0]["features"].keys() == {"video"}
  assert other[0]["features"].keys() == {"audio"}
  assert {int(clips[i]["labels"]["class"]) for i in range(24)} == {0, 1, 3}
  assert {int(other[i]["labels"]["class"]) for i in range(18)} == {0, 2, 3}
  parts = [
    {x.rpartition("_c")[0] for x in read("ucf_vgg", tmp_path, f"ucf_{s}").id_N}
    for s in ("train", "validation", "test")
  ]
  assert all(parts)
  assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])


def test_clotho_has_all_of_its_sounds_five_times(tmp_path):
  clips = read("clotho", tmp_path, "test")
  assert len(clips) == 30
  assert [int(clips[i]["labels"]["id"]) for i in range(0, 30, 5)] == [*range(6)]
  assert clips.id_N[5] == "a b.c"
  pool = read("clotho", tmp_path, "test", pool=2)
  assert len(pool) == 10
  with pytest.raises(InputError, match=r"pool=7: .* has 6"):
    read("clotho", tmp_path, "test", pool=7)


def test_photos_are_grids_of_one_step_with_twelve_digits(tmp_path):
  clips = read("coco", tmp_path, "test")
  assert clips.id_N[0] == "000000000139"
  assert clips[0]["features"]["video"].shape == (1, *mini.GRID)
  assert [int(clips[i]["labels"]["id"]) for i in range(3)] == [0, 0, 1]


def test_missing_clips_are_named_before_training(tmp_path):
  given = options("avel", tmp_path)
  (tmp_path / "feature/audio/zip/Nz15RLDx4Rc.zip").unlink()
  with pytest.raises(InputError, match=r"Nz15RLDx4Rc.*1 missing of audio"):
    releases.source("avel", given, "clips", "train")
  lists.write_ids(tmp_path / "out", ["Nz15RLDx4Rc"])
  given["exclude"] = str(tmp_path / "out")
  assert len(releases.source("avel", given, "clips", "train")) == 11


# The real lists, without any features.

REAL = pathlib.Path(__file__).resolve().parents[3] / "shared/data/annotations"
real = pytest.mark.skipif(not REAL.exists(), reason=f"no {REAL}")


def real_options(name, folder, **places):
  config = config_of.get_config(f"data={name}")
  config.data.update({key: str(x) for key, x in places.items()})
  for key in config.data:
    if key.startswith("features"):
      config.data[key] = str(folder)
  return dict(config.data)


def sizes(name, given):
  read = releases.RELEASES[name].read
  return {p: len(read(given, p)) for p in releases.RELEASES[name].parts}


def hollow(folder):
  """AVE's feature files, of nothing."""
  shapes = {"visual_feature": (2, 5, 5, 2), "audio_feature": (2, 6)}
  for name, shape in shapes.items():
    with h5py.File(folder / f"{name}.h5", "w") as file:
      whole = np.zeros((4143, *shape), np.float32)
      file.create_dataset("avadataset", data=whole, compression="gzip")


@real
def test_the_real_lists_have_their_parts(tmp_path):
  hollow(tmp_path)
  avel = real_options("avel", tmp_path, labels=REAL / "Vggsound")
  assert sizes("avel", avel) == {"train": 24515, "val": 8171, "test": 8115}
  ave = real_options("ave", tmp_path, labels=REAL / "AVE")
  assert sizes("ave", ave) == {"train": 3320, "validation": 402, "test": 402}
  avvp = real_options("avvp", tmp_path, labels=REAL / "AVVP")
  found = sizes("avvp", avvp)
  assert found["rest"] == 2, "12eWNawPekw and AkAfFL5Q4QA are in no list"
  assert sum(found.values()) == 649 + 1200 + 2
  both = real_options(
    *("ave_avvp", tmp_path),
    **{"labels_ave": REAL / "AVE", "labels_avvp": REAL / "AVE_AVVP"},
  )
  found = sizes("ave_avvp", both)
  assert (found["validation"], found["test"]) == (178, 178)
  whole = both | {"spare_shared": False}
  assert len(releases.RELEASES["ave_avvp"].read(whole, "train")) == 1475
  ucf = real_options("ucf_vgg", tmp_path, labels=REAL / "UCF101")
  found = sizes("ucf_vgg", ucf)
  assert [found[f"vgg_{s}"] for s in releases.ucf_vgg.SPLITS] == [
    2894,
    964,
    955,
  ]
  assert sum(n for part, n in found.items() if part.startswith("ucf")) == 2003
  assert min(found.values()) > 300


@real
def test_the_released_filter_leaves_65_prompts(tmp_path):
  changes = {"filter": "released", "words": 10}
  changes["word_map"] = str(REAL / "word_maps" / "cnt.tsv")
  given = real_options("avel", tmp_path, labels=REAL / "Vggsound") | changes
  vectors, row_N = releases.RELEASES["avel"].read(given, "train")._texts
  assert len({*row_N.tolist()}) == 141
  kept = {x.tobytes() for x in vectors.vector_NxLxD}
  assert (len(kept), int(vectors.length_N.min())) == (65, 3)
  assert round(float(vectors.length_N.mean()), 1) == 5.1
  clean = {**given, "filter": "clean", "words": 16}
  vectors, _ = releases.RELEASES["avel"].read(clean, "train")._texts
  assert len({x.tobytes() for x in vectors.vector_NxLxD}) == 141


@real
def test_videos_of_evaluation_lists_are_found(tmp_path):
  del tmp_path
  learned = lists.videos(REAL / "Vggsound" / "vggsound-avel40k.csv")
  assert len(learned & lists.videos(REAL / "AVVP" / "AVVP_test_pd.csv")) == 49
  assert (
    len(learned & lists.videos(REAL / "UCF101" / "vggsound2ucf.csv")) == 4813
  )
