"""TFDS builders of the releases, and what they share with conversion."""

import hashlib
import json
import sys

import numpy as np
import pytest
import releases as mini

from unirep.configs import data as config_of
from unirep.data.datasets import converted, releases

PINNED = {
  "1.0.0": {
    "ave": "cd5971d5e682",
    "ave_avvp": "cd98793a6a3a",
    "ave_avvp_tested": "27fce44356c7",
    "avel": "45b2548c2a57",
    "avvp": "b37788cf31ee",
    "clotho": "a863245d66b0",
    "coco": "b9d8aa2341f5",
    "flickr_sound": "eca04ea317c6",
    "msvd": "d0ed9f7d392e",
    "ucf_vgg_ucf": "b8e36a3469b3",
    "ucf_vgg_vgg": "96e2cc603e07",
    "valor": "eb0e166f5601",
  }
}

NAMES = sorted(PINNED[converted.VERSION])


def builder(name):
  from unirep.data import builders  # loads tensorflow-datasets

  kinds = {kind.name: kind for kind in builders.Release.__subclasses__()}
  assert kinds.keys() == PINNED[converted.VERSION].keys()
  return kinds[name]


def prepared(name, folder, given):
  """What a builder makes of a miniature."""
  import tensorflow_datasets as tfds

  from unirep.data import builders

  kind, manual = builder(name), folder / "manual"
  manual.mkdir()
  for key in kind.PLACES:
    (manual / key).symlink_to(given[key])
  found = {}
  for m in kind.SHAPES:
    steps = {"video": kind.SHAPES[m][0], "audio": 10}.get(m)
    shape = {"video": (steps, *mini.GRID), "audio": (steps, mini.SOUND)}
    found[m] = shape.get(m, kind.SHAPES[m])
  if kind.RELEASE.startswith("ave"):  # of four classes with background
    found |= {x: (10, 4) for x in kind.LABELS if x.startswith("events/")}
  config = builders.ReleaseConfig(
    name="mini", shapes=found, options={"whole": False}
  )
  made = kind(
    data_dir=str(folder / "tfds"), config=config, file_format="array_record"
  )
  made.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=str(manual))
  )
  return made


def test_every_release_has_its_builders():
  wanted = {
    releases.stored(name, part)
    for name, release in releases.RELEASES.items()
    for part in release.parts
  }
  assert {*NAMES} == wanted
  for name in NAMES:
    kind = builder(name)
    assert kind.name == name
    parts = releases.RELEASES[kind.RELEASE].parts
    assert {*kind.PARTS} == {
      x for x in parts if releases.stored(kind.RELEASE, x) == name
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_builder_makes_the_samples_of_its_release(name, tmp_path):
  kind = builder(name)
  config = config_of.get_config(f"data={kind.RELEASE}")
  config.data.update(mini.SETS[kind.RELEASE](tmp_path))
  given = dict(config.data)
  for key, value in kind.OPTIONS.items():
    assert given[key] == value, key
  made = prepared(name, tmp_path, given)
  assert "tensorflow" not in sys.modules
  for part in kind.PARTS:
    source = made.as_data_source(split=part)
    clips = releases.RELEASES[kind.RELEASE].read(given, part)
    assert len(source) == len(clips)
    for i in range(len(clips)):
      ours, theirs = clips[i], source[i]
      assert theirs["id"].decode() == clips.id_N[i]
      assert theirs["features"].keys() == ours["features"].keys()
      for m, x in ours["features"].items():
        kept = theirs["features"][m]
        assert kept.dtype == ("f2" if x.ndim > 2 else "f4")
        np.testing.assert_array_equal(x.astype(kept.dtype), kept)
      for label, x in ours["labels"].items():
        kept = theirs["labels"][label.replace("/", "__")]
        np.testing.assert_array_equal(x, kept)


def test_other_features_are_another_version(tmp_path):
  """TFDS takes old files for new ones of the same version, and says nothing."""
  found = {}
  for name in NAMES:
    made = builder(name)(data_dir=str(tmp_path))
    made.info.features.save_config(str(tmp_path))
    text = json.loads((tmp_path / "features.json").read_text())
    digest = hashlib.sha256(json.dumps(text, sort_keys=True).encode())
    found[name] = digest.hexdigest()[:12]
  assert found == PINNED[converted.VERSION], "bump converted.VERSION"
