"""TFDS builders of the releases, one class each.

A builder's name is that of its class in small letters: `AveAvvp` is "ave_avvp".
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from unirep.data.datasets import converted, releases
from unirep.data.release import shards
from unirep.data.sample import PRESENT

TEXT = {"text": "words", "words": 16, "filter": "clean", "word_map": ""}
VIDEO, AUDIO = {"video": (10, 7, 7, 512)}, {"audio": (10, 128)}
WORDS = {"text": (16, 64)}


@dataclasses.dataclass
class ReleaseConfig(tfds.core.BuilderConfig):
  """Shapes and options of a release that differ from the published ones.

  Attributes:
    shapes: modality, or label -> shape.
    options: as `configs/data.py` has them.
  """

  shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(
    default_factory=dict
  )
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Release(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Parts of a release whose clips have the same features.

  Attributes:
    RELEASE: its name among `releases.RELEASES`.
    PARTS: the names of its parts.
    SHAPES: modality -> shape of its features.
    LABELS: label -> shape; labels with an axis are 0 or 1.
    LACKS: whether clips may lack a modality.
    PLACES: options that name folders, which lie in `manual_dir`.
    OPTIONS: other options, as `configs/data.py` has them.
  """

  VERSION = tfds.core.Version(converted.VERSION)
  RELEASE_NOTES = {converted.VERSION: "As published."}
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "Folders that docs/releases.md describes, under the names of its keys:"
    " labels, features and the like."
  )
  BUILDER_CONFIGS = [ReleaseConfig(name="published")]
  RELEASE = ""
  PARTS: tuple[str, ...] = ()
  SHAPES: Mapping[str, tuple[int, ...]] = {}
  LABELS: Mapping[str, tuple[int, ...]] = {}
  LACKS = False
  PLACES: tuple[str, ...] = ("labels", "features")
  OPTIONS: Mapping[str, Any] = {}

  def _info(self) -> tfds.core.DatasetInfo:
    changed: Any = self.builder_config
    shapes, labels = (
      {name: changed.shapes.get(name, x) for name, x in published.items()}
      for published in (self.SHAPES, self.LABELS)
    )
    sample: Any = {
      "features": {m: np.zeros(x, np.float32) for m, x in shapes.items()},
      "lengths": {m: np.int32(1) for m in shapes if m == "text"},
      "labels": {
        name: np.zeros(x, np.int8 if x else np.int32)
        for name, x in labels.items()
      },
      PRESENT: {m: np.bool_(True) for m in shapes} if self.LACKS else {},
    }
    return tfds.core.DatasetInfo(
      builder=self,
      features=shards.features(sample),
      disable_shuffling=True,  # clips stand as in their list
    )

  def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
    changed: Any = self.builder_config
    place = pathlib.Path(dl_manager.manual_dir)
    options = {
      **{"exclude": "", "whole": True, "limit": 64},
      **{key: str(place / key) for key in self.PLACES},
      **self.OPTIONS,
      **changed.options,
    }
    return {part: self._generate_examples(options, part) for part in self.PARTS}

  def _generate_examples(
    self, options: Mapping[str, Any], part: str
  ) -> Iterator[tuple[int, Any]]:
    clips = releases.RELEASES[self.RELEASE].read(options, part).require()
    for row in range(len(clips)):  # an id may be there twice, a key must not
      yield row, shards.example(str(clips.id_N[row]), clips[row])


class Ave(Release):
  """AVE: clips of one event."""

  RELEASE = "ave"
  PARTS = ("train", "validation", "test")
  SHAPES = VIDEO | AUDIO
  LABELS = {"class": (), "events/video": (10, 29), "events/audio": (10, 29)}
  OPTIONS = {"spare_shared": True}


class AveAvvp(Release):
  """AVE: clips of the classes that AVVP has as well."""

  RELEASE = "ave_avvp"
  PARTS = ("train", "validation", "test")
  SHAPES = VIDEO | AUDIO
  LABELS = {"class": (), "events/video": (10, 13), "events/audio": (10, 13)}
  PLACES = ("labels_ave", "labels_avvp", "features_ave", "features_avvp")
  OPTIONS = {"spare_shared": True, "repair": "drop"}


class AveAvvpTested(Release):
  """AVVP: videos of the classes that AVE has as well."""

  RELEASE = "ave_avvp"
  PARTS = ("avvp",)
  SHAPES = VIDEO | AUDIO
  LABELS = {"events/video": (10, 13), "events/audio": (10, 13)}
  LACKS = True
  PLACES = ("labels_ave", "labels_avvp", "features_ave", "features_avvp")
  OPTIONS = {"spare_shared": True, "repair": "drop"}


class Avel(Release):
  """VGGSound-AVEL: video, sound and the prompt of a class."""

  RELEASE = "avel"
  PARTS = ("train", "val", "test")
  SHAPES = VIDEO | AUDIO | WORDS
  LABELS = {"class": ()}
  OPTIONS = TEXT | {"list": "vggsound-avel40k.csv"}


class Avvp(Release):
  """AVVP (LLP): the events seen and heard in each second."""

  RELEASE = "avvp"
  PARTS = ("train", "validation", "test", "rest")
  SHAPES = VIDEO | AUDIO
  LABELS = {"events/video": (10, 26), "events/audio": (10, 26)}
  LACKS = True
  OPTIONS = {"repair": "drop"}


class Clotho(Release):
  """Clotho: sounds of five captions."""

  RELEASE = "clotho"
  PARTS = ("test",)
  SHAPES = AUDIO | WORDS
  LABELS = {"id": ()}
  OPTIONS = TEXT | {"list": "clotho_captions_evaluation.csv", "pool": 0}


class Coco(Release):
  """MSCOCO: photos and their captions."""

  RELEASE = "coco"
  PARTS = ("test",)
  SHAPES = {"video": (1, 7, 7, 512)} | WORDS
  LABELS = {"id": ()}
  OPTIONS = TEXT | {"list": "captions_val2017.json", "pool": 0}


class FlickrSound(Release):
  """FlickrSound: videos and their sound."""

  RELEASE = "flickr_sound"
  PARTS = ("test",)
  SHAPES = VIDEO | AUDIO
  LABELS = {"id": ()}
  OPTIONS = TEXT | {"list": "flickr_sound_test.csv", "pool": 0}


class Msvd(Release):
  """MSVD: videos and their captions."""

  RELEASE = "msvd"
  PARTS = ("test",)
  SHAPES = VIDEO | WORDS
  LABELS = {"id": ()}
  OPTIONS = TEXT | {"list": "msvd_test.csv", "pool": 0}


class UcfVggUcf(Release):
  """UCF101: video of classes that VGGSound has as well."""

  RELEASE = "ucf_vgg"
  PARTS = ("ucf_train", "ucf_validation", "ucf_test")
  SHAPES = VIDEO
  LABELS = {"class": ()}
  PLACES = ("labels", "features_ucf", "features_vgg")


class UcfVggVgg(Release):
  """VGGSound: audio of classes that UCF101 has as well."""

  RELEASE = "ucf_vgg"
  PARTS = ("vgg_train", "vgg_validation", "vgg_test")
  SHAPES = AUDIO
  LABELS = {"class": ()}
  PLACES = ("labels", "features_ucf", "features_vgg")


class Valor(Release):
  """VALOR-32K: videos, their sound and a caption."""

  RELEASE = "valor"
  PARTS = ("test",)
  SHAPES = VIDEO | AUDIO | WORDS
  LABELS = {"id": ()}
  OPTIONS = TEXT | {"list": "desc_test.json", "pool": 0}
